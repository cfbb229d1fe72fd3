//! Byte-pair encoding of one piece, exactly by the list of merges: again and again the pair of the lowest rank is joined,
//! of equal ones the leftmost. In time of n log n, so that a megabyte of one letter takes no longer than other text.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Symbols up to which every pair is looked at before each merge: without a heap, short pieces take a fraction of the time.
const SHORT: usize = 48;
/// An empty slot of the table.
const EMPTY: u64 = u64::MAX;
/// The rank of a pair that is never joined.
const NEVER: u64 = u64::MAX;

/// The merges: which pairs of ids are joined, in which order, to what.
#[derive(Debug, Clone)]
pub(super) struct Merges {
    /// Pairs by their hash, with open addressing: the pair, then its rank before the id that it becomes.
    slots: Vec<(u64, u64)>,
}

/// Symbols of a piece: their ids, and the byte of the piece at which each ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Symbols {
    pub(super) ids: Vec<u32>,
    pub(super) ends: Vec<u32>,
    /// The rank and the id of each symbol joined with the next one.
    joined: Vec<u64>,
}

impl Merges {
    /// The merges in the order of their ranks: two ids and what they become. A pair that comes twice has its last rank.
    pub(super) fn new(merges: &[(u32, u32, u32)]) -> Self {
        let mut table = Self { slots: vec![(EMPTY, 0); (2 * merges.len()).next_power_of_two().max(2)] };
        for (rank, &(left, right, id)) in merges.iter().enumerate() {
            let pair = pair(left, right);
            let slot = table.slot(pair);
            table.slots[slot] = (pair, (rank as u64) << 32 | u64::from(id));
        }
        table
    }

    /// The slot of a pair, or the empty one where it would be.
    fn slot(&self, pair: u64) -> usize {
        let mask = self.slots.len() - 1;
        // The upper bits of the product depend on all bits of the pair.
        let mut slot = (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24) as usize & mask;
        while self.slots[slot].0 != pair && self.slots[slot].0 != EMPTY {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The rank and the id of a pair: one number, ordered by rank.
    fn joined(&self, left: u32, right: u32) -> u64 {
        match self.slots[self.slot(pair(left, right))] {
            (EMPTY, _) => NEVER,
            (_, joined) => joined,
        }
    }

    /// Joins symbols until no pair is left.
    pub(super) fn apply(&self, symbols: &mut Symbols) {
        if symbols.ids.len() <= SHORT { self.apply_to_few(symbols) } else { self.apply_to_many(symbols) }
    }

    fn apply_to_few(&self, symbols: &mut Symbols) {
        let Symbols { ids, ends, joined } = symbols;
        joined.clear();
        joined.extend(ids.windows(2).map(|two| self.joined(two[0], two[1])));
        // Of equal ranks the first is the minimum; ids of one rank are equal.
        while let Some((at, &lowest)) = joined.iter().enumerate().min_by_key(|(_, joined)| **joined) {
            if lowest == NEVER {
                return;
            }
            ids[at] = lowest as u32;
            ids.remove(at + 1);
            ends.remove(at);
            joined.remove(at);
            if at > 0 {
                joined[at - 1] = self.joined(ids[at - 1], ids[at]);
            }
            if at < joined.len() {
                joined[at] = self.joined(ids[at], ids[at + 1]);
            }
        }
    }

    fn apply_to_many(&self, symbols: &mut Symbols) {
        let Symbols { ids, ends, .. } = symbols;
        let count = ids.len();
        // The symbols before and after each; one that was joined to the one before it is its own successor.
        let mut before: Vec<usize> = (0..count).map(|at| at.wrapping_sub(1)).collect();
        let mut after: Vec<usize> = (1..=count).collect();
        let mut heap = BinaryHeap::with_capacity(count);
        let found = |ids: &[u32], at: usize, next: usize| {
            let joined = if next < ids.len() { self.joined(ids[at], ids[next]) } else { NEVER };
            (joined != NEVER).then_some(Reverse((joined, at, next)))
        };
        heap.extend((0..count).filter_map(|at| found(ids, at, at + 1)));
        while let Some(Reverse((joined, at, next))) = heap.pop() {
            let is_current = after[at] == next
                && next < count
                && after[next] != next
                && self.joined(ids[at], ids[next]) == joined;
            if !is_current {
                continue;
            }
            ids[at] = joined as u32;
            ends[at] = ends[next];
            let following = after[next];
            after[at] = following;
            after[next] = next;
            if following < count {
                before[following] = at;
                heap.extend(found(ids, at, following));
            }
            if let Some(previous) = Some(before[at]).filter(|previous| *previous < count) {
                heap.extend(found(ids, previous, at));
            }
        }
        let mut kept = 0;
        let mut at = 0;
        while at < count {
            (ids[kept], ends[kept]) = (ids[at], ends[at]);
            kept += 1;
            at = after[at];
        }
        ids.truncate(kept);
        ends.truncate(kept);
    }
}

fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways give the symbols of the rule applied word for word.
    #[test]
    fn both_ways_follow_the_rule() {
        let list = [(1, 1, 2), (2, 1, 3), (1, 2, 4), (2, 2, 5), (5, 5, 6), (3, 4, 7), (0, 1, 8), (8, 2, 9)];
        let merges = Merges::new(&list);
        let mut state = 7_u64;
        for length in 0..120 {
            let mut symbols = Symbols::default();
            for at in 0..length {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                symbols.ids.push(u32::from(state >> 60 > 3));
                symbols.ends.push(at + 1);
            }
            let mut expected = symbols.clone();
            while let Some((_, at)) = (1..expected.ids.len())
                .filter_map(|at| {
                    let two = (expected.ids[at - 1], expected.ids[at]);
                    Some((list.iter().position(|merge| (merge.0, merge.1) == two)?, at - 1))
                })
                .min()
            {
                let two = (expected.ids[at], expected.ids[at + 1]);
                expected.ids[at] =
                    list.iter().find(|merge| (merge.0, merge.1) == two).map_or(0, |merge| merge.2);
                expected.ids.remove(at + 1);
                expected.ends.remove(at);
            }
            let (mut few, mut many) = (symbols.clone(), symbols);
            merges.apply_to_few(&mut few);
            merges.apply_to_many(&mut many);
            assert_eq!((&few.ids, &few.ends), (&expected.ids, &expected.ends));
            assert_eq!((&many.ids, &many.ends), (&expected.ids, &expected.ends));
        }
    }
}
