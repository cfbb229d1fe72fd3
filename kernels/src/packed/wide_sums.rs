//! The inner loop of products of quantized weights with activations of 16 bits: twice the integer work of 8 bits, for
//! results near those in f32. At one token the weights' memory is what takes the time.

use super::encoding::{BLOCK, Encoding, SUPER_BLOCKS};
use super::layout::{HALVES, scale_bytes};
use super::planes;
use super::sums::{AHEAD, QuantizedTile};
use crate::lanes::Lanes;
use crate::memory::prefetch;
use crate::simd::LANES;

/// Words of a block: those of one byte of its activations.
const WORDS: usize = BLOCK / 4;

/// A quantized format as a type, so that its inner loop is compiled for it.
pub(super) trait WideFormat {
    /// How its blocks are stored.
    const ENCODING: Encoding;
}

/// Activations of 16 bits of WIDTH tokens.
#[derive(Clone, Copy)]
pub(super) struct WideActivations {
    /// Per block: eight rows of words of high bytes, eight of low bytes.
    pub(super) words: *const u32,
    /// Per block: one row.
    pub(super) scales: *const f32,
    /// Per block three rows: the sums of the activations in its first half, in its second one, in both.
    pub(super) sums: *const f32,
}

/// The sums of a quantized tile.
///
/// The order of a block, or of each half if these have scales of their own: the exact integer sum of the products of
/// quants and quantized activations, rounded to f32, times both scales; then the minimum (or the scale times the
/// negative bias) times the sum of the activations.
///
/// # Safety
/// The tile must hold `blocks` blocks in this format, and the activations as many blocks of WIDTH tokens.
#[inline(always)]
pub(super) unsafe fn wide_sums<L: Lanes, F: WideFormat, const WIDTH: usize>(
    lanes: L,
    weights: QuantizedTile,
    x: WideActivations,
) -> [L::Vector; WIDTH] {
    let mut totals = [lanes.splat(0.0); WIDTH];
    for block in 0..weights.blocks {
        // SAFETY: the caller guarantees it.
        unsafe {
            let vectors = weights.tile.add(block * planes::bytes(F::ENCODING));
            if WIDTH < 12 {
                for vector in 0..F::ENCODING.bits {
                    prefetch(vectors.wrapping_add(vector * 64 + AHEAD));
                }
            }
            let x = WideActivations {
                words: x.words.add(block * 2 * WORDS * WIDTH),
                scales: x.scales.add(block * WIDTH),
                sums: x.sums.add(block * 3 * WIDTH),
            };
            if F::ENCODING.small_scales == 2 {
                let (scale, minimum) = scales_of::<L, F>(lanes, weights.scales, (block, 0));
                let sums = integer_sums::<L, F, WIDTH, FIRST>(lanes, vectors, x.words);
                add::<L, WIDTH>(lanes, &mut totals, sums, (scale, minimum), (x.scales, x.sums));
                let (scale, minimum) = scales_of::<L, F>(lanes, weights.scales, (block, 1));
                let sums = integer_sums::<L, F, WIDTH, SECOND>(lanes, vectors, x.words);
                add::<L, WIDTH>(lanes, &mut totals, sums, (scale, minimum), (x.scales, x.sums.add(WIDTH)));
            } else {
                let (scale, minimum) = scales_of::<L, F>(lanes, weights.scales, (block, 0));
                let sums = integer_sums::<L, F, WIDTH, BOTH>(lanes, vectors, x.words);
                add::<L, WIDTH>(
                    lanes,
                    &mut totals,
                    sums,
                    (scale, minimum),
                    (x.scales, x.sums.add(2 * WIDTH)),
                );
            }
        }
    }
    totals
}

/// The scales of a block (or of one half of it), and what is added for each unit of the activations.
///
/// # Safety
/// The scales of the block must be readable.
#[inline(always)]
unsafe fn scales_of<L: Lanes, F: WideFormat>(
    lanes: L,
    scales: *const u8,
    (block, half): (usize, usize),
) -> (L::Vector, L::Vector) {
    let encoding = F::ENCODING;
    let rows = if encoding.has_minimums { 2 } else { 1 };
    // SAFETY: the caller guarantees it.
    unsafe {
        let (scale, minimum) = if encoding.small_scales == 0 {
            let scales = scales.add(block * scale_bytes(encoding));
            let minimum =
                if encoding.has_minimums { lanes.load_f16(scales.add(HALVES)) } else { lanes.splat(0.0) };
            (lanes.load_f16(scales), minimum)
        } else {
            let scales = scales.add(block / SUPER_BLOCKS * scale_bytes(encoding));
            let index = block % SUPER_BLOCKS * encoding.small_scales + half;
            let small = scales.add(rows * (HALVES + index * LANES));
            let scale = lanes.multiply(lanes.load_f16(scales), lanes.load_i8(small));
            let minimum = if encoding.has_minimums {
                lanes.multiply(lanes.load_f16(scales.add(HALVES)), lanes.load_i8(small.add(LANES)))
            } else {
                lanes.splat(0.0)
            };
            (scale, minimum)
        };
        if encoding.has_minimums {
            (scale, minimum)
        } else {
            (scale, lanes.multiply(scale, lanes.splat(-encoding.bias as f32)))
        }
    }
}

