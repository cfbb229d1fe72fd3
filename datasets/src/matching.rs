//! How much of one sequence is in another: the matching blocks of Python's difflib, and the longest common subsequence.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// A run that two sequences have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    /// Its start in the first sequence.
    pub(crate) first: usize,
    /// Its start in the second sequence.
    pub(crate) second: usize,
    /// Its length.
    pub(crate) length: usize,
}

/// The blocks of `difflib.SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()`, without its
/// sentinel: the longest common run, then the longest to its left and to its right, and so on (Ratcliff and
/// Obershelp); of equally long runs the one that starts earliest in the first sequence, then in the second.
pub(crate) fn matching_blocks<T: Hash + Eq>(first: &[T], second: &[T]) -> Vec<Block> {
    let mut positions: HashMap<&T, Vec<usize>> = HashMap::new();
    for (position, item) in second.iter().enumerate() {
        positions.entry(item).or_default().push(position);
    }
    let positions: Vec<&[usize]> =
        first.iter().map(|item| positions.get(item).map_or(&[][..], Vec::as_slice)).collect();
    let mut runs = Runs { positions, previous: Vec::new(), current: Vec::new() };
    let (mut blocks, mut open) = (Vec::new(), vec![(0..first.len(), 0..second.len())]);
    while let Some((one, other)) = open.pop() {
        let longest = runs.longest(one.clone(), other.clone());
        if longest.length > 0 {
            let (end, other_end) = (longest.first + longest.length, longest.second + longest.length);
            open.push((one.start..longest.first, other.start..longest.second));
            open.push((end..one.end, other_end..other.end));
            blocks.push(longest);
        }
    }
    blocks.sort_unstable();
    joined(&blocks)
}

/// Joins adjacent blocks.
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

/// The state of the search for longest runs.
struct Runs<'a> {
    /// For each item of the first sequence its positions in the second, ascending.
    positions: Vec<&'a [usize]>,
    /// Runs that end at the previous item of the first sequence, and at the present one: end in the second, length.
    previous: Vec<(usize, usize)>,
    current: Vec<(usize, usize)>,
}

impl Runs<'_> {
    fn longest(&mut self, one: Range<usize>, other: Range<usize>) -> Block {
        let mut best = Block { first: one.start, second: other.start, length: 0 };
        self.previous.clear();
        for first in one {
            let positions = self.positions[first];
            let from = positions.partition_point(|position| *position < other.start);
            // Both lists ascend, so one pass finds the runs that end just before.
            let mut earlier = self.previous.iter().copied().peekable();
            for second in positions[from..].iter().copied().take_while(|position| *position < other.end) {
                while earlier.next_if(|(position, _)| position + 1 < second).is_some() {}
                let run =
                    earlier.peek().filter(|(position, _)| position + 1 == second).map_or(0, |(_, run)| *run);
                let length = run + 1;
                self.current.push((second, length));
                if length > best.length {
                    best = Block { first: first + 1 - length, second: second + 1 - length, length };
                }
            }
            std::mem::swap(&mut self.previous, &mut self.current);
            self.current.clear();
        }
        best
    }
}

/// The length of the longest common subsequence.
pub fn longest_common_subsequence<T: Eq>(first: &[T], second: &[T]) -> usize {
    // For the items of the first so far and each prefix of the second.
    let mut lengths = vec![0; second.len() + 1];
    for one in first {
        let mut diagonal = 0;
        for (position, other) in second.iter().enumerate() {
            let above = lengths[position + 1];
            lengths[position + 1] = if one == other { diagonal + 1 } else { above.max(lengths[position]) };
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
    fn blocks_and_subsequences_equal_pythons() {
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
