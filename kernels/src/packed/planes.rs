//! Where the bits of a block's 32 numbers are in the vectors of a tile: four numbers are a word of four bytes, a vector
//! has the words of sixteen rows, and a block has as many vectors as its numbers have bits.
//!
//! ```text
//! 8 bits: eight vectors, word after word
//! 4 bits: four vectors, word w in the low half-bytes and word w + 4 in the high ones
//! 2 bits: two vectors, word w in the pair of bits w % 4 of vector w / 4
//! 1 bit:  one vector, word w in bit w
//! 3, 5, 6 bits: the low 2, 4, 4 bits, then the rest in that order
//! ```

use super::encoding::{BLOCK, Encoding, UNEVEN_STEPS};
use crate::lanes::Lanes;
use crate::simd::LANES;

/// Bytes of a vector.
const VECTOR: usize = 64;

/// The planes of a number of bits: the bits of each, and the vector at which it begins.
const fn planes(bits: usize) -> [(usize, usize); 2] {
    match bits {
        3 => [(2, 0), (1, 2)],
        5 => [(4, 0), (1, 4)],
        6 => [(4, 0), (2, 4)],
        _ => [(bits, 0), (0, 0)],
    }
}

/// The vector of a plane that holds a word, and its first bit there.
const fn place(bits: usize, word: usize) -> (usize, usize) {
    match bits {
        8 => (word, 0),
        4 => (word % 4, word / 4 * 4),
        2 => (word / 4, word % 4 * 2),
        _ => (0, word),
    }
}

/// The low bits of every byte of a word.
const fn mask(bits: usize) -> u32 {
    (0xff >> (8 - bits)) * 0x0101_0101
}

/// Writes the quants of one row's block into the block's vectors, which are zeros before.
pub(super) fn put(bits: usize, vectors: &mut [u8], lane: usize, quants: &[u8; BLOCK]) {
    let mut from = 0;
    for (bits, first) in planes(bits) {
        for (word, four) in quants.as_chunks().0.iter().enumerate().filter(|_| bits > 0) {
            let (vector, to) = place(bits, word);
            let at = (first + vector) * VECTOR + lane * 4;
            let moved = (u32::from_le_bytes(*four) >> from & mask(bits)) << to;
            let stored = &mut vectors[at..at + 4];
            stored.iter_mut().zip(moved.to_le_bytes()).for_each(|(stored, moved)| *stored |= moved);
        }
        from += bits;
    }
}

/// Reads the quants of one row's block.
pub(super) fn get(bits: usize, vectors: &[u8], lane: usize) -> [u8; BLOCK] {
    let mut quants = [0; BLOCK];
    let mut to = 0;
    for (bits, first) in planes(bits) {
        for (word, four) in quants.as_chunks_mut::<4>().0.iter_mut().enumerate().filter(|_| bits > 0) {
            let (vector, from) = place(bits, word);
            let at = (first + vector) * VECTOR + lane * 4;
            let stored = u32::from_le_bytes([0, 1, 2, 3].map(|byte| vectors[at + byte]));
            let moved = (stored >> from & mask(bits)) << to;
            *four = (u32::from_le_bytes(*four) | moved).to_le_bytes();
        }
        to += bits;
    }
    quants
}

/// Word WORD of sixteen rows: four quants of each in bytes.
///
/// # Safety
/// The block's vectors must be readable at `block`; their memory must be that of a tile.
#[inline(always)]
pub(super) unsafe fn word<L: Lanes, const WORD: usize>(
    lanes: L,
    encoding: Encoding,
    block: *const u8,
) -> L::Words {
    let [(bits, first), (rest, after)] = planes(encoding.bits);
    // SAFETY: the caller guarantees it.
    unsafe {
        let low = plane::<L, WORD>(lanes, bits, block.add(first * VECTOR), 0);
        if rest > 0 {
            lanes.or(low, plane::<L, WORD>(lanes, rest, block.add(after * VECTOR), bits))
        } else if encoding.is_uneven {
            lanes.look_up(&UNEVEN_STEPS, low)
        } else {
            low
        }
    }
}

/// The bits of word WORD in one plane, moved to bit `to` of each byte.
///
/// # Safety
/// The plane's vectors must be readable at `vectors`.
#[inline(always)]
unsafe fn plane<L: Lanes, const WORD: usize>(
    lanes: L,
    bits: usize,
    vectors: *const u8,
    to: usize,
) -> L::Words {
    let (vector, from) = place(bits, WORD);
    // SAFETY: the caller guarantees it.
    let stored = unsafe { lanes.load_words(vectors.add(vector * VECTOR)) };
    if bits == 8 {
        return stored;
    }
    let moved = if from > to {
        lanes.shift_right(stored, (from - to) as u32)
    } else if to > from {
        lanes.shift_left(stored, (to - from) as u32)
    } else {
        stored
    };
    lanes.and(moved, lanes.splat_word(mask(bits) << to))
}

/// Bytes of one block's vectors.
pub(super) const fn bytes(encoding: Encoding) -> usize {
    encoding.bits * 4 * LANES
}
