//! Random choices that follow from a seed alone, the same on every machine.

use random::{finalize, fnv1a};

/// A stream of random draws (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// The stream of a seed and a name. Streams of different names are independent.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(seed ^ hash(name))
    }

    fn next(&mut self) -> u64 {
        random::next(&mut self.0)
    }

    /// A number from 0 to `end`, `end` excluded.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// True with a probability of `percent` in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One element of a list.
    pub fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// `count` different elements of a list, in random order.
    pub fn several<T: Clone>(&mut self, list: &[T], count: usize) -> Vec<T> {
        let mut shuffled: Vec<T> = list.to_vec();
        self.shuffle(&mut shuffled);
        shuffled.truncate(count);
        shuffled
    }

    /// Puts a list into random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end + 1));
        }
    }
}

/// The hash that decides what is held out, so it must never change.
pub(crate) fn hash(text: &str) -> u64 {
    finalize(fnv1a(text))
}
