"""PyTorch's side of `against_torch`: measures tokens/s of whole training steps of a random model with SmolLM2-135M's
shape on the CPU (forward, backward, clipping, AdamW), and the peak memory of the process.

    pip install torch==2.13.0 transformers==5.23.0
    python training/benchmarks/torch_step.py f32|bf16 [SEQUENCES] [TOKENS OF EACH] [STEPS]

bf16 is autocast: weights, their gradients and moments stay f32, as in our own bf16 mode. It prints a line in the format
of the example `step_speed`.
"""

import sys
import time

try:
    import torch
    import transformers
except ImportError as error:
    sys.exit(
        f"{sys.executable} has no {error.name}: pip install torch==2.13.0 transformers==5.23.0, "
        "or name a Python that has them in SMOL_PYTHON"
    )


def main(mode, sequences=2, tokens=1024, steps=4):
    torch.manual_seed(0)
    model = smollm2_135m().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    ids = torch.randint(model.config.vocab_size, (sequences, tokens))
    best = float("inf")
    for index in range(steps):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "bf16"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        print(f"step {index}: loss {loss.item():.4f}, norm {norm.item():.3f}, {seconds:.2f} s", file=sys.stderr)
        if index > 0:  # the first step is the warm-up of the measurement
            best = min(best, seconds)
    print(
        f"torch {mode} B={sequences} T={tokens}: {sequences * tokens / best:.1f} tokens/s, "
        f"peak {peak_bytes() / 1e9:.2f} GB, {torch.get_num_threads()} threads"
    )


def smollm2_135m():
    """Source: HuggingFaceTB/SmolLM2-135M, config.json; the weights are random."""
    shape = transformers.LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM(shape).float()
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    return model


def peak_bytes():
    """Linux's high-water mark of resident memory, as `step_speed` reads it."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    if sys.argv[1:] == ["--versions"]:
        print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    elif len(sys.argv) < 2 or sys.argv[1] not in ("f32", "bf16"):
        sys.exit(__doc__)
    else:
        main(sys.argv[1], *map(int, sys.argv[2:]))
