"""The loss and gradients of Llama models, by transformers and autograd: what our backward pass must repeat.

    pip install torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6
    python tests/goldens/make_gradient_goldens.py

Writes, beside this script, training/gradients_tiny.safetensors (two small models of awkward shapes, every
gradient in full) and training/gradients_135m.safetensors (SmolLM2-135M's shape, every gradient's norm and a
sample of it). Weights, ids and masks follow from formulas, nothing is downloaded. All in f32 on the CPU with
eager attention. A second run in f64 says how far f32 itself can be trusted: it must stay within F32_ERROR. A
third, of the 135M shape under bf16 autocast, says what mixed precision costs there.
"""

import json
from importlib.metadata import version

import numpy
import torch
from make_engine_goldens import HERE, as_ids, counter_24_bits, formula_ids, formula_weight
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

# A prime, so that the sample's stride does not divide a matrix's width and columns differ.
SAMPLE = 257
F32_ERROR = 2e-5
LOGITS = {"f32": torch.float32, "f64": torch.float64, "autocast": torch.bfloat16}

TINY = {
    "tied": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "vocab_size": 61,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    # Heads that together are wider than the residual stream.
    "untied": {
        "hidden_size": 20,
        "intermediate_size": 36,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "vocab_size": 53,
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    },
}
# Source: HuggingFaceTB/SmolLM2-135M, config.json.
SMOLLM2_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
}
COMMON = {"model_type": "llama", "max_position_embeddings": 1024, "rms_norm_eps": 1e-5}
# A token alone has nothing to learn; the longest two have more queries, and together more trained tokens,
# than one block of ours.
TINY_LENGTHS = (1, 7, 33, 301, 523)
LENGTHS_135M = (7, 33, 96)
FORMULA = (
    "s = FNV-1a-64(UTF-8 of the tensor name); z = s + (i + 1) * 0x9E3779B97F4A7C15; z = splitmix64 finalizer(z); "
    "u = (z >> 40) * 2^-24; matrix element i (row-major) = (2u - 1) * 0.0721687836; "
    "norm element i = 1 + (2u - 1) * 0.1; all in f32. Token id i of sequence N = (z >> 40) mod V with name idsN; "
    "it is trained where (z >> 40) mod 3 > 0 with name trainedN, but the first token of a sequence never is, "
    "whatever its mask says. loss = mean of -log p over the trained tokens of all sequences."
)


def main():
    (HERE / "training").mkdir(exist_ok=True)
    write("gradients_tiny", tiny(), {f"config.{name}": json.dumps(COMMON | shape) for name, shape in TINY.items()})
    sampling = f"element k of a sample is gradient element k * n // {SAMPLE} of n; all of them where n is smaller"
    extra = {"config.135m": json.dumps(COMMON | SMOLLM2_135M), "sampling": sampling}
    write("gradients_135m", smollm2_135m(), extra)


def tiny():
    """Per model M: M.ids0..., M.trained0..., M.loss (1) and M.gradient.NAME, whole."""
    out = {}
    for model, shape in TINY.items():
        sequences, loss, gradients = examine(model, shape, TINY_LENGTHS)
        out |= {f"{model}.{name}": value for name, value in sequences.items()}
        out[f"{model}.loss"] = loss
        out |= {f"{model}.gradient.{name}": gradient for name, gradient in gradients.items()}
    return out


