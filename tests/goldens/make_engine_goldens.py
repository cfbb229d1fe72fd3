"""Logits, greedy tokens and log-probabilities of Llama checkpoints, by transformers: what our engine must repeat.

    pip install torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6
    python tests/goldens/make_engine_goldens.py --shared PATH      (PATH holds data/models and data/text)

Writes, beside this script, engine/stories260k.safetensors (a trained checkpoint on real text) and
engine/random_135m.safetensors (SmolLM2-135M's shape, weights from the formula in `counter_uniform`, which
any language can repeat bit for bit). All in f32 on the CPU with eager attention, natural logarithms.
"""

import argparse
import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path

import numpy
import tokenizers
import torch
from safetensors.numpy import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
GREEDY_TOKENS = 60
# A greedy path is only kept where the best token leads by this many logits, so that rounding cannot flip it.
SMALLEST_MARGIN = 1e-3
MATRIX_SCALE = numpy.float32(0.0721687836)  # sqrt(3) / 24: the standard deviation is SmolLM2's 1 / 24
NORM_SCALE = numpy.float32(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds data/models and data/text")
    data = parser.parse_args().shared / "data"
    torch.set_grad_enabled(False)
    (HERE / "engine").mkdir(exist_ok=True)

    write("stories260k", *stories260k(data / "models/stories260k", data / "text/tinystories_197k.txt"))
    write("random_135m", *random_135m(data / "models/smollm2-tokenizer/config-135M-instruct.json"))


def stories260k(checkpoint, text_file):
    """Three texts with all logits, five greedy continuations, twelve scored paragraphs."""
    weights = {name: torch.from_numpy(value) for name, value in load_file(checkpoint / "model.safetensors").items()}
    model = build_model(checkpoint / "config.json", weights)
    tokenizer = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text_file.read_text(encoding="utf-8"))]
    encoded = [tokenizer.encode(part).ids for part in paragraphs if part]  # each begins with BOS

    out = {}
    for index, length in enumerate((20, 60, 120)):
        ids = min(encoded, key=lambda candidate: abs(len(candidate) - length))
        out[f"text{index}.ids"] = as_ids(ids)
        out[f"text{index}.logits"] = logits_of(model, ids).numpy()

    margins = []
    candidates = iter(encoded[100:])
    for index, length in enumerate((5, 7, 8, 10, 12)):
        margin = 0.0
        while margin < SMALLEST_MARGIN:
            prompt = next(candidates)[:length]
            ids, margin = greedy(model, prompt)
        out[f"greedy{index}.prompt"], out[f"greedy{index}.ids"] = as_ids(prompt), as_ids(ids)
        margins.append(margin)

    for index in range(12):
        ids = encoded[200 + 50 * index]
        out[f"score{index}.ids"] = as_ids(ids)
        out[f"score{index}.logprobs"] = next_token_logprobs(logits_of(model, ids), ids)

    digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    return out, margins, {"model_sha256": digest}


def random_135m(config_file):
    """SmolLM2-135M's shape with formula weights: three scored sequences with last logits, one greedy continuation."""
    model = build_model(config_file, None)
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.from_numpy(formula_weight(name, tuple(parameter.shape))))
    weights = dict(model.named_parameters())

    out = {}
    for name in ("model.embed_tokens.weight", "model.layers.29.mlp.down_proj.weight", "model.norm.weight"):
        out[f"first8.{name}"] = weights[name].flatten()[:8].numpy().copy()
    for index, length in enumerate((7, 33, 96)):
        ids = formula_ids(f"ids{index}", length, model.config.vocab_size)
        logits = logits_of(model, ids)
        out[f"ids{index}"] = as_ids(ids)
        out[f"last_logits{index}"] = logits[-1].numpy().copy()
        out[f"logprobs{index}"] = next_token_logprobs(logits, ids)

    prompt = formula_ids("greedy0.prompt", 8, model.config.vocab_size)
    ids, margin = greedy(model, prompt)
    assert margin >= SMALLEST_MARGIN, f"the greedy path is not stable: smallest margin {margin}"
    out["greedy0.prompt"], out["greedy0.ids"] = as_ids(prompt), as_ids(ids)
    formula = (
        "s = FNV-1a-64(UTF-8 of the tensor name); z = s + (i + 1) * 0x9E3779B97F4A7C15; z = splitmix64 finalizer(z); "
        "u = (z >> 40) * 2^-24; matrix element i (row-major) = (2u - 1) * 0.0721687836; "
        "norm element i = 1 + (2u - 1) * 0.1; all in f32. Token id i of sequence N = (z >> 40) mod V with name N."
    )
    return out, [margin], {"formula": formula}


