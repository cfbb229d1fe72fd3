//! Near-duplicates by MinHash: texts that share a band of their signatures are candidates; comparing whole signatures
//! estimates the Jaccard similarity of their word n-gram sets (banding as in Leskovec et al., Mining of Massive
//! Datasets, chapter 3). Deterministic: the same texts in the same order give the same results on every machine.
//!
//! The index stores no texts, only one byte per hash and eight bytes per band of each, in blocks that are never moved. A
//! text whose signature is already stored adds nothing, so copies cost neither memory nor time.

use crate::minhash::{Scratch, Signer, byte, similarity};

pub use crate::minhash::Parameters;

/// An index of texts.
#[derive(Debug)]
pub struct NearDuplicates {
    pub(crate) signer: Signer,
    pub(crate) parameters: Parameters,
    /// The caller's id of each stored signature.
    ids: Vec<u64>,
    /// A byte per hash.
    bytes: Blocks<u8>,
    /// A link per band.
    links: Blocks<Link>,
    /// For each band, the newest position in each slot; the number of slots is a power of two.
    slots: Vec<Vec<u32>>,
}

/// What is stored of a text.
pub(crate) struct Signature {
    bytes: Vec<u8>,
    keys: Vec<u32>,
}

/// A link of the chain of positions in one slot.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    key: u32,
    next: u32,
}

/// No position.
const NONE: u32 = u32::MAX;
/// Positions per slot, on average, before the slots are doubled.
const CHAIN: usize = 2;

impl NearDuplicates {
    /// An empty index.
    ///
    /// # Panics
    /// If a parameter is 0.
    pub fn new(parameters: Parameters) -> Self {
        let Parameters { ngram, bands, rows_per_band } = parameters;
        assert!(ngram * bands * rows_per_band > 0, "{parameters:?}: each is at least 1");
        Self {
            signer: Signer::new(parameters),
            parameters,
            ids: Vec::new(),
            bytes: Blocks::new(parameters.hashes()),
            links: Blocks::new(bands),
            slots: vec![vec![NONE; 64]; bands],
        }
    }

    /// The id of the most similar text that shares a band, with its estimated similarity; the first one inserted among
    /// equals.
    pub fn nearest(&self, text: &str) -> Option<(u64, f64)> {
        let signature = self.signature(&self.minima(text));
        let mut best: Option<(u32, f64)> = None;
        for position in self.candidates(&signature) {
            let similarity = similarity(&signature.bytes, self.bytes.get(position));
            if best.is_none_or(|(_, highest)| similarity > highest) {
                best = Some((position, similarity));
            }
        }
        best.map(|(position, similarity)| (self.ids[position as usize], similarity))
    }

    /// Stores a text under an id. Of texts with equal signatures only the first one is stored.
    pub fn insert(&mut self, id: u64, text: &str) {
        let signature = self.signature(&self.minima(text));
        if self.twin(&signature).is_none() {
            self.push(id, &signature, false);
        }
    }

    fn minima(&self, text: &str) -> Vec<u32> {
        let mut minima = vec![0; self.parameters.hashes()];
        self.signer.minima(text, &mut Scratch::default(), &mut minima);
        minima
    }

    /// What is stored of minima.
    pub(crate) fn signature(&self, minima: &[u32]) -> Signature {
        let bytes = minima.iter().copied().map(byte).collect();
        Signature { bytes, keys: self.signer.band_keys(minima).collect() }
    }

