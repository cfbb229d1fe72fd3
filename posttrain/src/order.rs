//! Which sequences a step trains on: best-fit packing, the order of an epoch, and the split of a step into micro-batches.
//! All of it follows from the seed and the number of the step, so a resumed run needs no cursor. Where a run goes on with
//! batches of another size, it follows from the place at which they began, too.

use random::{mix, permutation};
use serde::{Deserialize, Serialize};
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

/// Where batches of the current size began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Steps that were done.
    step: u64,
    /// Units that were taken, of all epochs.
    units: u64,
}

/// The units of every step of a run, in a different order in every epoch.
#[derive(Debug)]
pub(crate) struct Order {
    units: usize,
    batch: usize,
    seed: u64,
    shuffle: bool,
    origin: Origin,
    /// The current epoch and its order.
    current: Option<(u64, Vec<u32>)>,
}

impl Order {
    /// Returns the order of `units`, `batch` of them in a step; the last step of an epoch has the rest.
    pub(crate) fn new(units: usize, batch: usize, seed: u64, shuffle: bool) -> Self {
        Self { units, batch, seed, shuffle, origin: Origin::default(), current: None }
    }

    /// Continues after `step` steps that took `units` units, with the origin of their batches. Returns what a user should know
    /// if batches have another size from here on.
    pub(crate) fn go_on(&mut self, step: u64, units: Option<u64>, origin: Origin) -> Option<String> {
        self.origin = origin;
        let units = units.filter(|units| *units != self.taken(step))?;
        self.origin = Origin { step, units };
        let (epoch, index) = self.place(step);
        Some(format!(
            "batches have another size than before: after step {step} the run goes on where it was, at row {} of {} in epoch {}",
            index + 1,
            self.units,
            epoch + 1
        ))
    }

    /// Returns where batches of the current size began.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns the steps of an epoch.
    fn steps_per_epoch(&self) -> u64 {
        self.units.div_ceil(self.batch) as u64
    }

    /// Returns the steps of the epoch in which the origin is, from there on.
    fn first_steps(&self) -> u64 {
        let units = self.units as u64;
        (units - self.origin.units % units).div_ceil(self.batch as u64)
    }

    /// Returns the epoch of a step and its first unit there, both from 0.
    fn place(&self, step: u64) -> (u64, usize) {
        let (units, batch) = (self.units as u64, self.batch as u64);
        let (epoch, index) = (self.origin.units / units, self.origin.units % units);
        let done = step.saturating_sub(self.origin.step);
        match done.checked_sub(self.first_steps()) {
            None => (epoch, (index + done * batch) as usize),
            Some(done) => {
                let steps = self.steps_per_epoch();
                (epoch + 1 + done / steps, (done % steps * batch) as usize)
            }
        }
    }

    /// Returns the units that were taken after so many steps, of all epochs.
    pub(crate) fn taken(&self, step: u64) -> u64 {
        let (epoch, index) = self.place(step);
        epoch * self.units as u64 + index as u64
    }

    /// Returns the epochs that are done after so many steps.
    pub(crate) fn epochs(&self, step: u64) -> f64 {
        match self.origin == Origin::default() {
            true => step as f64 / self.steps_per_epoch() as f64,
            false => self.taken(step) as f64 / self.units as f64,
        }
    }

    /// Returns the steps of a run: `steps`, or those of so many epochs where that is 0.
    pub(crate) fn total_steps(&self, steps: u64, epochs: f64) -> u64 {
        if steps > 0 {
            return steps;
        }
        if self.origin == Origin::default() {
            return (epochs * self.steps_per_epoch() as f64).ceil() as u64;
        }
        let Origin { step, units } = self.origin;
        let all = self.units as f64;
        let later = epochs - (units / self.units as u64 + 1) as f64;
        if later > 0.0 {
            let first = self.first_steps() as f64;
            return step + (first + later * self.steps_per_epoch() as f64).ceil() as u64;
        }
        step + ((epochs * all - units as f64).max(0.0) / self.batch as f64).ceil() as u64
    }

    /// Returns the units of a step, counted from 0.
    pub(crate) fn step(&mut self, step: u64) -> &[u32] {
        let (epoch, index) = self.place(step);
        if self.current.as_ref().is_none_or(|(current, _)| *current != epoch) {
            let order = match self.shuffle {
                true => permutation(mix(self.seed, epoch), self.units),
                false => (0..self.units as u32).collect(),
            };
            self.current = Some((epoch, order));
        }
        let order = &self.current.as_ref().expect("set above").1;
        &order[index..(index + self.batch).min(self.units)]
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

    /// Whatever sizes the batches of a run have, every epoch has every unit once, in the same order.
    #[test]
    fn batches_of_another_size_go_on_where_the_others_were() {
        let undisturbed = |epochs: u64| -> Vec<u32> {
            let mut order = Order::new(11, 1, 3, true);
            (0..11 * epochs).flat_map(|step| order.step(step).to_vec()).collect()
        };
        for changes in
            [&[(4, 2), (3, 3), (5, 9)][..], &[(11, 1), (2, 4)], &[(4, 5), (4, 1), (20, 2)], &[(5, 1)]]
        {
            let mut seen: Vec<u32> = Vec::new();
            let (mut step, mut units, mut origin) = (0, None, Origin::default());
            for (at, (batch, steps)) in changes.iter().enumerate() {
                let mut order = Order::new(11, *batch, 3, true);
                let note = order.go_on(step, units, origin);
                assert_eq!(note.is_some(), at > 0 && changes[at - 1].0 != *batch, "{changes:?}");
                for _ in 0..*steps {
                    seen.extend(order.step(step));
                    step += 1;
                    // A process that is killed and goes on with the same size.
                    let mut again = Order::new(11, *batch, 3, true);
                    assert_eq!(again.go_on(step, Some(order.taken(step)), order.origin()), None);
                    assert_eq!(again.origin(), order.origin());
                    order = again;
                }
                (units, origin) = (Some(order.taken(step)), order.origin());
                assert_eq!(units, Some(seen.len() as u64));
                let epochs = (seen.len() as u64).div_ceil(11).max(1);
                let total = order.total_steps(0, epochs as f64);
                let mut rest = seen.clone();
                (step..total).for_each(|step| rest.extend(order.step(step)));
                assert_eq!(rest, undisturbed(epochs), "{changes:?}");
                assert!((order.epochs(total) - epochs as f64).abs() < 1e-9);
            }
        }
        // The rows of the report: 58 steps of 4, then of 8: the other 168 rows are 21 steps.
        let mut order = Order::new(400, 8, 1, true);
        let note = order.go_on(58, Some(232), Origin::default()).expect("another size");
        assert!(note.contains("after step 58") && note.contains("row 233 of 400 in epoch 1"), "{note}");
        assert_eq!(order.total_steps(0, 1.0), 79);
        assert_eq!(order.total_steps(0, 0.5), 58);
    }
}
