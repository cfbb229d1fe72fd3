//! How much of one sequence is found in another: matching blocks as Python's difflib finds them, and the longest
//! common subsequence.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// A run that two sequences have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// Where it begins in the first.
    pub first: usize,
    /// Where it begins in the second.
    pub second: usize,
    /// Its length.
    pub length: usize,
}

/// The blocks of `difflib.SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()`, without its
/// sentinel: the longest common run, then the longest to its left and to its right, and so on (Ratcliff and
/// Obershelp); of runs equally long the one that begins earliest in the first, then in the second.
pub fn matching_blocks<T: Hash + Eq>(first: &[T], second: &[T]) -> Vec<Block> {
    let mut places: HashMap<&T, Vec<usize>> = HashMap::new();
    for (place, item) in second.iter().enumerate() {
        places.entry(item).or_default().push(place);
    }
    let places: Vec<&[usize]> =
        first.iter().map(|item| places.get(item).map_or(&[][..], Vec::as_slice)).collect();
    let mut runs = Runs { places, before: Vec::new(), here: Vec::new() };
    let (mut blocks, mut waiting) = (Vec::new(), vec![(0..first.len(), 0..second.len())]);
    while let Some((one, other)) = waiting.pop() {
        let longest = runs.longest(one.clone(), other.clone());
        if longest.length > 0 {
            waiting.push((one.start..longest.first, other.start..longest.second));
            waiting
                .push((longest.first + longest.length..one.end, longest.second + longest.length..other.end));
            blocks.push(longest);
        }
    }
    blocks.sort_unstable();
    joined(&blocks)
}

/// Neighbouring blocks are one.
fn joined(blocks: &[Block]) -> Vec<Block> {
    let mut list: Vec<Block> = Vec::new();
    for block in blocks {
        match list.last_mut() {
            Some(last)
                if last.first + last.length == block.first && last.second + last.length == block.second =>
            {
                last.length += block.length;
            }
            _ => list.push(*block),
        }
    }
    list
}

/// What finding longest runs needs.
struct Runs<'a> {
    /// Of each item of the first, where it stands in the second, ascending.
    places: Vec<&'a [usize]>,
    /// Runs that end at the item of the first before, and at the one looked at: where in the second, how long.
    before: Vec<(usize, usize)>,
    here: Vec<(usize, usize)>,
}

impl Runs<'_> {
    fn longest(&mut self, one: Range<usize>, other: Range<usize>) -> Block {
        let mut best = Block { first: one.start, second: other.start, length: 0 };
        self.before.clear();
        for first in one {
            let places = self.places[first];
            let from = places.partition_point(|place| *place < other.start);
            // Both lists ascend, so the run that ends just before is found by going along.
            let mut earlier = self.before.iter().copied().peekable();
            for second in places[from..].iter().copied().take_while(|place| *place < other.end) {
                while earlier.next_if(|(place, _)| place + 1 < second).is_some() {}
                let run = earlier.peek().filter(|(place, _)| place + 1 == second).map_or(0, |(_, run)| *run);
                let length = run + 1;
                self.here.push((second, length));
                if length > best.length {
                    best = Block { first: first + 1 - length, second: second + 1 - length, length };
                }
            }
            std::mem::swap(&mut self.before, &mut self.here);
            self.here.clear();
        }
        best
    }
}

/// The length of the longest common subsequence.
pub fn longest_common_subsequence<T: Eq>(first: &[T], second: &[T]) -> usize {
    // The lengths for the items of the first so far, and each beginning of the second.
    let mut lengths = vec![0; second.len() + 1];
    for one in first {
        let mut diagonal = 0;
        for (place, other) in second.iter().enumerate() {
            let above = lengths[place + 1];
            lengths[place + 1] = if one == other { diagonal + 1 } else { above.max(lengths[place]) };
            diagonal = above;
        }
    }
    lengths[second.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Source: tests/goldens/make_matching_goldens.py, Python's own difflib and a textbook LCS.
    const GOLDENS: &str = include_str!("../../tests/goldens/matching/pairs.jsonl");

    #[test]
    fn blocks_and_subsequences_are_those_of_python() {
        let mut count = 0;
        for line in GOLDENS.lines() {
            let golden: Value = serde_json::from_str(line).unwrap();
            let sides = ["first", "second"].map(|side| golden[side].as_str().unwrap());
            let [first, second] = sides.map(|text| text.chars().collect::<Vec<_>>());
            let blocks = matching_blocks(&first, &second);
            let found: Vec<[usize; 3]> =
                blocks.iter().map(|block| [block.first, block.second, block.length]).collect();
            assert_eq!(serde_json::json!(found), golden["blocks"], "{sides:?}");
            let [first, second] = sides.map(|text| text.split(' ').collect::<Vec<_>>());
            assert_eq!(longest_common_subsequence(&first, &second) as u64, golden["lcs"], "{sides:?}");
            count += 1;
        }
        println!("{count} pairs: all blocks and subsequences equal");
        assert!(count >= 300);
    }
}
