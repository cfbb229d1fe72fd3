//! The inner loop of products of quantized weights with activations of 16 bits: twice the integer work of 8 bits, for
//! results near those in f32. At one token the weights' memory is what takes the time.

use super::layout::BLOCK;
use super::quantize::{Q4_BIAS, Q8_BIAS};
use super::sums::{AHEAD, QuantizedTile};
use crate::lanes::Lanes;
use crate::memory::prefetch;

/// The sums of a quantized tile. With `NIBBLES` a byte holds two weights: the low half-bytes of a block are its first
/// 16 columns, the high ones its last 16. With `MINIMUMS` the weights of a block begin at its minimum, otherwise below
/// zero by the bias of their format.
///
/// The order of a block: products with the high bytes of the activations, products with the low bytes, then the minimum
/// times the sum of the activations.
///
/// # Safety
/// The tile must hold `blocks` blocks of eight vectors (four with `NIBBLES`) and sixteen scales per block (then sixteen
/// minimums, with `MINIMUMS`); `words` must hold as many blocks of 16 rows of WIDTH words, `scales` and `offsets` as many
/// rows of WIDTH.
#[inline(always)]
pub(super) unsafe fn wide_sums<L: Lanes, const WIDTH: usize, const NIBBLES: bool, const MINIMUMS: bool>(
    lanes: L,
    weights: QuantizedTile,
    words: *const u32,
    scales: *const f32,
    sums: *const i32,
) -> [L::Vector; WIDTH] {
    let vectors = if NIBBLES { BLOCK / 8 } else { BLOCK / 4 };
    let bias = if NIBBLES { Q4_BIAS } else { Q8_BIAS };
    let mut totals = [lanes.splat(0.0); WIDTH];
    for block in 0..weights.blocks {
        // SAFETY: the caller guarantees it.
        unsafe {
            let tile = weights.tile.add(block * vectors * 64);
            let words = words.add(block * BLOCK / 2 * WIDTH);
            let stored = weights.scales.add(block * if MINIMUMS { 64 } else { 32 });
            let weight_scales = lanes.load_f16(stored);
            let (scales, sums) = (scales.add(block * WIDTH), sums.add(block * WIDTH));
            let high = byte_sums::<L, WIDTH, NIBBLES>(lanes, tile, words);
            for (token, total) in totals.iter_mut().enumerate() {
                let scale = lanes.multiply(weight_scales, lanes.splat(*scales.add(token) * 256.0));
                *total = lanes.multiply_add(lanes.to_f32(high[token]), scale, *total);
            }
            let low = byte_sums::<L, WIDTH, NIBBLES>(lanes, tile, words.add(BLOCK / 4 * WIDTH));
            let minimums = match MINIMUMS {
                true => lanes.load_f16(stored.add(32)),
                false => lanes.multiply(weight_scales, lanes.splat(-bias as f32)),
            };
            for (token, total) in totals.iter_mut().enumerate() {
                let scale = *scales.add(token);
                let weighted = lanes.multiply(weight_scales, lanes.splat(scale));
                *total = lanes.multiply_add(lanes.to_f32(low[token]), weighted, *total);
                // The sum of 32 numbers of 16 bits is exact in f32.
                let sum = lanes.splat(scale * *sums.add(token) as f32);
                *total = lanes.multiply_add(minimums, sum, *total);
            }
        }
    }
    totals
}

/// The integer sums of a block with one byte of each activation.
///
/// # Safety
/// The block's vectors must be readable at `tile`, and eight rows of WIDTH words at `words`.
#[inline(always)]
unsafe fn byte_sums<L: Lanes, const WIDTH: usize, const NIBBLES: bool>(
    lanes: L,
    tile: *const u8,
    words: *const u32,
) -> [L::Words; WIDTH] {
    let vectors = if NIBBLES { BLOCK / 8 } else { BLOCK / 4 };
    let mut sums = [lanes.splat_word(0); WIDTH];
    for vector in 0..vectors {
        // SAFETY: the caller guarantees it.
        unsafe {
            let address = tile.add(vector * 64);
            if WIDTH < 12 {
                prefetch(address.wrapping_add(AHEAD));
            }
            let stored = lanes.load_words(address);
            for (token, sum) in sums.iter_mut().enumerate() {
                let word = words.add(vector * WIDTH + token);
                if NIBBLES {
                    let (low, high) = (lanes.low_nibbles(stored), lanes.high_nibbles(stored));
                    *sum = lanes.add_byte_products(*sum, low, lanes.splat_word(*word));
                    let word = word.add(vectors * WIDTH);
                    *sum = lanes.add_byte_products(*sum, high, lanes.splat_word(*word));
                } else {
                    *sum = lanes.add_byte_products(*sum, stored, lanes.splat_word(*word));
                }
            }
        }
    }
    sums
}