    /// The positions that share a band, without repetition, ascending.
    pub(crate) fn candidates(&self, signature: &Signature) -> Vec<u32> {
        let bands = 0..self.parameters.bands;
        let mut positions: Vec<u32> = bands.flat_map(|band| self.sharing(band, signature)).collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// The position with the same signature.
    pub(crate) fn twin(&self, signature: &Signature) -> Option<u32> {
        let same = |position: &u32| {
            let keys = self.links.get(*position).iter().map(|link| &link.key);
            self.bytes.get(*position) == signature.bytes && keys.eq(&signature.keys)
        };
        self.sharing(0, signature).find(same)
    }

    /// The estimated similarity of two stored signatures.
    pub(crate) fn similarity(&self, one: u32, other: u32) -> f64 {
        similarity(self.bytes.get(one), self.bytes.get(other))
    }

    /// Stores a signature; returns its position. With `first_only`, it cannot be found by a band that is already stored.
    pub(crate) fn push(&mut self, id: u64, signature: &Signature, first_only: bool) -> u32 {
        let position = self.ids.len() as u32;
        assert!(position < NONE, "a near-duplicate index holds 2^32 - 1 texts");
        if self.ids.len() == CHAIN * self.slots[0].len() {
            self.double_slots();
        }
        self.ids.push(id);
        self.bytes.push(&signature.bytes);
        let links: Vec<Link> = signature.keys.iter().map(|key| Link { key: *key, next: NONE }).collect();
        self.links.push(&links);
        for band in 0..self.parameters.bands {
            if !first_only || self.sharing(band, signature).next().is_none() {
                self.link(band, position);
            }
        }
        position
    }

    /// The positions with the same band, newest first: the same hash of its minima and the same bytes. 32 bits alone would
    /// make some unrelated texts among a hundred thousand duplicates.
    fn sharing(&self, band: usize, signature: &Signature) -> impl Iterator<Item = u32> {
        let key = signature.keys[band];
        let rows = band * self.parameters.rows_per_band..(band + 1) * self.parameters.rows_per_band;
        let mut position = self.slots[band][key as usize & (self.slots[band].len() - 1)];
        std::iter::from_fn(move || {
            while position != NONE {
                let here = position;
                let link = self.links.get(here)[band];
                position = link.next;
                if link.key == key && self.bytes.get(here)[rows.clone()] == signature.bytes[rows.clone()] {
                    return Some(here);
                }
            }
            None
        })
    }

    fn link(&mut self, band: usize, position: u32) {
        let slots = &mut self.slots[band];
        let mask = slots.len() - 1;
        let link = &mut self.links.get_mut(position)[band];
        let slot = &mut slots[link.key as usize & mask];
        link.next = std::mem::replace(slot, position);
    }

    /// Doubles the slots and links every chain again, oldest first.
    fn double_slots(&mut self) {
        for band in 0..self.slots.len() {
            let old = std::mem::take(&mut self.slots[band]);
            self.slots[band] = vec![NONE; 2 * old.len()];
            let mut chain = Vec::new();
            for head in old {
                let mut position = head;
                while position != NONE {
                    chain.push(position);
                    position = self.links.get(position)[band].next;
                }
                while let Some(position) = chain.pop() {
                    self.link(band, position);
                }
            }
        }
    }
}

/// Rows of equal width in blocks that never move: growing copies nothing and over-allocates little.
#[derive(Debug)]
struct Blocks<T> {
    width: usize,
    blocks: Vec<Vec<T>>,
}

const BLOCK_ROWS: usize = 1 << 12;

impl<T: Copy> Blocks<T> {
    fn new(width: usize) -> Self {
        Self { width, blocks: Vec::new() }
    }

    fn push(&mut self, row: &[T]) {
        let whole = BLOCK_ROWS * self.width;
        match self.blocks.last_mut() {
            Some(block) if block.len() < whole => block.extend_from_slice(row),
            _ => {
                let mut block = Vec::with_capacity(whole);
                block.extend_from_slice(row);
                self.blocks.push(block);
            }
        }
    }

    fn get(&self, position: u32) -> &[T] {
        let (block, row) = (position as usize / BLOCK_ROWS, position as usize % BLOCK_ROWS);
        &self.blocks[block][row * self.width..][..self.width]
    }

    fn get_mut(&mut self, position: u32) -> &mut [T] {
        let (block, row) = (position as usize / BLOCK_ROWS, position as usize % BLOCK_ROWS);
        &mut self.blocks[block][row * self.width..][..self.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_the_most_similar_and_the_first_of_equals() {
        let mut index = NearDuplicates::new(Parameters { ngram: 3, ..Parameters::FINEWEB });
        index.insert(1, "The quick brown fox jumps over the lazy dog today.");
        index.insert(2, "the QUICK brown fox jumps, over the lazy dog today");
        index.insert(3, "An unrelated sentence about the price of tea in the north.");
        assert_eq!(index.nearest("The quick brown fox jumps over the lazy dog today"), Some((1, 1.0)));
        assert_eq!(index.nearest("Nothing like the others stands here at all"), None);
        index.insert(4, "");
        assert_eq!(index.nearest("..."), Some((4, 1.0)));
    }

    #[test]
    fn copies_are_stored_once_and_all_others_are_found() {
        let parameters = Parameters { ngram: 2, bands: 16, rows_per_band: 2 };
        let mut index = NearDuplicates::new(parameters);
        let text =
            |number: usize| format!("text number {number} of many, {} and {}", number * 7, number * 13);
        // More than one doubling of the slots, and more than one block.
        let count = 2 * BLOCK_ROWS;
        for number in 0..count {
            index.insert(number as u64, &text(number));
            index.insert(0, &text(number));
        }
        assert_eq!(index.ids.len(), count);
        for number in 0..count {
            assert_eq!(index.nearest(&text(number)), Some((number as u64, 1.0)));
        }
    }
}
