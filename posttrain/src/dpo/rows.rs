//! The pairs of a run: what it trains on, in which order, and what it keeps aside.

use super::pairs::PairBatch;
use super::{Dpo, Settings};
use crate::model::Batch;
use crate::order::{Order, kept_aside, micro_batches};
use crate::tokens::Store;
use anyhow::{Result, bail};

/// The pairs of a run; pair p of a store is its sequences 2p and 2p + 1.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) data: Store,
    pub(super) eval: Option<Store>,
    /// Pairs of `data` to train on, and those kept aside.
    pairs: Vec<u32>,
    held: Vec<u32>,
    pub(super) order: Order,
}

impl Rows {
    pub(super) fn new(data: Store, eval: Option<Store>, settings: &Settings) -> Result<Self> {
        let Dpo { eval_split, batch_size, shuffle, .. } = settings.dpo;
        let (seed, count) = (settings.training.seed, data.len() / 2);
        let held = if eval.is_some() { 0 } else { kept_aside(count, eval_split) };
        let mut pairs = crate::random::permutation(crate::random::mix(seed, 0xe7a1), count);
        let mut held = pairs.split_off(count - held);
        pairs.sort_unstable();
        held.sort_unstable();
        if pairs.is_empty() {
            bail!("eval_split {eval_split} keeps all {count} pairs aside: nothing is left to train on");
        }
        let order = Order::new(pairs.len(), batch_size, seed, shuffle);
        Ok(Self { data, eval, pairs, held, order })
    }

    pub(super) fn total_steps(&self, dpo: &Dpo) -> u64 {
        match dpo.steps {
            0 => (dpo.epochs * self.order.steps_per_epoch() as f64).ceil() as u64,
            steps => steps,
        }
    }

    /// The micro-batches of a step.
    pub(super) fn step(&mut self, step: u64, reference: &[f64], micro_batch_tokens: usize) -> Vec<PairBatch> {
        let pairs: Vec<u32> = self.order.step(step).iter().map(|unit| self.pairs[*unit as usize]).collect();
        batches(&self.data, &pairs, reference, micro_batch_tokens)
    }

    pub(super) fn has_eval(&self) -> bool {
        self.eval.is_some() || !self.held.is_empty()
    }

    pub(super) fn eval_batches(&self, reference: &[Vec<f64>], micro_batch_tokens: usize) -> Vec<PairBatch> {
        match &self.eval {
            Some(eval) => {
                let all: Vec<u32> = (0..eval.len() as u32 / 2).collect();
                batches(eval, &all, &reference[1], micro_batch_tokens)
            }
            None => batches(&self.data, &self.held, &reference[0], micro_batch_tokens),
        }
    }
}

pub(super) fn batches(
    store: &Store,
    pairs: &[u32],
    reference: &[f64],
    micro_batch_tokens: usize,
) -> Vec<PairBatch> {
    let length = |pair: u32| store.length(2 * pair as usize) + store.length(2 * pair as usize + 1);
    let batch = |pairs: Vec<u32>| {
        let sequences = pairs.iter().flat_map(|pair| [2 * *pair as usize, 2 * *pair as usize + 1]);
        let sequences: Vec<usize> = sequences.collect();
        PairBatch {
            batch: Batch::new(sequences.iter().map(|sequence| store.sequence(*sequence))),
            reference: sequences.iter().map(|sequence| reference[*sequence]).collect(),
        }
    };
    micro_batches(pairs, length, micro_batch_tokens).into_iter().map(batch).collect()
}
