//! The tokens of pieces that were encoded before, for each thread its own: most of a text are words that come again.

use super::merges::Symbols;
use std::cell::RefCell;

/// Longest piece that is kept, in bytes.
const BYTES: usize = 24;
/// Most tokens of a piece that is kept.
const TOKENS: usize = 7;
/// Pieces that are kept, a power of two: together two megabytes.
const SLOTS: usize = 1 << 15;

/// A piece and its tokens, 64 bytes.
#[derive(Clone, Copy, Default)]
struct Slot {
    bytes: [u8; BYTES],
    /// 0 where there is none.
    length: u8,
    count: u8,
    ends: [u8; TOKENS],
    ids: [u32; TOKENS],
}

/// The pieces of one tokenizer.
#[derive(Default)]
pub(super) struct Cache {
    owner: u64,
    slots: Vec<Slot>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Calls `action` with this thread's cache for the tokenizer with a number.
pub(super) fn with_cache<T>(owner: u64, action: impl FnOnce(&mut Cache) -> T) -> T {
    CACHE.with_borrow_mut(|cache| {
        if cache.owner != owner {
            cache.owner = owner;
            cache.slots.clear();
            cache.slots.resize(SLOTS, Slot::default());
        }
        action(cache)
    })
}

impl Cache {
    /// The tokens of a piece: the ids, and the byte at which each ends.
    pub(super) fn get(&self, piece: &[u8]) -> Option<(&[u32], &[u8])> {
        let slot = &self.slots[slot_of(piece)?];
        let is_it = usize::from(slot.length) == piece.len() && slot.bytes[..piece.len()] == *piece;
        let count = usize::from(slot.count);
        is_it.then(|| (&slot.ids[..count], &slot.ends[..count]))
    }

    /// Keeps the tokens of a piece in place of another one's.
    pub(super) fn put(&mut self, piece: &[u8], symbols: &Symbols) {
        let (Some(index), count) = (slot_of(piece), symbols.ids.len()) else { return };
        if count > TOKENS {
            return;
        }
        let slot = &mut self.slots[index];
        (slot.length, slot.count) = (piece.len() as u8, count as u8);
        slot.bytes[..piece.len()].copy_from_slice(piece);
        slot.ids[..count].copy_from_slice(&symbols.ids);
        for (end, symbol) in slot.ends.iter_mut().zip(&symbols.ends) {
            *end = *symbol as u8;
        }
    }
}

/// The slot of a piece; `None` for one that is too long.
fn slot_of(piece: &[u8]) -> Option<usize> {
    if piece.is_empty() || piece.len() > BYTES {
        return None;
    }
    let mut words = [0_u8; BYTES];
    words[..piece.len()].copy_from_slice(piece);
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| words[8 * at + byte]));
    let mixed = (word(0) ^ piece.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ word(1).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
        ^ word(2).wrapping_mul(0x1656_67b1_9e37_79f9);
    Some((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) as usize >> 40 & (SLOTS - 1))
}
