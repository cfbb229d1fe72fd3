"""GGUF files by the `gguf` package: what our reader must read and our dequantization must repeat bit for bit.

    pip install gguf==0.19.0 numpy==2.4.6
    python tests/goldens/make_gguf_goldens.py

Writes, beside this script, gguf/blocks.gguf (one tensor of seeded random blocks per type, and metadata of every kind)
and gguf/blocks.json (the SHA-256 of each tensor's values as little-endian f32). Random bytes are valid blocks of every
type; only the f16 scales are set, to finite numbers of both signs.
"""

import hashlib
import json
from pathlib import Path

import gguf
import numpy
from gguf import GGMLQuantizationType as Kind

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


def main():
    HERE.mkdir(exist_ok=True)
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


if __name__ == "__main__":
    main()