/// Adds the integer sums of a block, times its scales, and its minimums to the totals.
///
/// # Safety
/// WIDTH numbers must be readable at `scales` and at `x_sums`.
#[inline(always)]
unsafe fn add<L: Lanes, const WIDTH: usize>(
    lanes: L,
    totals: &mut [L::Vector; WIDTH],
    sums: [L::Words; WIDTH],
    (scale, minimum): (L::Vector, L::Vector),
    (scales, x_sums): (*const f32, *const f32),
) {
    for (token, (total, sum)) in totals.iter_mut().zip(sums).enumerate() {
        // SAFETY: the caller guarantees it.
        let (x_scale, x_sum) = unsafe { (lanes.splat(*scales.add(token)), lanes.splat(*x_sums.add(token))) };
        *total = lanes.multiply_add(lanes.to_f32(sum), lanes.multiply(scale, x_scale), *total);
        *total = lanes.multiply_add(minimum, x_sum, *total);
    }
}

/// The words of a block that [`integer_sums`] adds up.
const FIRST: usize = 0;
const SECOND: usize = 1;
const BOTH: usize = 2;

/// The exact sums of the products of quants and activations, over the words PART of a block. At most 255 * 127 * 256 * 32
/// in magnitude.
///
/// # Safety
/// The block's vectors must be readable at `vectors`, and sixteen rows of WIDTH words at `words`.
#[inline(always)]
unsafe fn integer_sums<L: Lanes, F: WideFormat, const WIDTH: usize, const PART: usize>(
    lanes: L,
    vectors: *const u8,
    words: *const u32,
) -> [L::Words; WIDTH] {
    let mut high = [lanes.splat_word(0); WIDTH];
    // SAFETY: the caller guarantees it.
    unsafe {
        let low_words = words.add(WORDS * WIDTH);
        if WIDTH == 12 {
            // Two sets of twelve sums and the totals do not fit in the registers.
            add_part::<L, F, WIDTH, PART>(lanes, vectors, words, &mut high);
            for sum in &mut high {
                *sum = lanes.shift_left(*sum, 8);
            }
            add_part::<L, F, WIDTH, PART>(lanes, vectors, low_words, &mut high);
        } else {
            let mut low = [lanes.splat_word(0); WIDTH];
            add_both_parts::<L, F, WIDTH, PART>(lanes, vectors, words, &mut high, &mut low);
            for (high, low) in high.iter_mut().zip(low) {
                *high = lanes.add_words(lanes.shift_left(*high, 8), low);
            }
        }
    }
    high
}

/// Calls `$function::<.., WORD>(arguments)` for the words of a part; written out, so that each word's place is a constant.
macro_rules! for_words_of {
    ($part:ident, $function:ident, ($($argument:expr),*)) => {{
        if $part != SECOND {
            $function::<L, F, WIDTH, 0>($($argument),*);
            $function::<L, F, WIDTH, 1>($($argument),*);
            $function::<L, F, WIDTH, 2>($($argument),*);
            $function::<L, F, WIDTH, 3>($($argument),*);
        }
        if $part != FIRST {
            $function::<L, F, WIDTH, 4>($($argument),*);
            $function::<L, F, WIDTH, 5>($($argument),*);
            $function::<L, F, WIDTH, 6>($($argument),*);
            $function::<L, F, WIDTH, 7>($($argument),*);
        }}
    };
}

/// # Safety
/// As [`integer_sums`], with eight rows of words.
#[inline(always)]
unsafe fn add_part<L: Lanes, F: WideFormat, const WIDTH: usize, const PART: usize>(
    lanes: L,
    vectors: *const u8,
    words: *const u32,
    sums: &mut [L::Words; WIDTH],
) {
    // SAFETY: the caller guarantees it.
    unsafe { for_words_of!(PART, add_word, (lanes, vectors, words, sums)) }
}

/// # Safety
/// As [`integer_sums`].
#[inline(always)]
unsafe fn add_both_parts<L: Lanes, F: WideFormat, const WIDTH: usize, const PART: usize>(
    lanes: L,
    vectors: *const u8,
    words: *const u32,
    high: &mut [L::Words; WIDTH],
    low: &mut [L::Words; WIDTH],
) {
    // SAFETY: the caller guarantees it.
    unsafe { for_words_of!(PART, add_word_twice, (lanes, vectors, words, high, low)) }
}

/// # Safety
/// As [`add_part`].
#[inline(always)]
unsafe fn add_word<L: Lanes, F: WideFormat, const WIDTH: usize, const WORD: usize>(
    lanes: L,
    vectors: *const u8,
    words: *const u32,
    sums: &mut [L::Words; WIDTH],
) {
    // SAFETY: the caller guarantees it.
    unsafe {
        let quants = planes::word::<L, WORD>(lanes, F::ENCODING, vectors);
        for (token, sum) in sums.iter_mut().enumerate() {
            *sum = lanes.add_byte_products(*sum, quants, lanes.splat_word(*words.add(WORD * WIDTH + token)));
        }
    }
}

/// As [`add_word`], with the high and the low bytes of the activations.
///
/// # Safety
/// As [`add_both_parts`].
#[inline(always)]
unsafe fn add_word_twice<L: Lanes, F: WideFormat, const WIDTH: usize, const WORD: usize>(
    lanes: L,
    vectors: *const u8,
    words: *const u32,
    high: &mut [L::Words; WIDTH],
    low: &mut [L::Words; WIDTH],
) {
    // SAFETY: the caller guarantees it.
    unsafe {
        let quants = planes::word::<L, WORD>(lanes, F::ENCODING, vectors);
        for (token, (high, low)) in high.iter_mut().zip(low).enumerate() {
            let word = words.add(WORD * WIDTH + token);
            *high = lanes.add_byte_products(*high, quants, lanes.splat_word(*word));
            let word = word.add(WORDS * WIDTH);
            *low = lanes.add_byte_products(*low, quants, lanes.splat_word(*word));
        }
    }
}
