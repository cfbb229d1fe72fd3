//! The inner loops of products: sums of tiles of weights with one panel of WIDTH tokens, for each storage format.

#![allow(clippy::needless_range_loop, reason = "loops index several arrays by token and tile")]

use super::encoding::BLOCK;
use super::layout::Layout;
use crate::lanes::Lanes;
use crate::memory::prefetch;

/// The sums of f32 tiles.
///
/// # Safety
/// Each tile must hold `groups` vectors, and `words` `groups` rows of WIDTH.
#[inline(always)]
pub(super) unsafe fn f32_sums<L: Lanes, const WIDTH: usize, const TILES: usize>(
    lanes: L,
    tiles: [*const u8; TILES],
    words: *const u32,
    groups: usize,
) -> [[L::Vector; WIDTH]; TILES] {
    let mut sums = [[lanes.splat(0.0); WIDTH]; TILES];
    for group in 0..groups {
        let mut weights = [lanes.splat(0.0); TILES];
        for tile in 0..TILES {
            // SAFETY: the caller guarantees it.
            weights[tile] = unsafe { lanes.load_f32(tiles[tile].add(group * 64)) };
        }
        for token in 0..WIDTH {
            // SAFETY: as above.
            let x = lanes.splat(f32::from_bits(unsafe { *words.add(group * WIDTH + token) }));
            for tile in 0..TILES {
                sums[tile][token] = lanes.multiply_add(weights[tile], x, sums[tile][token]);
            }
        }
    }
    sums
}

/// The sums of bfloat16 tiles.
///
/// # Safety
/// As [`f32_sums`].
#[inline(always)]
pub(super) unsafe fn bf16_sums<L: Lanes, const WIDTH: usize, const TILES: usize>(
    lanes: L,
    tiles: [*const u8; TILES],
    words: *const u32,
    groups: usize,
) -> [[L::Vector; WIDTH]; TILES] {
    let mut sums = [[lanes.splat(0.0); WIDTH]; TILES];
    for group in 0..groups {
        let mut weights = [lanes.splat_word(0); TILES];
        for tile in 0..TILES {
            // SAFETY: the caller guarantees it.
            weights[tile] = unsafe { lanes.load_words(tiles[tile].add(group * 64)) };
        }
        for token in 0..WIDTH {
            // SAFETY: as above.
            let x = lanes.splat_word(unsafe { *words.add(group * WIDTH + token) });
            for tile in 0..TILES {
                sums[tile][token] = lanes.add_bf16_products(sums[tile][token], weights[tile], x);
            }
        }
    }
    sums
}

/// How far ahead quantized weights are prefetched, in bytes. The hardware prefetcher restarts at every tile because of
/// the scales at its end.
pub(super) const AHEAD: usize = 8192;

/// A quantized tile.
#[derive(Clone, Copy)]
pub(super) struct QuantizedTile {
    pub(super) tile: *const u8,
    pub(super) scales: *const u8,
    pub(super) blocks: usize,
}

impl QuantizedTile {
    #[inline(always)]
    pub(super) fn new(tile: *const u8, layout: &Layout) -> Self {
        Self { tile, scales: tile.wrapping_add(layout.scales), blocks: layout.padded_columns / BLOCK }
    }
}

/// The sums of a quantized tile. With `NIBBLES` a byte holds two weights: the low half-bytes of a block are its first
/// 16 columns, the high ones its last 16.
///
/// # Safety
/// The tile must hold `blocks` blocks of eight vectors (four with `NIBBLES`) and sixteen scales per block; `words`,
/// `scales` and `offsets` must hold as many blocks of WIDTH tokens.
#[inline(always)]
pub(super) unsafe fn quantized_sums<L: Lanes, const WIDTH: usize, const NIBBLES: bool>(
    lanes: L,
    weights: QuantizedTile,
    words: *const u32,
    scales: *const f32,
    offsets: *const i32,
) -> [L::Vector; WIDTH] {
    let vectors = if NIBBLES { BLOCK / 8 } else { BLOCK / 4 };
    let mut totals = [lanes.splat(0.0); WIDTH];
    for block in 0..weights.blocks {
        // SAFETY: the caller guarantees it, here and below.
        unsafe {
            let mut sums = [lanes.splat_word(0); WIDTH];
            for (token, sum) in sums.iter_mut().enumerate() {
                *sum = lanes.splat_word(*offsets.add(block * WIDTH + token) as u32);
            }
            for vector in 0..vectors {
                let address = weights.tile.add((block * vectors + vector) * 64);
                if WIDTH < 12 {
                    prefetch(address.wrapping_add(AHEAD));
                }
                let stored = lanes.load_words(address);
                for (token, sum) in sums.iter_mut().enumerate() {
                    let word = words.add((block * BLOCK / 4 + vector) * WIDTH + token);
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
            add_block(lanes, &mut totals, sums, weights.scales.add(block * 32), scales.add(block * WIDTH));
        }
    }
    totals
}

/// Adds the integer sums of a block, times the scales of weights and activations, to the totals.
///
/// # Safety
/// Sixteen f16 must be readable at `weight_scales`, and WIDTH f32 at `scales`.
#[inline(always)]
unsafe fn add_block<L: Lanes, const WIDTH: usize>(
    lanes: L,
    totals: &mut [L::Vector; WIDTH],
    sums: [L::Words; WIDTH],
    weight_scales: *const u8,
    scales: *const f32,
) {
    // SAFETY: the caller guarantees it.
    let weight_scales = unsafe { lanes.load_f16(weight_scales) };
    for (token, (total, sum)) in totals.iter_mut().zip(sums).enumerate() {
        // SAFETY: the caller guarantees it.
        let scale = lanes.multiply(weight_scales, lanes.splat(unsafe { *scales.add(token) }));
        *total = lanes.multiply_add(lanes.to_f32(sum), scale, *total);
    }
}
