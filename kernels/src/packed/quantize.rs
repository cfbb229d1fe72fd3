//! f32 to quantized blocks. Rounding is that of llama.cpp, so that q8_0, q4_0, q4_1 and q5_0 hold the same numbers as
//! there.
//!
//! Formulas: ggml's reference quantizers, `quantize_row_q8_0_ref`, `quantize_row_q4_0_ref`, `quantize_row_q4_1_ref` and
//! `quantize_row_q5_0_ref`, <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c>.

use super::encoding::{BLOCK, SUPER};
use crate::format::WeightFormat;
use half::f16;

/// A quantized block, or a super-block; what its format does not have is zero.
pub(super) struct Block {
    /// The quants as they are stored; the first 32, or all of a super-block's.
    pub(super) quants: [u8; SUPER],
    pub(super) scale: f16,
    /// What is added to each number of a block; in a super-block, what is subtracted, times `small_minimums`.
    pub(super) minimum: f16,
    /// In the order of a super-block's blocks, or of their halves.
    pub(super) small_scales: [i8; 16],
    pub(super) small_minimums: [i8; 16],
}

impl Block {
    /// A block of 32 quants.
    pub(super) fn plain(scale: f16, minimum: f16, quants: [u8; BLOCK]) -> Self {
        let mut all = [0; SUPER];
        all[..BLOCK].copy_from_slice(&quants);
        Self { quants: all, scale, minimum, small_scales: [0; 16], small_minimums: [0; 16] }
    }

    /// A super-block, whose small scales are zero.
    pub(super) fn super_block(scale: f16, minimum: f16, quants: [u8; SUPER]) -> Self {
        Self { quants, scale, minimum, small_scales: [0; 16], small_minimums: [0; 16] }
    }
}

/// Quantizes 32 numbers.
///
/// # Panics
/// If the format has another block, or is not quantized.
pub(super) fn quantize(format: WeightFormat, values: &[f32]) -> Block {
    let values: &[f32; BLOCK] = values.try_into().expect("a block of 32 numbers");
    let (quants, scale, minimum) = match format {
        WeightFormat::Q8_0 | WeightFormat::Q8_0Wide => {
            let (quants, scale) = quantize_q8(values);
            (quants, scale, f16::ZERO)
        }
        WeightFormat::Q4_1 => quantize_q4_1(values),
        WeightFormat::Q4_0 | WeightFormat::Q4_0Wide => {
            let (quants, scale) = quantize_signed(values, 8);
            (quants, scale, f16::ZERO)
        }
        WeightFormat::Q5_0 => {
            let (quants, scale) = quantize_signed(values, 16);
            (quants, scale, f16::ZERO)
        }
        other => panic!("quantize: f32 is not quantized to {other:?}"),
    };
    Block::plain(scale, minimum, quants)
}

/// Quantizes a block to unsigned bytes and a scale; a number is scale * (byte - 128).
fn quantize_q8(values: &[f32; BLOCK]) -> ([u8; BLOCK], f16) {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    // `round` rounds ties away from zero, as `roundf` in C does.
    let quants = values.map(|value| ((value * inverse).round() as i32 + 128) as u8);
    (quants, f16::from_f32(scale))
}

/// Quantizes a block to 0..2 * bias and a scale; a number is scale * (quant - bias). The number of largest magnitude
/// becomes quant 0.
fn quantize_signed(values: &[f32; BLOCK], bias: u8) -> ([u8; BLOCK], f16) {
    let largest = values.iter().fold(0.0f32, |a, &b| if b.abs() > a.abs() { b } else { a });
    let bias = f32::from(bias);
    let scale = largest / -bias;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let most = 2 * bias as i32 - 1;
    let quants = values.map(|value| ((value * inverse + (bias + 0.5)) as i32).clamp(0, most) as u8);
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
