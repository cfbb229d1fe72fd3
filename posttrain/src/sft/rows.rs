//! The rows of a run: what it trains on, in packs and in which order, and what it holds out.

use super::settings::{Settings, SftSettings};
use crate::order::{Order, Pack, best_fit, hold_out, micro_batches};
use crate::tokens::Store;
use anyhow::{Result, ensure};
use training::{Batch, TopTokens};

/// The rows of a run.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) data: Store,
    pub(super) eval: Option<Store>,
    /// Rows of `data` that are held out.
    held_out: Vec<u32>,
    packs: Vec<Pack>,
    pub(super) order: Order,
}

impl Rows {
    pub(super) fn new(data: Store, eval: Option<Store>, settings: &Settings) -> Result<Self> {
        let SftSettings { eval_split, max_length, packing, batch_size, shuffle, .. } = settings.sft;
        let seed = settings.training.seed;
        let (trained, held_out) = hold_out(data.len(), if eval.is_some() { 0.0 } else { eval_split }, seed);
        ensure!(
            !trained.is_empty(),
            "`eval_split` {eval_split} holds out all {} rows, so none is left to train on; give a smaller one",
            data.len()
        );
        let packs: Vec<Pack> = if packing {
            let lengths: Vec<usize> = trained.iter().map(|row| data.length(*row as usize)).collect();
            let rows_of = |pack: Pack| pack.into_iter().map(|index| trained[index as usize]).collect();
            best_fit(&lengths, max_length).into_iter().map(rows_of).collect()
        } else {
            trained.iter().map(|row| vec![*row]).collect()
        };
        let order = Order::new(packs.len(), batch_size, seed, shuffle);
        Ok(Self { data, eval, held_out, packs, order })
    }

    /// Returns the micro-batches of a step.
    ///
    /// # Errors
    /// When the tokens cannot be read.
    pub(super) fn step(&mut self, step: u64, micro_batch_tokens: usize) -> Result<Vec<WeightedBatch>> {
        let packs = self.order.step(step).iter();
        let rows: Vec<u32> = packs.flat_map(|pack| self.packs[*pack as usize].clone()).collect();
        let length = |row: u32| self.data.length(row as usize);
        let batches = micro_batches(&rows, length, micro_batch_tokens).into_iter();
        batches.map(|rows| WeightedBatch::read(&self.data, &rows)).collect()
    }

    /// Returns whether there are rows to evaluate on.
    pub(super) fn has_eval(&self) -> bool {
        self.eval.is_some() || !self.held_out.is_empty()
    }

    /// Returns the micro-batches of an evaluation.
    ///
    /// # Errors
    /// As `step`.
    pub(super) fn eval_batches(&self, micro_batch_tokens: usize) -> Result<Vec<WeightedBatch>> {
        let (store, rows) = match &self.eval {
            Some(eval) => (eval, (0..eval.len() as u32).collect()),
            None => (&self.data, self.held_out.clone()),
        };
        let batches = micro_batches(&rows, |row| store.length(row as usize), micro_batch_tokens).into_iter();
        batches.map(|rows| WeightedBatch::read(store, &rows)).collect()
    }

    /// Returns the names of the tokenized data, which are hashes of everything that decides it.
    pub(super) fn name(&self) -> String {
        let stores = [Some(&self.data), self.eval.as_ref()];
        stores.into_iter().flatten().map(Store::name).collect::<Vec<_>>().join("+")
    }
}

/// A micro-batch, with the weight of each target where not all have 1, and what is stored of each where that is learned.
#[derive(Debug)]
pub(super) struct WeightedBatch {
    pub(super) batch: Batch,
    pub(super) weights: Option<Vec<f32>>,
    pub(super) distributions: Option<Vec<TopTokens>>,
}

impl WeightedBatch {
    fn read(store: &Store, rows: &[u32]) -> Result<Self> {
        let mut sequences = Vec::with_capacity(rows.len());
        let mut weights = Vec::new();
        let mut distributions = None;
        for row in rows {
            let sequence = store.sequence(*row as usize)?;
            if let Some(of_tokens) = store.distributions(*row as usize)? {
                let targets = sequence.trained.iter().zip(of_tokens).skip(1);
                let targets = targets.filter(|(trained, _)| **trained).map(|(_, top)| top);
                distributions.get_or_insert_with(Vec::new).extend(targets);
            }
            if let Some(of_tokens) = store.weights(*row as usize)? {
                let targets = sequence.trained.iter().zip(of_tokens).skip(1);
                weights.extend(targets.filter(|(trained, _)| **trained).map(|(_, weight)| weight));
            }
            sequences.push(sequence);
        }
        let weights = weights.iter().any(|weight| *weight != 1.0).then_some(weights);
        Ok(Self { batch: Batch::new(sequences), weights, distributions })
    }

    /// Returns the sum of the weights of its targets.
    pub(super) fn weight(&self) -> f64 {
        match &self.weights {
            None => self.batch.targets.len() as f64,
            Some(weights) => weights.iter().map(|weight| f64::from(*weight)).sum(),
        }
    }
}
