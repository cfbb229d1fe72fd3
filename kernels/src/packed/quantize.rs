//! Conversion of f32 rows to the bytes of a tile and back. Rounding is that of llama.cpp, so that q8_0, q4_0 and q4_1
//! hold the same numbers as there.
//!
//! Formulas: ggml's reference quantizers, `quantize_row_q8_0_ref`, `quantize_row_q4_0_ref` and `quantize_row_q4_1_ref`,
//! <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c>.

use super::layout::{BLOCK, Layout};
use crate::format::WeightFormat;
use crate::simd::LANES;
use half::{bf16, f16};

/// The bias that makes a stored q8_0 number unsigned.
pub(super) const Q8_BIAS: i32 = 128;
/// The bias of q4_0, which is part of the format.
pub(super) const Q4_BIAS: i32 = 8;

/// Packs sixteen rows (16, padded K) into a tile.
pub(super) fn pack_tile(format: WeightFormat, values: &[f32], layout: &Layout, out: &mut [u8]) {
    let columns = layout.padded_columns;
    let word = |out: &mut [u8], group: usize, lane: usize, bytes: [u8; 4]| {
        out[(group * LANES + lane) * 4..][..4].copy_from_slice(&bytes);
    };
    for (lane, row) in values.chunks_exact(columns).enumerate() {
        match format {
            WeightFormat::F32 => {
                for (group, value) in row.iter().enumerate() {
                    word(out, group, lane, value.to_le_bytes());
                }
            }
            WeightFormat::Bf16 => {
                for (group, pair) in row.as_chunks::<2>().0.iter().enumerate() {
                    let [[a, b], [c, d]] = pair.map(|value| bf16::from_f32(value).to_le_bytes());
                    word(out, group, lane, [a, b, c, d]);
                }
            }
            _ => {
                for (block, values) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                    put_block(format, layout, out, block, lane, &quantize(format, values));
                }
            }
        }
    }
}

/// A quantized block: each number in a byte, without a bias, the scale and the minimum.
pub(super) struct Block {
    pub(super) quants: [u8; BLOCK],
    pub(super) scale: f16,
    pub(super) minimum: f16,
}

/// Writes a block of one row into a tile.
pub(super) fn put_block(
    format: WeightFormat,
    layout: &Layout,
    out: &mut [u8],
    block: usize,
    lane: usize,
    values: &Block,
) {
    let Block { quants, scale, minimum } = values;
    let word = |out: &mut [u8], group: usize, bytes: [u8; 4]| {
        out[(group * LANES + lane) * 4..][..4].copy_from_slice(&bytes);
    };
    if !format.has_nibbles() {
        for (group, four) in quants.as_chunks::<4>().0.iter().enumerate() {
            word(out, block * BLOCK / 4 + group, *four);
        }
    } else {
        let (low, high) = quants.split_at(BLOCK / 2);
        let (low, high) = (low.as_chunks::<4>().0, high.as_chunks::<4>().0);
        for (group, (low, high)) in low.iter().zip(high).enumerate() {
            let bytes = std::array::from_fn(|byte| low[byte] | high[byte] << 4);
            word(out, block * BLOCK / 8 + group, bytes);
        }
    }
    let start = scale_at(format, layout, block, lane);
    out[start..][..2].copy_from_slice(&scale.to_le_bytes());
    if format == WeightFormat::Q4_1 {
        out[start + 2 * LANES..][..2].copy_from_slice(&minimum.to_le_bytes());
    }
}

/// The byte of a tile at which the scale of a block of one row is; the minimum is 2 * LANES bytes later.
fn scale_at(format: WeightFormat, layout: &Layout, block: usize, lane: usize) -> usize {
    let block = if format == WeightFormat::Q4_1 { 2 * block } else { block };
    layout.scales + (block * LANES + lane) * 2
}