def smollm2_135m():
    """As `tiny`, but of each gradient M.norm.NAME (1), M.sample.NAME and M.autocast.NAME (1), autocast's relative
    error; and M.rows, the embedding's gradient at ids0 (7, C)."""
    sequences, loss, gradients = examine("135m", SMOLLM2_135M, LENGTHS_135M)
    _, mixed = loss_and_gradients(SMOLLM2_135M, sequences, "autocast")
    out = {f"135m.{name}": value for name, value in sequences.items()}
    out["135m.loss"] = loss
    for name, gradient in gradients.items():
        flat = gradient.reshape(-1)
        count = min(SAMPLE, flat.size)
        out[f"135m.norm.{name}"] = numpy.array([norm(flat)], dtype=numpy.float32)
        out[f"135m.sample.{name}"] = flat[[k * flat.size // count for k in range(count)]]
        out[f"135m.autocast.{name}"] = numpy.array([relative(mixed[name], gradient)], dtype=numpy.float32)
    out["135m.rows"] = gradients["model.embed_tokens.weight"][sequences["ids0"]]
    return out


def examine(name, shape, lengths):
    """Ids and masks by name, the loss (1) and the gradients by name, all f32; refuses what f64 does not confirm."""
    sequences = {}
    for index, length in enumerate(lengths):
        sequences[f"ids{index}"] = as_ids(formula_ids(f"ids{index}", length, shape["vocab_size"]))
        trained = counter_24_bits(f"trained{index}", length) % numpy.uint64(3) > 0
        sequences[f"trained{index}"] = trained.astype(numpy.uint8)
    loss, gradients = loss_and_gradients(shape, sequences, "f32")
    exact_loss, exact = loss_and_gradients(shape, sequences, "f64")
    errors = {key: relative(gradients[key], exact[key]) for key in exact}
    worst = max(errors, key=errors.get)
    loss_error = abs(loss - exact_loss) / exact_loss
    print(f"{name}: loss {loss:.7f}; f32 against f64: loss {loss_error:.1e}, gradients {errors[worst]:.1e} ({worst})")
    assert max(loss_error, errors[worst]) < F32_ERROR, "f32 is not exact enough to be a golden"
    return sequences, numpy.array([loss], dtype=numpy.float32), gradients


def loss_and_gradients(shape, sequences, mode):
    """Every sequence by itself, so that there is no padding to get wrong; gradients add up."""
    model = build_model(shape)
    if mode == "f64":
        model = in_f64(model)
    if mode == "autocast":
        model.set_attn_implementation("sdpa")  # the default of trainers, and the closer one
    count = len(sequences) // 2
    masks = [torch.from_numpy(sequences[f"trained{index}"][1:]).bool() for index in range(count)]
    denominator = sum(int(mask.sum()) for mask in masks)
    total = 0.0
    for index, mask in enumerate(masks):
        if not mask.any():
            continue
        ids = torch.from_numpy(sequences[f"ids{index}"]).long()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "autocast"):
            logits = model(ids[None], use_cache=False).logits[0, :-1]  # (T - 1, V)
        assert logits.dtype == LOGITS[mode]
        logits = logits if mode == "f64" else logits.float()
        logprobs = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        loss = -logprobs[mask].sum() / denominator
        loss.backward()
        total += loss.item()
    return total, {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


def build_model(shape):
    config = LlamaConfig(**COMMON, **shape)
    model = LlamaForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(formula_weight(name, tuple(parameter.shape))))
    theta, frequencies = shape["rope_parameters"]["rope_theta"], model.model.rotary_emb.inv_freq
    assert torch.isclose(frequencies[1], torch.tensor(theta ** (-1 / len(frequencies)))), "the rotary base was not read"
    return model.eval()


def in_f64(model):
    """transformers takes norms, softmax and angles in f32 even in an f64 model: the same formulas without that."""
    config = model.config
    pairs = torch.arange(0, config.head_dim, 2, dtype=torch.float64)
    frequencies = config.rope_parameters["rope_theta"] ** (-pairs / config.head_dim)

    def angles(x, position_ids):
        turned = position_ids[..., None].double() * frequencies  # (B, T, D / 2)
        turned = torch.cat((turned, turned), dim=-1)
        return turned.cos(), turned.sin()

    def normalise(module, x):
        return module.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + module.variance_epsilon)

    model.set_attn_implementation("sdpa")
    model.model.rotary_emb.forward = angles
    for module in model.modules():
        if isinstance(module, modeling_llama.LlamaRMSNorm):
            module.forward = lambda x, module=module: normalise(module, x)
    return model.double()


def relative(found, expected):
    return norm(found - expected) / norm(expected)


def norm(values):
    return float(numpy.linalg.norm(values.astype(numpy.float64)))


def write(name, tensors, extra):
    metadata = {package: version(package) for package in ("torch", "transformers", "numpy")}
    metadata["command"] = "python tests/goldens/make_gradient_goldens.py"
    path = HERE / "training" / f"{name}.safetensors"
    save_file(tensors, path, metadata=metadata | {"formula": FORMULA} | extra)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
