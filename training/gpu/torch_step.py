"""PyTorch's side of the benchmark in `check`: whole training steps of a random model with a SmolLM2 shape on a GPU
(forward, backward, clipping, AdamW), with SDPA for attention and the fused AdamW.

    python3 training/gpu/torch_step.py SHAPE LENGTH TOKENS STEPS [--bf16-weights | --trl]
    python3 training/gpu/torch_step.py SHAPE LENGTH TOKENS --numbers FILE

Without an option, weights, gradients and moments are f32 under bf16 autocast, the arithmetic of our own step. With
--bf16-weights all of them are bf16, which takes less memory and is less exact. With --trl the steps are SFTTrainer's.
The model is defined below, so that only torch is needed; --trl also needs trl and transformers. If the tokens do not
fit, they are halved and gradients accumulated. With --numbers it computes one step from the weights and tokens of
`gpu_check numbers`, whose output FILE is, and compares its own loss and norms of gradients under bf16 autocast; without
a GPU on the CPU. Prints tab-separated lines in the format of `gpu_check`.
"""

import statistics
import sys
import time

import torch
import torch.nn.functional as F

# Layers, C, heads, key heads, F, RoPE base (source: HuggingFaceTB's config.json files; the first is `gpu_check`'s own).
SHAPES = {
    "tiny": (2, 128, 2, 1, 96, 100_000.0),
    "135m": (30, 576, 9, 3, 1536, 100_000.0),
    "360m": (32, 960, 15, 5, 2560, 100_000.0),
    "1.7b": (24, 2048, 32, 32, 8192, 130_000.0),
}
HEAD_DIM = 64
LIMITS = {"loss": 1e-3, "gradient": 1e-2}  # relative; of single tensors below
TENSOR_LIMIT = 2e-2
PEAKS = (("H100 PCIe", 756), ("H100 NVL", 835), ("H200", 989), ("H100", 989), ("A100", 312), ("L40S", 362), ("L4", 121))


def vocabulary(name):
    return 300 if name == "tiny" else 49_152


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
        self.embedding = torch.nn.Embedding(vocabulary(name), channels)
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
    ids = torch.randint(vocabulary(name), (max(1, tokens // length), length), device="cuda")
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
        vocab_size=vocabulary(name), hidden_size=channels, intermediate_size=features, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=HEAD_DIM, max_position_embeddings=length,
        rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": theta}, tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM._from_config(config, attn_implementation="sdpa", dtype=torch.float32)
    sequences = max(1, tokens // length)
    rows = Dataset.from_dict({"input_ids": torch.randint(vocabulary(name), (sequences * (steps + 1), length)).tolist()})
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


STEP = 0x9E37_79B9_7F4A_7C15


def signed(number):
    return (number + 2**63) % 2**64 - 2**63


def finalize(z):
    """SplitMix64's finalizer of a tensor of integers, whose products wrap as unsigned ones do."""
    shifted = lambda z, bits: (z >> bits) & ((1 << (64 - bits)) - 1)
    z = (z ^ shifted(z, 30)) * signed(0xBF58_476D_1CE4_E5B9)
    z = (z ^ shifted(z, 27)) * signed(0x94D0_49BB_1331_11EB)
    return z ^ shifted(z, 31)


def hashed(name, shape, device):
    """`random::hashed_values`: weights that follow from a tensor's name."""
    seed = 0xCBF2_9CE4_8422_2325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100_0000_01B3 % 2**64
    index = torch.arange(1, torch.Size(shape).numel() + 1, device=device)
    z = finalize(index * signed(STEP) + signed(seed))
    value = 2 * (((z >> 40) & 0xFF_FFFF).float() * 2**-24) - 1
    value = 1 + value * 0.1 if name.endswith("norm.weight") else value * 0.07216878
    return value.view(shape)


def fill(model, channels, heads, kv_heads, features, device):
    """Sets the weights; returns the gradients by the names of the checkpoint's tensors, once there are any."""
    query, key = heads * HEAD_DIM, kv_heads * HEAD_DIM
    places = {"model.embed_tokens.weight": (model.embedding.weight, slice(None)), "model.norm.weight": (model.norm.weight, slice(None))}
    for index, layer in enumerate(model.layers):
        prefix = f"model.layers.{index}."
        places |= {
            prefix + "input_layernorm.weight": (layer.attention_norm.weight, slice(None)),
            prefix + "post_attention_layernorm.weight": (layer.feed_forward_norm.weight, slice(None)),
            prefix + "self_attn.q_proj.weight": (layer.qkv.weight, slice(query)),
            prefix + "self_attn.k_proj.weight": (layer.qkv.weight, slice(query, query + key)),
            prefix + "self_attn.v_proj.weight": (layer.qkv.weight, slice(query + key, None)),
            prefix + "self_attn.o_proj.weight": (layer.out.weight, slice(None)),
            prefix + "mlp.gate_proj.weight": (layer.gate_up.weight, slice(features)),
            prefix + "mlp.up_proj.weight": (layer.gate_up.weight, slice(features, None)),
            prefix + "mlp.down_proj.weight": (layer.down.weight, slice(None)),
        }
    with torch.no_grad():
        for name, (weight, rows) in places.items():
            weight[rows] = hashed(name, weight[rows].shape, device)
    return lambda name: places[name][0].grad[places[name][1]]


def numbers(name, length, tokens, file):
    ours = {}
    for row in open(file):
        what, value, *_ = row.rstrip("\n").split("\t")
        title, _, key = what.rpartition(": ")
        ours[key] = float(value)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    _, channels, heads, kv_heads, features, _ = SHAPES[name]
    with torch.device(device):
        model = Llama(name, length)
    gradient = fill(model, channels, heads, kv_heads, features, device)
    mix = lambda a, b: finalize(a ^ (b + 1) * signed(STEP))
    sequences = torch.arange(tokens // length, device=device)[:, None]
    # The lower half of `random::mix`, as gpu_check draws tokens.
    ids = (mix(sequences, torch.arange(length, device=device)[None]) & 0xFFFF_FFFF) % vocabulary(name)
    with torch.autocast(device, dtype=torch.bfloat16):
        loss = model(ids)
    loss.backward()
    squares = sum(weight.grad.double().square().sum() for weight in model.parameters())
    theirs = {"loss": loss.item(), "gradient": squares.sqrt().item()}
    for key in ours.keys() - theirs.keys():
        theirs[key] = gradient(key).double().norm().item()
    for key, value in ours.items():
        difference, limit = abs(value / theirs[key] - 1), LIMITS.get(key, TENSOR_LIMIT)
        what = f"{title}: {key} beside torch {torch.__version__} ({device}, autocast), relative"
        print(f"{what}\t{difference:.1e}\t{limit:.0e}\t{'ok' if difference <= limit else 'WRONG'}")
    return all(abs(value / theirs[key] - 1) <= LIMITS.get(key, TENSOR_LIMIT) for key, value in ours.items())


def any_tokenizer():
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6) or sys.argv[1] not in SHAPES:
        sys.exit(__doc__)
    if sys.argv[4] == "--numbers":
        sys.exit(not numbers(sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[5]))
    name, (length, tokens, steps) = sys.argv[1], map(int, sys.argv[2:5])
    if sys.argv[5:] == ["--trl"]:
        with_trl(name, length, tokens, steps)
    else:
        plain(name, length, tokens, steps, sys.argv[5:] == ["--bf16-weights"])
