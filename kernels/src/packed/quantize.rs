//! Conversion of f32 rows to the bytes of a tile and back. Rounding is that of llama.cpp, so that q8_0 and q4_0 hold
//! the same numbers as there.
//!
//! Formulas: ggml's reference quantizers, `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref`,
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
            WeightFormat::Q8_0 | WeightFormat::Q4_0 => {
                for (block, values) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
                    let scale = if format == WeightFormat::Q8_0 {
                        let (quants, scale) = quantize_q8(values);
                        for (group, four) in quants.as_chunks::<4>().0.iter().enumerate() {
                            word(out, block * BLOCK / 4 + group, lane, *four);
                        }
                        scale
                    } else {
                        let (quants, scale) = quantize_q4(values);
                        let (low, high) = quants.split_at(BLOCK / 2);
                        let (low, high) = (low.as_chunks::<4>().0, high.as_chunks::<4>().0);
                        for (group, (low, high)) in low.iter().zip(high).enumerate() {
                            let bytes = std::array::from_fn(|byte| low[byte] | high[byte] << 4);
                            word(out, block * BLOCK / 8 + group, lane, bytes);
                        }
                        scale
                    };
                    let start = layout.scales + (block * LANES + lane) * 2;
                    out[start..][..2].copy_from_slice(&scale.to_le_bytes());
                }
            }
        }
    }
}

/// Unpacks one row (K) of a tile.
pub(super) fn unpack_row(format: WeightFormat, tile: &[u8], layout: &Layout, lane: usize, out: &mut [f32]) {
    let word = |group: usize| -> [u8; 4] {
        let start = (group * LANES + lane) * 4;
        [tile[start], tile[start + 1], tile[start + 2], tile[start + 3]]
    };
    let scale = |block: usize| {
        let start = layout.scales + (block * LANES + lane) * 2;
        f16::from_le_bytes([tile[start], tile[start + 1]]).to_f32()
    };
    for (column, value) in out.iter_mut().enumerate() {
        let (block, inner) = (column / BLOCK, column % BLOCK);
        *value = match format {
            WeightFormat::F32 => f32::from_le_bytes(word(column)),
            WeightFormat::Bf16 => {
                let [a, b, c, d] = word(column / 2);
                bf16::from_le_bytes(if column.is_multiple_of(2) { [a, b] } else { [c, d] }).to_f32()
            }
            WeightFormat::Q8_0 => {
                let quant = word(column / 4)[column % 4];
                scale(block) * (i32::from(quant) - Q8_BIAS) as f32
            }
            WeightFormat::Q4_0 => {
                let both = word(block * BLOCK / 8 + inner % (BLOCK / 2) / 4)[inner % 4];
                let quant = if inner < BLOCK / 2 { both & 15 } else { both >> 4 };
                scale(block) * (i32::from(quant) - Q4_BIAS) as f32
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