def formula_weight(name, shape):
    """The f32 tensor of this name and shape: matrices around 0, norm weights around 1."""
    u = counter_24_bits(name, int(numpy.prod(shape))).astype(numpy.float32) * numpy.float32(2.0**-24)
    signed = numpy.float32(2) * u - numpy.float32(1)  # exact: 24 bits
    values = numpy.float32(1) + signed * NORM_SCALE if len(shape) == 1 else signed * MATRIX_SCALE
    assert values.dtype == numpy.float32
    return values.reshape(shape)


def formula_ids(name, length, vocab_size):
    return [int(value) for value in counter_24_bits(name, length) % numpy.uint64(vocab_size)]


def counter_24_bits(name, count):
    """The upper 24 bits of splitmix64 started from FNV-1a-64 of the name, as uint64 (count,)."""
    state = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    z = numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15) + numpy.uint64(state)
    z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return (z ^ (z >> numpy.uint64(31))) >> numpy.uint64(40)


def build_model(config_file, weights):
    """A Llama in f32 with eager attention. `weights` None leaves them to the caller."""
    values = json.loads(config_file.read_text())
    theta = float(values.pop("rope_theta"))
    values.pop("rope_scaling", None)
    for key in ("torch_dtype", "transformers_version", "transformers.js_config"):
        values.pop(key, None)
    # transformers 5 reads the rotary base only here.
    values["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    model = LlamaForCausalLM._from_config(LlamaConfig(**values), attn_implementation="eager", dtype=torch.float32)
    if weights is not None:
        missing = model.load_state_dict(weights, strict=False)
        assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    model.tie_weights()
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    frequencies = model.model.rotary_emb.inv_freq
    assert torch.isclose(frequencies[1], torch.tensor(theta ** (-1 / len(frequencies)))), "the rotary base was not read"
    return model.eval()


def logits_of(model, ids):
    """f32 (T, V)."""
    return model(torch.tensor([ids]), use_cache=False).logits[0]


def greedy(model, prompt):
    """The next GREEDY_TOKENS ids, EOS or not, and the smallest lead of the best logit over the second on the way."""
    ids, margin = list(prompt), float("inf")
    for _ in range(GREEDY_TOKENS):
        best = logits_of(model, ids)[-1].topk(2)
        margin = min(margin, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[len(prompt) :], margin


def next_token_logprobs(logits, ids):
    """f32 (T-1): natural log-probability of ids[t+1] after ids[..=t], the softmax taken in f64."""
    logprobs = logits[:-1].double().log_softmax(-1)
    return logprobs.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].float().numpy()


def as_ids(ids):
    return numpy.array(ids, dtype=numpy.int32)


def write(name, tensors, margins, extra):
    metadata = {package: version(package) for package in ("torch", "transformers", "tokenizers", "numpy")}
    metadata["command"] = "python tests/goldens/make_engine_goldens.py --shared PATH"
    metadata["greedy_smallest_margins"] = json.dumps([round(margin, 6) for margin in margins])
    path = HERE / "engine" / f"{name}.safetensors"
    save_file(tensors, path, metadata=metadata | extra)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes, greedy margins {margins}")


if __name__ == "__main__":
    main()
