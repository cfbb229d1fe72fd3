//! Guesses of an answer's next tokens, so that one forward pass can compute several of them.
//!
//! A guess is what followed the last ids where they stood before, in the prompt or in the answer: rewriting, summarizing
//! and quoting repeat what they read. (Saxena, "Prompt Lookup Decoding", 2023.) A wrong guess costs a few rows of a
//! product and changes no answer: each token is chosen from the logits of its own position, as without guesses.

use std::collections::HashMap;

/// Number of ids that must stand before a guess as they stand at the end.
const RUN: usize = 3;
/// Tokens of the first guess.
const FIRST: usize = 4;
/// Maximum number of tokens of a guess.
const MOST: usize = 16;
/// After this many wrong guesses in a row, the pause between two guesses grows no more: it is 2^6 steps then.
const MOST_MISSES: u32 = 6;

/// The ids of one sequence, by what stands before them.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    /// For each run of ids, the index after its last occurrence.
    after: HashMap<[u32; RUN], usize>,
    /// Number of ids whose runs are in the map: all that end before this index.
    indexed: usize,
}

impl Lookup {
    /// Guesses the `count` ids that follow `ids`, which begin with those of the call before; none if their end is new.
    pub(crate) fn guess(&mut self, ids: &[u32], count: usize) -> Vec<u32> {
        let Some(start) = self.find(ids) else { return Vec::new() };
        let mut guess: Vec<u32> = Vec::with_capacity(count);
        // What repeats itself goes on repeating.
        for index in start..start + count {
            guess.push(ids.get(index).copied().unwrap_or_else(|| guess[index - ids.len()]));
        }
        guess
    }

    /// Returns the index after the last earlier occurrence of the run at the end, and adds the runs that are new.
    fn find(&mut self, ids: &[u32]) -> Option<usize> {
        let last: [u32; RUN] = ids.last_chunk().copied()?;
        for end in self.indexed.max(RUN)..ids.len() {
            if let Some(run) = ids[..end].last_chunk::<RUN>() {
                self.after.insert(*run, end);
            }
        }
        self.indexed = ids.len();
        self.after.get(&last).copied()
    }
}

/// How many tokens are worth guessing, by how well it went: guesses grow while they are right, and are rarer while they are
/// wrong.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Tokens of the next guess.
    length: usize,
    /// Wrong guesses in a row.
    misses: u32,
    /// Steps without a guess that are left.
    pause: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { length: FIRST, misses: 0, pause: 0 }
    }
}

impl Pace {
    /// Returns how many tokens to guess in the next step; 0 in a pause.
    pub(crate) fn next(&mut self) -> usize {
        match self.pause {
            0 => self.length,
            _ => {
                self.pause -= 1;
                0
            }
        }
    }

    /// Learns how many tokens of a guess were right.
    pub(crate) fn learn(&mut self, guessed: usize, right: usize) {
        if right == 0 {
            self.misses = (self.misses + 1).min(MOST_MISSES);
            self.pause = 1 << self.misses;
            self.length = FIRST.min(self.length);
        } else {
            self.misses = 0;
            self.length = if right == guessed { (2 * right).clamp(FIRST, MOST) } else { right + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_what_followed_the_last_ids_before() {
        let mut lookup = Lookup::default();
        assert!(lookup.guess(&[1, 2], 4).is_empty(), "fewer ids than a run");
        assert!(lookup.guess(&[1, 2, 3, 4, 5, 6], 4).is_empty(), "nothing is repeated");
        assert_eq!(lookup.guess(&[1, 2, 3, 4, 5, 6, 1, 2, 3], 4), [4, 5, 6, 1]);
        assert_eq!(lookup.guess(&[1, 2, 3, 4, 5, 6, 1, 2, 3], 2), [4, 5]);
        // The last of two occurrences.
        assert_eq!(lookup.guess(&[1, 2, 3, 4, 5, 6, 1, 2, 3, 7, 1, 2, 3], 4), [7, 1, 2, 3]);
        assert_eq!(Lookup::default().guess(&[9, 9, 9, 9], 5), [9; 5], "beyond the end");
    }

    #[test]
    fn guesses_grow_while_they_are_right_and_pause_while_they_are_wrong() {
        let mut pace = Pace::default();
        for expected in [4, 8, 16, 16] {
            let count = pace.next();
            assert_eq!(count, expected);
            pace.learn(count, count);
        }
        let pause = |pace: &mut Pace| (0..).take_while(|_| pace.next() == 0).count();
        pace.learn(16, 0);
        assert_eq!(pause(&mut pace), 2);
        pace.learn(4, 0);
        assert_eq!(pause(&mut pace), 4);
        (0..20).for_each(|_| pace.learn(4, 0));
        assert_eq!(pause(&mut pace), 64);
        pace.learn(4, 1);
        assert_eq!(pace.next(), 2);
    }
}
