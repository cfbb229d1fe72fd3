"""Tiny random checkpoints of each model family by transformers, with logits and gradients that our passes must repeat.

    pip install torch==2.13.0 transformers==5.23.0 safetensors==0.8.0
    python tests/goldens/make_family_goldens.py

Writes families/NAME/ (config.json, model.safetensors in bf16) and families/logits.json (ids and the logits of some of
their positions, computed in f32 from the same weights) beside this script, and families/gradients.safetensors: of the
mean of -log p over the trained tokens of several sequences, each computed by itself, the loss, the log-probabilities and
every tensor's gradient as its norm and a sample. Sequences are longer than the windows, so that windows show; weights are
large enough that every part of a family changes the logits.
"""

import copy
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

HERE = Path(__file__).parent / "families"
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 67,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "attn_implementation": "eager",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
# Of sixteen frequencies the first ones are kept, the last ones divided, and some are between.
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 8.0, "original_max_position_embeddings": 32}
YARN_SCALES = {"mscale": 0.7, "mscale_all_dim": 0.2, "beta_fast": 4.0, "beta_slow": 0.5, "truncate": False}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
FAMILIES = {
    "llama3": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA_3, "num_hidden_layers": 2}),
    "linear": (
        LlamaConfig,
        LlamaForCausalLM,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, "num_hidden_layers": 2},
    ),
    "yarn": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": YARN, "num_hidden_layers": 2, "head_dim": 32}),
    "yarn_scaled": (
        Qwen2Config,
        Qwen2ForCausalLM,
        {"rope_parameters": YARN | YARN_SCALES, "num_hidden_layers": 2, "head_dim": 32},
    ),
    "dynamic": (
        LlamaConfig,
        LlamaForCausalLM,
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}, "num_hidden_layers": 2},
    ),
    "mistral": (
        MistralConfig,
        MistralForCausalLM,
        {"sliding_window": 20, "head_dim": 8, "num_hidden_layers": 2, "rope_parameters": PLAIN},
    ),
    "qwen2": (
        Qwen2Config,
        Qwen2ForCausalLM,
        {"num_hidden_layers": 2, "tie_word_embeddings": True, "rope_parameters": PLAIN},
    ),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"num_hidden_layers": 2, "head_dim": 16, "rope_parameters": PLAIN}),
    "gemma3": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        {
            "num_hidden_layers": 7,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 24,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
    ),
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM, {"num_hidden_layers": 5, "rope_parameters": PLAIN}),
}
POSITIONS = [0, 5, 40, 99]
# Of the sequences whose gradient is taken: one token alone, one shorter than every window, two longer than all.
LENGTHS = [1, 7, 61, 100]
# A prime, so that the sample's stride does not divide a matrix's width and columns differ.
SAMPLE = 61


def gradients(model):
    """The loss (1), the trained tokens' log-probabilities, and each gradient's norm (1) and sample, by name."""
    sequences = [torch.tensor([(index * 31 + length) % SHAPE["vocab_size"] for index in range(length)]) for length in LENGTHS]
    trained = [[token % 3 > 0 for token in range(length)] for length in LENGTHS]
    log_probabilities = []
    for ids, mask in zip(sequences, trained, strict=True):
        logits = model(ids[None], use_cache=False).logits[0, :-1]
        taken = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
        log_probabilities.append(taken[torch.tensor(mask[1:], dtype=torch.bool)])
    log_probabilities = torch.cat(log_probabilities)
    loss = -log_probabilities.mean()
    model.zero_grad()
    loss.backward()
    out = {"loss": loss.detach()[None], "log_probabilities": log_probabilities.detach()}
    for name, parameter in model.named_parameters():
        flat = parameter.grad.reshape(-1)
        count = min(SAMPLE, flat.numel())
        out[f"norm.{name}"] = flat.double().norm().float()[None]
        out[f"sample.{name}"] = flat[[k * flat.numel() // count for k in range(count)]].clone()
    return out


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    golden, taken = {}, {}
    for name, (config_class, model_class, settings) in FAMILIES.items():
        torch.manual_seed(25)
        model = model_class(config_class(**SHAPE, **settings)).eval()
        with torch.no_grad():
            for weights in model.parameters():
                # Norms and biases begin as ones and zeros, which would hide a missing one.
                if weights.dim() == 1:
                    weights.add_(torch.randn_like(weights) * 0.2)
                weights.copy_(weights.to(torch.bfloat16))
        # The weights fit bf16 now; `model` itself stays f32, whose rotary frequencies would not fit.
        copy.deepcopy(model).to(torch.bfloat16).save_pretrained(HERE / name)
        (HERE / name / "generation_config.json").unlink(missing_ok=True)
        ids = [(index * 29 + 3) % SHAPE["vocab_size"] for index in range(100)]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        golden[name] = {
            "ids": ids,
            "positions": POSITIONS,
            "logits": [[round(float(value), 6) for value in logits[position]] for position in POSITIONS],
        }
        taken |= {f"{name}.{part}": value for part, value in gradients(model).items()}
    save_file(taken, HERE / "gradients.safetensors")
    (HERE / "logits.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
