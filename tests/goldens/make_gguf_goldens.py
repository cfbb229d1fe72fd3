"""GGUF files by the `gguf` package: what our reader must read and our dequantization must repeat bit for bit.

    pip install gguf==0.19.0 numpy==2.4.6 torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3
    python tests/goldens/make_gguf_goldens.py [SmolLM2-135M-Instruct.Q4_1.gguf]

Writes, beside this script,
- gguf/blocks.gguf (one tensor of seeded random blocks per type, and metadata of every kind) and gguf/blocks.json (the
  SHA-256 of each tensor's values as little-endian f32). Random bytes are valid blocks of every type; only the f16
  scales are set, to finite numbers of both signs.
- gguf/tiny_llama.gguf (a whole model of two layers whose matrices have all types) and gguf/tiny_llama.json (ids of
  texts by Hugging Face's tokenizers, logits by transformers of the dequantized weights in f32).
- with the real file as its argument, gguf/smollm2_q4_1.json: the highest logits of its dequantized weights in f32.
"""

import hashlib
import json
import sys
from pathlib import Path

import gguf
import numpy
import torch
from gguf import GGMLQuantizationType as Kind
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent / "gguf"
ROWS, BLOCKS_PER_ROW = 3, 5
# Byte offsets of the f16 numbers of a block.
HALVES = {
    Kind.F32: [],
    Kind.F16: [],
    Kind.BF16: [],
    Kind.Q4_0: [0],
    Kind.Q4_1: [0, 2],
    Kind.Q5_0: [0],
    Kind.Q5_1: [0, 2],
    Kind.Q8_0: [0],
    Kind.Q2_K: [80, 82],
    Kind.Q3_K: [108],
    Kind.Q4_K: [0, 2],
    Kind.Q5_K: [0, 2],
    Kind.Q6_K: [208],
    Kind.IQ4_NL: [0],
}


def random_rows(kind, rng):
    """Rows of blocks, as bytes (rows, bytes)."""
    size = gguf.GGML_QUANT_SIZES[kind][1]
    if not HALVES[kind]:
        values = rng.standard_normal((ROWS, BLOCKS_PER_ROW)).astype(numpy.float32)
        if kind == Kind.F32:
            return values.view(numpy.uint8)
        if kind == Kind.F16:
            return values.astype(numpy.float16).view(numpy.uint8)
        return gguf.quantize(values, kind)
    blocks = rng.integers(0, 256, (ROWS, BLOCKS_PER_ROW, size), dtype=numpy.uint8)
    for offset in HALVES[kind]:
        halves = rng.standard_normal((ROWS, BLOCKS_PER_ROW, 1)).astype(numpy.float16)
        blocks[:, :, offset : offset + 2] = halves.view(numpy.uint8)
    return blocks.reshape(ROWS, -1)


def blocks_of_every_type():
    rng = numpy.random.default_rng(25)
    writer = gguf.GGUFWriter(HERE / "blocks.gguf", "llama")
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -3)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -300)
    writer.add_uint32("test.u32", 4_000_000_000)
    writer.add_int32("test.i32", -70000)
    writer.add_uint64("test.u64", 1 << 40)
    writer.add_int64("test.i64", -(1 << 40))
    writer.add_float32("test.f32", 1e-5)
    writer.add_float64("test.f64", 0.25)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "héllo\n")
    writer.add_array("test.strings", ["a", "", "▁b"])
    writer.add_array("test.integers", [3, 1, 2])
    hashes = {}
    for kind in HALVES:
        rows = random_rows(kind, rng)
        values = gguf.dequantize(rows, kind).astype("<f4").reshape(ROWS, -1)
        # Plain types are written as their own arrays, so that the package notes their shape in numbers.
        plain = {Kind.F32: numpy.float32, Kind.F16: numpy.float16}.get(kind)
        writer.add_tensor(kind.name, rows.view(plain) if plain else rows, raw_dtype=None if plain else kind)
        hashes[kind.name] = {
            "shape": list(values.shape),
            "first": [float(value) for value in values[0, :2]],
            "sha256": hashlib.sha256(numpy.ascontiguousarray(values).tobytes()).hexdigest(),
        }
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (HERE / "blocks.json").write_text(json.dumps(hashes, indent=1) + "\n")



