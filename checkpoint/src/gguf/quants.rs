//! Blocks of 32 numbers, and plain floats, to f32.
//!
//! Layouts: `block_q4_0` and the others of
//! <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h>. Half-bytes: the low ones of a block are its
//! first 16 numbers, the high ones its last 16.

use half::{bf16, f16};

/// Numbers of a block.
pub(super) const BLOCK: usize = 32;

/// The values that IQ4_NL's half-bytes stand for: `kvalues_iq4nl` of ggml-common.h.
const NONLINEAR: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Converts block after block of BYTES to VALUES numbers.
pub(super) fn each<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    convert: fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        convert(block, out);
    }
}

pub(super) fn f32s(bytes: &[u8], out: &mut [f32]) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = f32::from_le_bytes(*bytes);
    }
}

pub(super) fn f16s(bytes: &[u8], out: &mut [f32]) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = f16::from_le_bytes(*bytes).to_f32();
    }
}

pub(super) fn bf16s(bytes: &[u8], out: &mut [f32]) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = bf16::from_le_bytes(*bytes).to_f32();
    }
}

/// The f16 at a byte of a block.
pub(super) fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// The half-byte of number `index` of a block.
fn nibble(quants: &[u8], index: usize) -> u8 {
    if index < BLOCK / 2 { quants[index] & 15 } else { quants[index - BLOCK / 2] >> 4 }
}

/// The half-byte of number `index` with its fifth bit, which is bit `index` of `high`.
fn five_bits(quants: &[u8], high: &[u8], index: usize) -> u8 {
    nibble(quants, index) | (high[index / 8] >> (index % 8) & 1) << 4
}

pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; BLOCK]) {
    let scale = half_at(block, 0);
    for (index, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from(nibble(&block[2..], index)) - 8.0);
    }
}

pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; BLOCK]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (index, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(nibble(&block[4..], index)) + minimum;
    }
}

pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; BLOCK]) {
    let scale = half_at(block, 0);
    for (index, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from(five_bits(&block[6..], &block[2..6], index)) - 16.0);
    }
}

pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; BLOCK]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (index, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(five_bits(&block[8..], &block[4..8], index)) + minimum;
    }
}

pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; BLOCK]) {
    let scale = half_at(block, 0);
    for (out, quant) in out.iter_mut().zip(&block[2..]) {
        *out = scale * f32::from(*quant as i8);
    }
}

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; BLOCK]) {
    let scale = half_at(block, 0);
    for (index, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(NONLINEAR[usize::from(nibble(&block[2..], index))]);
    }
}