fn quantize(format: WeightFormat, values: &[f32; BLOCK]) -> Block {
    let (quants, scale, minimum) = match format {
        WeightFormat::Q8_0 | WeightFormat::Q8_0Wide => {
            let (quants, scale) = quantize_q8(values);
            (quants, scale, f16::ZERO)
        }
        WeightFormat::Q4_1 => quantize_q4_1(values),
        _ => {
            let (quants, scale) = quantize_q4(values);
            (quants, scale, f16::ZERO)
        }
    };
    Block { quants, scale, minimum }
}

/// Unpacks one row (K) of a tile.
pub(super) fn unpack_row(format: WeightFormat, tile: &[u8], layout: &Layout, lane: usize, out: &mut [f32]) {
    let word = |group: usize| -> [u8; 4] {
        let start = (group * LANES + lane) * 4;
        [tile[start], tile[start + 1], tile[start + 2], tile[start + 3]]
    };
    let half = |start: usize| f16::from_le_bytes([tile[start], tile[start + 1]]).to_f32();
    let scale = |block: usize| half(scale_at(format, layout, block, lane));
    let nibble = |block: usize, inner: usize| {
        let both = word(block * BLOCK / 8 + inner % (BLOCK / 2) / 4)[inner % 4];
        i32::from(if inner < BLOCK / 2 { both & 15 } else { both >> 4 })
    };
    for (column, value) in out.iter_mut().enumerate() {
        let (block, inner) = (column / BLOCK, column % BLOCK);
        *value = match format {
            WeightFormat::F32 => f32::from_le_bytes(word(column)),
            WeightFormat::Bf16 => {
                let [a, b, c, d] = word(column / 2);
                bf16::from_le_bytes(if column.is_multiple_of(2) { [a, b] } else { [c, d] }).to_f32()
            }
            WeightFormat::Q8_0 | WeightFormat::Q8_0Wide => {
                let quant = word(column / 4)[column % 4];
                scale(block) * (i32::from(quant) - Q8_BIAS) as f32
            }
            WeightFormat::Q4_0 | WeightFormat::Q4_0Wide => {
                scale(block) * (nibble(block, inner) - Q4_BIAS) as f32
            }
            WeightFormat::Q4_1 => {
                let minimum = half(scale_at(format, layout, block, lane) + 2 * LANES);
                scale(block) * nibble(block, inner) as f32 + minimum
            }
        };
    }
}

/// Quantizes a block to unsigned bytes and a scale; a number is scale * (byte - 128).
fn quantize_q8(values: &[f32; BLOCK]) -> ([u8; BLOCK], f16) {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    // `round` rounds ties away from zero, as `roundf` in C does.
    let quants = values.map(|value| ((value * inverse).round() as i32 + Q8_BIAS) as u8);
    (quants, f16::from_f32(scale))
}

/// Quantizes a block to 0..=15 and a scale; a number is scale * (quant - 8). The number of largest magnitude becomes
/// quant 0.
fn quantize_q4(values: &[f32; BLOCK]) -> ([u8; BLOCK], f16) {
    let largest = values.iter().fold(0.0f32, |a, &b| if b.abs() > a.abs() { b } else { a });
    let scale = largest / -(Q4_BIAS as f32);
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let quants = values.map(|value| ((value * inverse + (Q4_BIAS as f32 + 0.5)) as i32).clamp(0, 15) as u8);
    (quants, f16::from_f32(scale))
}

/// Quantizes a block to 0..=15, a scale and a minimum; a number is scale * quant + minimum.
fn quantize_q4_1(values: &[f32; BLOCK]) -> ([u8; BLOCK], f16, f16) {
    let minimum = values.iter().copied().fold(f32::INFINITY, f32::min);
    let maximum = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (maximum - minimum) / 15.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let quants = values.map(|value| (((value - minimum) * inverse + 0.5) as i32).clamp(0, 15) as u8);
    (quants, f16::from_f32(scale), f16::from_f32(minimum))
}
