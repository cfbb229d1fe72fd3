//! The rows of a run: what it trains on, packed, in which order, and what it keeps aside.

use super::{Settings, Sft};
use crate::model::Batch;
use crate::order::{Order, Pack, best_fit, kept_aside, micro_batches};
use crate::tokens::Store;
use anyhow::{Result, bail};

/// The rows of a run: what it trains on in packs, and what it keeps aside.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) data: Store,
    pub(super) eval: Option<Store>,
    /// Rows of `data` kept aside.
    held: Vec<u32>,
    packs: Vec<Pack>,
    pub(super) order: Order,
}

impl Rows {
    pub(super) fn new(data: Store, eval: Option<Store>, settings: &Settings) -> Result<Self> {
        let Sft { eval_split, max_length, packing, batch_size, shuffle, .. } = settings.sft;
        let seed = settings.training.seed;
        let held_count = match eval {
            Some(_) => 0,
            None => kept_aside(data.len(), eval_split),
        };
        let mut order = crate::random::permutation(crate::random::mix(seed, 0xe7a1), data.len());
        let mut held = order.split_off(data.len() - held_count);
        order.sort_unstable();
        held.sort_unstable();
        if order.is_empty() {
            bail!("eval_split {eval_split} keeps all {} rows aside: nothing is left to train on", data.len());
        }
        let packs: Vec<Pack> = if packing {
            let lengths: Vec<usize> = order.iter().map(|row| data.length(*row as usize)).collect();
            let name = |pack: Pack| pack.into_iter().map(|index| order[index as usize]).collect();
            best_fit(&lengths, max_length).into_iter().map(name).collect()
        } else {
            order.iter().map(|row| vec![*row]).collect()
        };
        let order = Order::new(packs.len(), batch_size, seed, shuffle);
        Ok(Self { data, eval, held, packs, order })
    }

    pub(super) fn total_steps(&self, sft: &Sft) -> u64 {
        match sft.steps {
            0 => (sft.epochs * self.order.steps_per_epoch() as f64).ceil() as u64,
            steps => steps,
        }
    }

    /// The micro-batches of a step.
    pub(super) fn step(&mut self, step: u64, micro_batch_tokens: usize) -> Vec<Batch> {
        let packs = self.order.step(step).iter();
        let rows: Vec<u32> = packs.flat_map(|pack| self.packs[*pack as usize].clone()).collect();
        batches(&self.data, &rows, micro_batch_tokens)
    }

    pub(super) fn has_eval(&self) -> bool {
        self.eval.is_some() || !self.held.is_empty()
    }

    pub(super) fn eval_batches(&self, micro_batch_tokens: usize) -> Vec<Batch> {
        match &self.eval {
            Some(eval) => batches(eval, &(0..eval.len() as u32).collect::<Vec<u32>>(), micro_batch_tokens),
            None => batches(&self.data, &self.held, micro_batch_tokens),
        }
    }

    /// Names of the tokenized data, which are hashes of all that decides it.
    pub(super) fn name(&self) -> String {
        [Some(&self.data), self.eval.as_ref()]
            .into_iter()
            .flatten()
            .map(Store::name)
            .collect::<Vec<_>>()
            .join("+")
    }
}

/// Sequences as micro-batches.
fn batches(store: &Store, rows: &[u32], micro_batch_tokens: usize) -> Vec<Batch> {
    let batch = |rows: Vec<u32>| Batch::new(rows.iter().map(|row| store.sequence(*row as usize)));
    micro_batches(rows, |row| store.length(row as usize), micro_batch_tokens).into_iter().map(batch).collect()
}
