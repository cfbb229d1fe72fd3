//! Random choices that follow from a seed alone, the same on every machine.

use crate::hash::{finalise, hash_word, next};

/// A stream of draws (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// The stream of a seed and a word: streams of different words have nothing in common.
    pub fn new(seed: u64, word: &str) -> Self {
        Self(seed ^ hash(word))
    }

    fn next(&mut self) -> u64 {
        next(&mut self.0)
    }

    /// A number from 0 up to, not including, `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True in `percent` of a hundred draws.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of a list.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// `count` different ones of a list, in any order.
    pub fn several<T: Clone>(&mut self, list: &[T], count: usize) -> Vec<T> {
        let mut left: Vec<T> = list.to_vec();
        self.shuffle(&mut left);
        left.truncate(count);
        left
    }

    /// Puts a list into any order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end + 1));
        }
    }
}

/// Decides what is held out, so it must never change.
pub(super) fn hash(text: &str) -> u64 {
    finalise(hash_word(text))
}
