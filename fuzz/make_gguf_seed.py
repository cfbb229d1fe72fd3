"""A model of a few kilobytes in many types of blocks, as a seed of the target `gguf`.

    pip install gguf==0.19.0 numpy
    python fuzz/make_gguf_seed.py fuzz/seeds/gguf/model.gguf
"""

import sys

import gguf
import numpy

WIDTH, FEED_FORWARD, HEADS, HEAD_DIM = 256, 32, 1, 16
TOKENS = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + ["a", "b", "\u2581a"]
MATRICES = {
    "token_embd": ("Q2_K", len(TOKENS), WIDTH),
    "blk.0.attn_q": ("Q4_K", HEADS * HEAD_DIM, WIDTH),
    "blk.0.attn_k": ("Q4_K", HEADS * HEAD_DIM, WIDTH),
    "blk.0.attn_v": ("Q6_K", HEADS * HEAD_DIM, WIDTH),
    "blk.0.attn_output": ("F16", WIDTH, HEADS * HEAD_DIM),
    "blk.0.ffn_gate": ("Q3_K", FEED_FORWARD, WIDTH),
    "blk.0.ffn_up": ("Q3_K", FEED_FORWARD, WIDTH),
    "blk.0.ffn_down": ("IQ4_NL", WIDTH, FEED_FORWARD),
}


def main():
    rng = numpy.random.default_rng(25)
    writer = gguf.GGUFWriter(sys.argv[1], "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    writer.add_rope_scaling_orig_ctx_len(16)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * 3)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, (kind, rows, columns) in MATRICES.items():
        kind = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if block == 1:
            writer.add_tensor(f"{name}.weight", rng.standard_normal((rows, columns)).astype(numpy.float16))
            continue
        # Small bytes keep the scales finite.
        blocks = rng.integers(0, 40, (rows, columns // block * size), dtype=numpy.uint8)
        writer.add_tensor(f"{name}.weight", blocks, raw_dtype=kind)
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"]:
        writer.add_tensor(f"{name}.weight", numpy.ones(WIDTH, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