# The types of each matrix of the tiny model, layer by layer; the vectors are f32.
TYPES = [
    {"attn_q": "Q4_1", "attn_k": "Q4_1", "attn_v": "Q4_1", "attn_output": "Q8_0"}
    | {"ffn_gate": "Q4_K", "ffn_up": "Q4_K", "ffn_down": "Q6_K"},
    {"attn_q": "Q4_K", "attn_k": "Q4_K", "attn_v": "Q6_K", "attn_output": "Q5_0"}
    | {"ffn_gate": "Q2_K", "ffn_up": "Q3_K", "ffn_down": "Q5_K"},
    {"attn_q": "Q4_0", "attn_k": "Q4_0", "attn_v": "Q4_0", "attn_output": "Q5_1"}
    | {"ffn_gate": "BF16", "ffn_up": "BF16", "ffn_down": "IQ4_NL"},
]
# Scales that make the numbers of random blocks about 0.05, for the types that the package cannot quantize to.
RANDOM_SCALES = {"Q2_K": 4e-3, "Q3_K": 1.5e-3, "Q4_K": 2e-4, "Q5_K": 1e-4, "Q6_K": 5e-5, "IQ4_NL": 1e-3}
WIDTH, FEED_FORWARD, HEADS, KV_HEADS, HEAD_DIM, LAYERS = 256, 256, 4, 2, 16, 3
NAMES = {
    "attn_q": ("self_attn.q_proj", HEADS * HEAD_DIM, WIDTH),
    "attn_k": ("self_attn.k_proj", KV_HEADS * HEAD_DIM, WIDTH),
    "attn_v": ("self_attn.v_proj", KV_HEADS * HEAD_DIM, WIDTH),
    "attn_output": ("self_attn.o_proj", WIDTH, HEADS * HEAD_DIM),
    "ffn_gate": ("mlp.gate_proj", FEED_FORWARD, WIDTH),
    "ffn_up": ("mlp.up_proj", FEED_FORWARD, WIDTH),
    "ffn_down": ("mlp.down_proj", WIDTH, FEED_FORWARD),
}
TEXTS = [
    "Hello, world!",
    "In 2024, 1234 ships  sailed\n\nout of the h\u00e9rbor \U0001f642.",
    "<|im_start|>user\nHow many?<|im_end|>\n",
    " \t leading and trailing ",
]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def rows_of(kind, rows, columns, rng):
    """A matrix of that type, as bytes (rows, bytes)."""
    if kind not in RANDOM_SCALES:
        return gguf.quantize((rng.standard_normal((rows, columns)) * 0.05).astype(numpy.float32), Kind[kind])
    block, size = gguf.GGML_QUANT_SIZES[Kind[kind]]
    blocks = rng.integers(0, 256, (rows, columns // block, size), dtype=numpy.uint8)
    for offset in HALVES[Kind[kind]]:
        halves = (RANDOM_SCALES[kind] * rng.uniform(0.5, 1.5, blocks.shape[:2] + (1,))).astype(numpy.float16)
        blocks[:, :, offset : offset + 2] = halves.view(numpy.uint8)
    return blocks.reshape(rows, -1)


def unpermuted(values, heads):
    """llama.cpp stores the two halves of each head's rows alternately; transformers one after the other."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tiny_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    text = "The ships sailed out of the harbor, and the world said hello to the sailors who had sailed so far."
    tokenizer.train_from_iterator([text] * 3, trainer)
    return tokenizer


def tiny_llama():
    rng = numpy.random.default_rng(135)
    tokenizer = tiny_tokenizer()
    model = json.loads(tokenizer.to_str())["model"]
    tokens = [token for token, _ in sorted(model["vocab"].items(), key=lambda entry: entry[1])]
    writer = gguf.GGUFWriter(HERE / "tiny_llama.gguf", "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHATML)
    weights = {}

    def matrix(name, stored, kind, rows, columns, heads=0):
        data = rows_of(kind, rows, columns, rng)
        writer.add_tensor(stored, data, raw_dtype=Kind[kind])
        values = gguf.dequantize(data, Kind[kind]).reshape(rows, columns)
        weights[name] = unpermuted(values, heads) if heads else values

    def vector(name, stored):
        weights[name] = (1 + 0.1 * rng.standard_normal(WIDTH)).astype(numpy.float32)
        writer.add_tensor(stored, weights[name])

    matrix("model.embed_tokens.weight", "token_embd.weight", "Q6_K", len(tokens), WIDTH)
    for layer in range(LAYERS):
        hf, own = f"model.layers.{layer}", f"blk.{layer}"
        vector(f"{hf}.input_layernorm.weight", f"{own}.attn_norm.weight")
        vector(f"{hf}.post_attention_layernorm.weight", f"{own}.ffn_norm.weight")
        for stored, kind in TYPES[layer].items():
            name, rows, columns = NAMES[stored]
            heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(stored, 0)
            matrix(f"{hf}.{name}.weight", f"{own}.{stored}.weight", kind, rows, columns, heads)
    vector("model.norm.weight", "output_norm.weight")
    matrix("lm_head.weight", "output.weight", "Q8_0", len(tokens), WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    config = {
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": len(tokens),
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    logits = logits_of(config, weights, [ids[0]])[0]
    golden = {"texts": TEXTS, "ids": ids, "logits": [round(float(value), 6) for value in logits[-1]]}
    (HERE / "tiny_llama.json").write_text(json.dumps(golden) + "\n")


def quantized():
    """SHA-256 of numbers in each type that is written, quantized by the package."""
    numbers = (numpy.arange(8192, dtype=numpy.int64) * 7919 % 20011 - 10005).astype(numpy.float32) / numpy.float32(977)
    numbers[64:96] = 0
    kinds = [gguf.GGMLQuantizationType[name] for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0"]]
    digests = {kind.name: hashlib.sha256(gguf.quantize(numbers, kind).tobytes()).hexdigest() for kind in kinds}
    (HERE / "quantized.json").write_text(json.dumps(digests, indent=1) + "\n")


def logits_of(config, weights, sequences):
    """The logits (T, V) of each sequence, by transformers in f32."""
    model = LlamaForCausalLM(LlamaConfig(attn_implementation="eager", **config)).eval()
    state = {name: torch.from_numpy(numpy.ascontiguousarray(values)) for name, values in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    if config["tie_word_embeddings"]:
        model.tie_weights()
    with torch.no_grad():
        return [model(torch.tensor([ids])).logits[0].numpy() for ids in sequences]


def real_model(path):
    """The ten highest logits after some texts, of the real file's weights dequantized by the package."""
    reader = gguf.GGUFReader(path)
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    names |= {stored: name for stored, (name, _, _) in NAMES.items()}
    whole = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}
    weights = {}
    for tensor in reader.tensors:
        stored = tensor.name.removesuffix(".weight")
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        values = values.reshape(list(reversed(tensor.shape.tolist())))
        if stored in whole:
            weights[whole[stored]] = values
            continue
        _, layer, part = stored.split(".")
        heads = {"attn_q": 9, "attn_k": 3}.get(part, 0)
        weights[f"model.layers.{layer}.{names[part]}.weight"] = unpermuted(values, heads) if heads else values
    config = {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
    }
    # Any ids do; these are of no particular text.
    sequences = [[(index * 7919 + start) % 49152 for index in range(length)] for start, length in [(17, 5), (3, 40)]]
    golden = []
    for ids, logits in zip(sequences, logits_of(config, weights, sequences)):
        best = numpy.argsort(-logits[-1], kind="stable")[:10]
        golden.append({"ids": ids, "best": best.tolist(), "logits": [float(logits[-1][index]) for index in best]})
    (HERE / "smollm2_q4_1.json").write_text(json.dumps(golden) + "\n")


def main():
    HERE.mkdir(exist_ok=True)
    blocks_of_every_type()
    quantized()
    tiny_llama()
    for path in sys.argv[1:]:
        real_model(path)


if __name__ == "__main__":
    main()
