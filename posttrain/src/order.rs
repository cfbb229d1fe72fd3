//! Which sequences a step takes: best-fit packing, the order of an epoch, and the split of a step into
//! micro-batches. All of it follows from the seed and the step's number, so a resumed run needs no cursor.

use crate::random::{mix, permutation};
use std::collections::BTreeSet;

/// Sequences that lie together in one pack, by index.
pub type Pack = Vec<u32>;

/// Packs whole sequences into as few packs of up to `capacity` tokens as best-fit decreasing finds.
///
/// # Panics
/// If a sequence is longer than `capacity`.
pub fn best_fit(lengths: &[usize], capacity: usize) -> Vec<Pack> {
    let mut longest_first: Vec<u32> = (0..lengths.len() as u32).collect();
    longest_first.sort_by_key(|index| std::cmp::Reverse(lengths[*index as usize]));
    let mut packs: Vec<Pack> = Vec::new();
    let mut spaces: BTreeSet<(usize, usize)> = BTreeSet::new(); // (tokens free, pack)
    for index in longest_first {
        let length = lengths[index as usize];
        let place = spaces.range((length, 0)..).next().copied();
        let (space, pack) = place.unwrap_or_else(|| {
            packs.push(Pack::new());
            (capacity, packs.len() - 1)
        });
        spaces.remove(&(space, pack));
        packs[pack].push(index);
        spaces.insert((space.checked_sub(length).expect("no sequence is over the capacity"), pack));
    }
    packs.iter_mut().for_each(|pack| pack.sort_unstable());
    packs
}

/// The steps of a run over units that it goes through again and again, each time in another order.
#[derive(Debug)]
pub struct Order {
    units: usize,
    batch: usize,
    seed: u64,
    shuffle: bool,
    /// The epoch whose order is at hand, and that order.
    current: Option<(u64, Vec<u32>)>,
}

impl Order {
    /// `batch` of `units` a step; the last step of an epoch takes what is left.
    pub fn new(units: usize, batch: usize, seed: u64, shuffle: bool) -> Self {
        Self { units, batch, seed, shuffle, current: None }
    }

    /// Steps that see every unit once.
    pub fn steps_per_epoch(&self) -> u64 {
        self.units.div_ceil(self.batch) as u64
    }

    /// The units of a step, counted from 0.
    pub fn step(&mut self, step: u64) -> &[u32] {
        let (epoch, place) = (step / self.steps_per_epoch(), (step % self.steps_per_epoch()) as usize);
        if self.current.as_ref().is_none_or(|(current, _)| *current != epoch) {
            let order = match self.shuffle {
                true => permutation(mix(self.seed, epoch), self.units),
                false => (0..self.units as u32).collect(),
            };
            self.current = Some((epoch, order));
        }
        let order = &self.current.as_ref().expect("set above").1;
        &order[place * self.batch..((place + 1) * self.batch).min(self.units)]
    }
}

/// How many of `count` an `eval_split` keeps aside: at least one where it asks for any.
pub fn kept_aside(count: usize, eval_split: f64) -> usize {
    if eval_split > 0.0 { ((count as f64 * eval_split).round() as usize).max(1) } else { 0 }
}

/// Units, in order, in groups of at most `limit` tokens; one that is longer is alone.
pub fn micro_batches(units: &[u32], length: impl Fn(u32) -> usize, limit: usize) -> Vec<Vec<u32>> {
    let mut batches: Vec<Vec<u32>> = Vec::new();
    let mut tokens = limit;
    for index in units {
        let length = length(*index);
        tokens += length;
        if tokens > limit {
            batches.push(Vec::new());
            tokens = length;
        }
        batches.last_mut().expect("the first one begins a batch").push(*index);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_hold_every_sequence_once_and_never_too_much() {
        let lengths: Vec<usize> = (0..500).map(|index| 1 + (index * 7919) % 97).collect();
        let packs = best_fit(&lengths, 128);
        let mut seen: Vec<u32> = packs.iter().flatten().copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<u32>>());
        let sizes: Vec<usize> =
            packs.iter().map(|pack| pack.iter().map(|index| lengths[*index as usize]).sum()).collect();
        assert!(sizes.iter().all(|size| *size <= 128));
        let total: usize = lengths.iter().sum();
        assert!(packs.len() <= total.div_ceil(128) + 2, "{} packs for {total} tokens", packs.len());
    }

    #[test]
    fn an_epoch_sees_every_unit_once_and_the_next_in_another_order() {
        let mut order = Order::new(10, 4, 7, true);
        assert_eq!(order.steps_per_epoch(), 3);
        let epoch = |order: &mut Order, steps: std::ops::Range<u64>| -> Vec<u32> {
            steps.flat_map(|step| order.step(step).to_vec()).collect()
        };
        let (first, second) = (epoch(&mut order, 0..3), epoch(&mut order, 3..6));
        let sorted = |mut units: Vec<u32>| {
            units.sort_unstable();
            units
        };
        assert_ne!(first, second);
        assert_eq!(sorted(first.clone()), sorted(second));
        assert_eq!(epoch(&mut Order::new(10, 4, 7, true), 0..3), first);
        assert_eq!(epoch(&mut Order::new(3, 2, 7, false), 0..2), [0, 1, 2]);
    }
}
