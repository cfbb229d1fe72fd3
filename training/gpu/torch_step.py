"""PyTorch's side of the benchmark in `check`: whole training steps of a random model with a SmolLM2 shape on a GPU
(forward, backward, clipping, AdamW), with SDPA for attention and the fused AdamW.

    python3 training/gpu/torch_step.py SHAPE LENGTH TOKENS STEPS [--bf16-weights | --trl]

Without an option, weights, gradients and moments are f32 under bf16 autocast, the arithmetic of our own step. With
--bf16-weights all of them are bf16, which takes less memory and is less exact. With --trl the steps are SFTTrainer's.
The model is defined below, so that only torch is needed; --trl also needs trl and transformers. If the tokens do not
fit, they are halved and gradients accumulated. Prints tab-separated lines in the format of `gpu_check`.
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F

# Layers, C, heads, key heads, F, RoPE base (source: HuggingFaceTB's config.json files).
SHAPES = {
    "135m": (30, 576, 9, 3, 1536, 100_000.0),
    "360m": (32, 960, 15, 5, 2560, 100_000.0),
    "1.7b": (24, 2048, 32, 32, 8192, 130_000.0),
}
VOCABULARY, HEAD_DIM = 49_152, 64
PEAKS = (("H100 PCIe", 756), ("H100 NVL", 835), ("H200", 989), ("H100", 989), ("A100", 312), ("L40S", 362), ("L4", 121))


class Layer(torch.nn.Module):
    def __init__(self, channels, heads, kv_heads, features):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        linear = lambda inputs, outputs: torch.nn.Linear(inputs, outputs, bias=False)
        self.attention_norm, self.feed_forward_norm = torch.nn.RMSNorm(channels, 1e-5), torch.nn.RMSNorm(channels, 1e-5)
        self.qkv = linear(channels, (heads + 2 * kv_heads) * HEAD_DIM)
        self.out = linear(heads * HEAD_DIM, channels)
        self.gate_up, self.down = linear(channels, 2 * features), linear(features, channels)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, length, -1, HEAD_DIM).transpose(1, 2)  # (B, H + 2K, T, D)
        q, k, v = qkv.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        x = x + self.out(out.transpose(1, 2).reshape(batch, length, -1))
        gate, up = self.gate_up(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat((-second, first), dim=-1) * sin).to(x.dtype)


class Llama(torch.nn.Module):
    def __init__(self, name, length):
        super().__init__()
        layers, channels, heads, kv_heads, features, theta = SHAPES[name]
        self.embedding = torch.nn.Embedding(VOCABULARY, channels)
        self.layers = torch.nn.ModuleList(Layer(channels, heads, kv_heads, features) for _ in range(layers))
        self.norm = torch.nn.RMSNorm(channels, 1e-5)
        frequencies = theta ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
        angles = torch.outer(torch.arange(length).float(), frequencies).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for weight in self.parameters():
            if weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.02)

    def forward(self, ids):
        """Returns the mean loss; the last token of each sequence predicts nothing."""
        x = self.embedding(ids)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        logits = F.linear(self.norm(x)[:, :-1], self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())


def flops_of_token(name, length, parameters):
    layers, _, heads, *_ = SHAPES[name]
    return 6 * parameters + 6 * layers * heads * HEAD_DIM * length


def report(title, tokens, seconds, name, length, parameters):
    peak = next((peak for known, peak in PEAKS if known in torch.cuda.get_device_name()), 989) * 1e12
    rate = tokens / seconds
    print(f"{title}, tokens/s\t{rate:.0f}\t-\t-")
    print(f"{title}, MFU\t{100 * rate * flops_of_token(name, length, parameters) / peak:.1f}%\t-\t-")
    print(f"{title}, GiB at the peak\t{torch.cuda.max_memory_allocated() / 2**30:.1f}\t-\t-")


def plain(name, length, tokens, steps, bf16_weights):
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Llama(name, length)
    if bf16_weights:
        model = model.bfloat16()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    ids = torch.randint(VOCABULARY, (max(1, tokens // length), length), device="cuda")
    at_once = len(ids)
    while True:
        try:
            times = [step(model, optimizer, ids, at_once, bf16_weights) for _ in range(steps + 1)]
            break
        except torch.cuda.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            if at_once == 1:
                sys.exit("not even one sequence fits into the GPU's memory")
            at_once = (at_once + 1) // 2
    kind = "bf16 weights" if bf16_weights else "f32 weights, autocast"
    title = f"{name} T={length}, {ids.numel()} tokens a step ({at_once * length} at once): torch {torch.__version__}, {kind}"
    parameters = sum(weight.numel() for weight in model.parameters())
    report(title, ids.numel(), statistics.median(times[1:]), name, length, parameters)


def step(model, optimizer, ids, at_once, bf16_weights):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for first in range(0, len(ids), at_once):
        part = ids[first : first + at_once]
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=not bf16_weights):
            loss = model(part) * (len(part) / len(ids))
        loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    torch.cuda.synchronize()
    print(f"loss {loss.item():.4f}", file=sys.stderr)
    return time.perf_counter() - start


def with_trl(name, length, tokens, steps):
    try:
        import trl
        import transformers
        from datasets import Dataset
    except ImportError as error:
        print(f"{name} T={length}: TRL\t{error.name} is not installed\t-\t-")
        return
    layers, channels, heads, kv_heads, features, theta = SHAPES[name]
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=channels, intermediate_size=features, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=HEAD_DIM, max_position_embeddings=length,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": theta}, tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM._from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    sequences = max(1, tokens // length)
    rows = Dataset.from_dict({"input_ids": torch.randint(VOCABULARY, (sequences * (steps + 1), length)).tolist()})
    times = []

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *_, **__):
            torch.cuda.synchronize()
            times.append(-time.perf_counter())

        def on_step_end(self, *_, **__):
            torch.cuda.synchronize()
            times[-1] += time.perf_counter()

    at_once = max(1, min(sequences, 8192 // length))
    arguments = trl.SFTConfig(
        output_dir="/tmp/trl-step", max_length=length, per_device_train_batch_size=at_once,
        gradient_accumulation_steps=sequences // at_once, max_steps=steps + 1, bf16=True, optim="adamw_torch_fused",
        gradient_checkpointing=False, report_to=[], save_strategy="no", dataset_kwargs={"skip_prepare_dataset": True},
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=any_tokenizer(), pad_token="<pad>", eos_token="<pad>")
    trl.SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[Clock()]).train()
    title = f"{name} T={length}, {sequences * length} tokens a step ({at_once * length} at once): trl {trl.__version__}"
    parameters = sum(weight.numel() for weight in model.parameters())
    report(title, sequences * length, statistics.median(times[1:]), name, length, parameters)


def any_tokenizer():
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6) or sys.argv[1] not in SHAPES:
        sys.exit(__doc__)
    name, (length, tokens, steps) = sys.argv[1], map(int, sys.argv[2:5])
    if sys.argv[5:] == ["--trl"]:
        with_trl(name, length, tokens, steps)
    else:
        plain(name, length, tokens, steps, sys.argv[5:] == ["--bf16-weights"])
