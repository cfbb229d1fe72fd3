//! Super-blocks of 256 numbers (the K-quants) to f32: sub-blocks with small scales of their own, which one or two f16
//! multiply.
//!
//! Layouts: `block_q2_K` to `block_q6_K` of
//! <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h>.

use super::quants::half_at;

/// Numbers of a super-block.
pub(super) const BLOCK: usize = 256;

pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; BLOCK]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (scale, minimum) = (half_at(block, 80), half_at(block, 82));
    for (index, out) in out.iter_mut().enumerate() {
        // 32 bytes hold 128 numbers: first all their lowest two bits, then the next two.
        let (half, inner) = (index / 128, index % 128);
        let quant = quants[half * 32 + inner % 32] >> (inner / 32 * 2) & 3;
        let both = scales[index / 16];
        *out = scale * f32::from(both & 15) * f32::from(quant) - minimum * f32::from(both >> 4);
    }
}

pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; BLOCK]) {
    let (high, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half_at(block, 108);
    let scales = six_bit_scales(packed);
    for (index, out) in out.iter_mut().enumerate() {
        let (half, inner) = (index / 128, index % 128);
        let low = quants[half * 32 + inner % 32] >> (inner / 32 * 2) & 3;
        // A set bit means that 4 is not subtracted.
        let offset = if high[index % 32] >> (index / 32) & 1 == 1 { 0.0 } else { 4.0 };
        *out = scale * (f32::from(scales[index / 16]) - 32.0) * (f32::from(low) - offset);
    }
}

/// Q3_K's sixteen scales of six bits in twelve bytes: eight bytes of low half-bytes, then four of two high bits.
fn six_bit_scales(packed: &[u8]) -> [u8; 16] {
    std::array::from_fn(|index| {
        let low = if index < 8 { packed[index] & 15 } else { packed[index - 8] >> 4 };
        low | (packed[8 + index % 4] >> (index / 4 * 2) & 3) << 4
    })
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; BLOCK]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (scales, quants) = (&block[4..16], &block[16..]);
    for (index, out) in out.iter_mut().enumerate() {
        // 32 bytes hold 64 numbers: the low half-bytes, then the high ones.
        let (pair, inner) = (index / 64, index % 64);
        let quant = quants[pair * 32 + inner % 32] >> (inner / 32 * 4) & 15;
        let (own_scale, own_minimum) = scale_and_minimum(scales, index / 32);
        *out = scale * own_scale * f32::from(quant) - minimum * own_minimum;
    }
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; BLOCK]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (scales, high, quants) = (&block[4..16], &block[16..48], &block[48..]);
    for (index, out) in out.iter_mut().enumerate() {
        let (pair, inner) = (index / 64, index % 64);
        let low = quants[pair * 32 + inner % 32] >> (inner / 32 * 4) & 15;
        let quant = low | (high[index % 32] >> (index / 32) & 1) << 4;
        let (own_scale, own_minimum) = scale_and_minimum(scales, index / 32);
        *out = scale * own_scale * f32::from(quant) - minimum * own_minimum;
    }
}

/// The scale and the minimum, six bits each, of sub-block `index` of eight, out of twelve bytes: `get_scale_min_k4` of
/// <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c>.
fn scale_and_minimum(packed: &[u8], index: usize) -> (f32, f32) {
    let (scale, minimum) = if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        let low = packed[index + 4];
        (low & 15 | packed[index - 4] >> 6 << 4, low >> 4 | packed[index] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; BLOCK]) {
    let (lows, highs, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    for (index, out) in out.iter_mut().enumerate() {
        // 64 bytes of half-bytes and 32 of pairs of bits hold 128 numbers.
        let (half, inner) = (index / 128, index % 128);
        let low = lows[half * 64 + inner % 64] >> (inner / 64 * 4) & 15;
        let high = highs[half * 32 + inner % 32] >> (inner / 32 * 2) & 3;
        let quant = f32::from(low | high << 4) - 32.0;
        *out = scale * f32::from(scales[index / 16] as i8) * quant;
    }
}
