//! Which sequences a step trains on: best-fit packing, the order of an epoch, and the split of a step into micro-batches.
//! All of it follows from the seed and the number of the step, so a resumed run needs no cursor.

use random::{mix, permutation};
use std::collections::BTreeSet;

/// The sequences of a pack, by index.
pub(crate) type Pack = Vec<u32>;

/// Packs whole sequences into packs of up to `capacity` tokens by best-fit decreasing.
///
/// # Panics
/// If a sequence is longer than `capacity`.
pub(crate) fn best_fit(lengths: &[usize], capacity: usize) -> Vec<Pack> {
    let mut longest_first: Vec<u32> = (0..lengths.len() as u32).collect();
    longest_first.sort_by_key(|index| std::cmp::Reverse(lengths[*index as usize]));
    let mut packs: Vec<Pack> = Vec::new();
    let mut spaces: BTreeSet<(usize, usize)> = BTreeSet::new(); // (free tokens, pack)
    for index in longest_first {
        let length = lengths[index as usize];
        let smallest = spaces.range((length, 0)..).next().copied();
        let (space, pack) = smallest.unwrap_or_else(|| {
            packs.push(Pack::new());
            (capacity, packs.len() - 1)
        });
        spaces.remove(&(space, pack));
        packs[pack].push(index);
        spaces.insert((space.checked_sub(length).expect("no sequence is longer than the capacity"), pack));
    }
    packs.iter_mut().for_each(|pack| pack.sort_unstable());
    packs
}

/// The units of every step of a run, in a different order in every epoch.
#[derive(Debug)]
pub(crate) struct Order {
    units: usize,
    batch: usize,
    seed: u64,
    shuffle: bool,
    /// The current epoch and its order.
    current: Option<(u64, Vec<u32>)>,
}

impl Order {
    /// Returns the order of `units`, `batch` of them in a step; the last step of an epoch has the rest.
    pub(crate) fn new(units: usize, batch: usize, seed: u64, shuffle: bool) -> Self {
        Self { units, batch, seed, shuffle, current: None }
    }

    /// Returns the steps of an epoch.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.units.div_ceil(self.batch) as u64
    }

    /// Returns the steps of a run: `steps`, or those of so many epochs where that is 0.
    pub(crate) fn total_steps(&self, steps: u64, epochs: f64) -> u64 {
        match steps {
            0 => (epochs * self.steps_per_epoch() as f64).ceil() as u64,
            steps => steps,
        }
    }

    /// Returns the units of a step, counted from 0.
    pub(crate) fn step(&mut self, step: u64) -> &[u32] {
        let (epoch, index) = (step / self.steps_per_epoch(), (step % self.steps_per_epoch()) as usize);
        if self.current.as_ref().is_none_or(|(current, _)| *current != epoch) {
            let order = match self.shuffle {
                true => permutation(mix(self.seed, epoch), self.units),
                false => (0..self.units as u32).collect(),
            };
            self.current = Some((epoch, order));
        }
        let order = &self.current.as_ref().expect("set above").1;
        &order[index * self.batch..((index + 1) * self.batch).min(self.units)]
    }
}

/// Splits the units 0..count into those to train on and those that `eval_split` holds out, both ascending. A split above
/// 0 holds out at least one unit.
pub(crate) fn hold_out(count: usize, eval_split: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let held_out = match eval_split > 0.0 {
        true => ((count as f64 * eval_split).round() as usize).max(1),
        false => 0,
    };
    let mut trained = permutation(mix(seed, 0xe7a1), count);
    let mut held_out = trained.split_off(count - held_out);
    trained.sort_unstable();
    held_out.sort_unstable();
    (trained, held_out)
}

/// Groups units, in order, into micro-batches of at most `limit` tokens; a longer unit has one of its own.
pub(crate) fn micro_batches(units: &[u32], length: impl Fn(u32) -> usize, limit: usize) -> Vec<Vec<u32>> {
    let mut batches: Vec<Vec<u32>> = Vec::new();
    let mut tokens = limit;
    for index in units {
        let length = length(*index);
        tokens += length;
        if tokens > limit {
            batches.push(Vec::new());
            tokens = length;
        }
        batches.last_mut().expect("the first unit starts a batch").push(*index);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_have_every_sequence_once_and_are_never_too_long() {
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
    fn an_epoch_has_every_unit_once_and_the_next_has_another_order() {
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
