//! The pairs of a run: what it trains on, in which order, and what it holds out.

use super::pairs::PairBatch;
use super::settings::{DpoSettings, Settings};
use crate::order::{Order, hold_out, micro_batches};
use crate::tokens::Store;
use anyhow::{Result, ensure};
use training::Batch;

/// The pairs of a run. Pair p of a store has its sequences 2p (chosen) and 2p + 1 (rejected).
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) data: Store,
    pub(super) eval: Option<Store>,
    /// Pairs of `data` to train on.
    pairs: Vec<u32>,
    /// Pairs of `data` that are held out.
    held_out: Vec<u32>,
    pub(super) order: Order,
}

impl Rows {
    pub(super) fn new(data: Store, eval: Option<Store>, settings: &Settings) -> Result<Self> {
        let DpoSettings { eval_split, batch_size, shuffle, .. } = settings.dpo;
        let (seed, count) = (settings.training.seed, data.len() / 2);
        let (pairs, held_out) = hold_out(count, if eval.is_some() { 0.0 } else { eval_split }, seed);
        ensure!(
            !pairs.is_empty(),
            "`eval_split` {eval_split} holds out all {count} pairs, so none is left to train on; give a smaller one"
        );
        let order = Order::new(pairs.len(), batch_size, seed, shuffle);
        Ok(Self { data, eval, pairs, held_out, order })
    }

    /// Returns the micro-batches of a step; `reference` has the log-probabilities of the sequences of `data`.
    ///
    /// # Errors
    /// When the tokens cannot be read.
    pub(super) fn step(
        &mut self,
        step: u64,
        reference: &[f64],
        micro_batch_tokens: usize,
    ) -> Result<Vec<PairBatch>> {
        let pairs: Vec<u32> = self.order.step(step).iter().map(|unit| self.pairs[*unit as usize]).collect();
        batches(&self.data, &pairs, reference, micro_batch_tokens)
    }

    /// Returns whether there are pairs to evaluate on.
    pub(super) fn has_eval(&self) -> bool {
        self.eval.is_some() || !self.held_out.is_empty()
    }

    /// Returns the micro-batches of an evaluation; `reference` has the log-probabilities of each store's sequences.
    ///
    /// # Errors
    /// As `step`.
    pub(super) fn eval_batches(
        &self,
        reference: &[Vec<f64>],
        micro_batch_tokens: usize,
    ) -> Result<Vec<PairBatch>> {
        match &self.eval {
            Some(eval) => {
                let all: Vec<u32> = (0..eval.len() as u32 / 2).collect();
                batches(eval, &all, &reference[1], micro_batch_tokens)
            }
            None => batches(&self.data, &self.held_out, &reference[0], micro_batch_tokens),
        }
    }
}

/// Returns pairs as micro-batches.
fn batches(
    store: &Store,
    pairs: &[u32],
    reference: &[f64],
    micro_batch_tokens: usize,
) -> Result<Vec<PairBatch>> {
    let length = |pair: u32| store.length(2 * pair as usize) + store.length(2 * pair as usize + 1);
    let batch = |pairs: Vec<u32>| {
        let sequences = pairs.iter().flat_map(|pair| [2 * *pair as usize, 2 * *pair as usize + 1]);
        let sequences: Vec<usize> = sequences.collect();
        let tokens = sequences.iter().map(|sequence| store.sequence(*sequence));
        Ok(PairBatch {
            batch: Batch::new(tokens.collect::<Result<Vec<_>, _>>()?),
            reference: sequences.iter().map(|sequence| reference[*sequence]).collect(),
        })
    };
    micro_batches(pairs, length, micro_batch_tokens).into_iter().map(batch).collect()
}
