//! The replies of a run: good ones first, then bad ones, and each prompt with another reply, by which the divergence of the
//! policy from the reference is measured.

use super::batch::ReplyBatch;
use super::settings::{KtoSettings, Settings};
use crate::order::{Order, hold_out, micro_batches};
use crate::reference::Sequences;
use crate::tokens::Store;
use anyhow::{Result, ensure};
use training::{Batch, Sequence};

/// Replies with their labels.
#[derive(Debug)]
pub(super) struct Labeled {
    pub(super) good: Store,
    pub(super) bad: Store,
    /// The reply that is given to each reply's prompt.
    partners: Vec<u32>,
    max_length: usize,
}

impl Labeled {
    /// Each reply's partner is the one before it in an order that follows from the seed.
    pub(super) fn new(good: Store, bad: Store, settings: &Settings) -> Self {
        let order = random::permutation(settings.training.seed, good.len() + bad.len());
        let mut partners = vec![0; order.len()];
        for (place, reply) in order.iter().enumerate() {
            partners[*reply as usize] = order[(place + order.len() - 1) % order.len()];
        }
        Self { good, bad, partners, max_length: settings.kto.max_length }
    }

    pub(super) fn len(&self) -> usize {
        self.partners.len()
    }

    fn is_good(&self, reply: u32) -> bool {
        (reply as usize) < self.good.len()
    }

    fn sequence(&self, reply: u32) -> Result<Sequence<'static>> {
        let reply = reply as usize;
        Ok(match reply.checked_sub(self.good.len()) {
            None => self.good.sequence(reply)?,
            Some(bad) => self.bad.sequence(bad)?,
        })
    }

    /// Returns a prompt with the reply of its partner.
    fn mismatched(&self, reply: u32) -> Result<Sequence<'static>> {
        let (own, partner) = (self.sequence(reply)?, self.sequence(self.partners[reply as usize])?);
        let split =
            |sequence: &Sequence<'_>| sequence.trained.iter().position(|trained| *trained).unwrap_or(0);
        let (prompt, from) = (split(&own), split(&partner));
        let mut ids = own.ids[..prompt].to_vec();
        let mut trained = vec![false; prompt];
        ids.extend_from_slice(&partner.ids[from..]);
        trained.extend_from_slice(&partner.trained[from..]);
        ids.truncate(self.max_length);
        trained.truncate(self.max_length);
        Ok(Sequence { ids: ids.into(), trained: trained.into() })
    }

    /// Returns the sequences whose log-probabilities the reference computes: all replies, and, where they are needed, the
    /// mismatched ones.
    pub(super) fn parts(&self, with_mismatched: bool) -> Result<Vec<Sequences<'_>>> {
        let mut parts = vec![Sequences::of_store(&self.good), Sequences::of_store(&self.bad)];
        if with_mismatched {
            let all = (0..self.len() as u32).map(|reply| Ok(self.mismatched(reply)?.ids.len()));
            let partners: Vec<u8> = self.partners.iter().flat_map(|partner| partner.to_le_bytes()).collect();
            parts.push(Sequences {
                name: format!("{} mismatched {}", self.name(), files::hash::sha256(partners)),
                lengths: all.collect::<Result<_>>()?,
                read: Box::new(|reply| self.mismatched(reply as u32)),
            });
        }
        Ok(parts)
    }

    /// Returns the hash of everything that decides the replies.
    pub(super) fn name(&self) -> String {
        format!("{}+{}", self.good.name(), self.bad.name())
    }

    /// Returns replies as micro-batches.
    fn batches(
        &self,
        replies: &[u32],
        reference: &Reference,
        micro_batch_tokens: usize,
    ) -> Result<Vec<ReplyBatch>> {
        let mut sequences = Vec::new();
        for reply in replies {
            let mismatched = reference.has_mismatched().then(|| self.mismatched(*reply)).transpose()?;
            sequences.push((self.sequence(*reply)?, mismatched));
        }
        let length = |index: u32| {
            let (own, mismatched) = &sequences[index as usize];
            own.ids.len().max(mismatched.as_ref().map_or(0, |sequence| sequence.ids.len()))
        };
        let indexes: Vec<u32> = (0..replies.len() as u32).collect();
        let batch = |indexes: Vec<u32>| {
            let replies: Vec<u32> = indexes.iter().map(|index| replies[*index as usize]).collect();
            let of = |index: &u32| &sequences[*index as usize];
            ReplyBatch {
                batch: Batch::new(indexes.iter().map(|index| of(index).0.clone())),
                mismatched: Batch::new(indexes.iter().filter_map(|index| of(index).1.clone())),
                reference: replies.iter().map(|reply| reference.replies[*reply as usize]).collect(),
                mismatched_reference: replies
                    .iter()
                    .filter_map(|reply| reference.mismatched(*reply))
                    .collect(),
                is_good: replies.iter().map(|reply| self.is_good(*reply)).collect(),
            }
        };
        Ok(micro_batches(&indexes, length, micro_batch_tokens).into_iter().map(batch).collect())
    }
}

/// The reference's log-probabilities of all replies, and of the mismatched ones, if they are needed.
#[derive(Debug, Default)]
pub(super) struct Reference {
    replies: Vec<f64>,
    mismatched: Vec<f64>,
}

impl Reference {
    /// Takes the parts in the order of `Labeled::parts`.
    pub(super) fn new(mut parts: impl Iterator<Item = Vec<f64>>, with_mismatched: bool) -> Self {
        let mut replies = parts.next().unwrap_or_default();
        replies.extend(parts.next().unwrap_or_default());
        let mismatched = if with_mismatched { parts.next() } else { None };
        Self { replies, mismatched: mismatched.unwrap_or_default() }
    }

    fn has_mismatched(&self) -> bool {
        !self.mismatched.is_empty()
    }

    fn mismatched(&self, reply: u32) -> Option<f64> {
        self.mismatched.get(reply as usize).copied()
    }
}

/// The replies of a run.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) data: Labeled,
    pub(super) eval: Option<Labeled>,
    /// Replies of `data` to train on.
    replies: Vec<u32>,
    /// Replies of `data` that are held out.
    held_out: Vec<u32>,
    pub(super) order: Order,
}

impl Rows {
    pub(super) fn new(data: Labeled, eval: Option<Labeled>, settings: &Settings) -> Result<Self> {
        let KtoSettings { eval_split, batch_size, shuffle, .. } = settings.kto;
        let (seed, count) = (settings.training.seed, data.len());
        let (replies, held_out) = hold_out(count, if eval.is_some() { 0.0 } else { eval_split }, seed);
        ensure!(
            !replies.is_empty(),
            "`eval_split` {eval_split} holds out all {count} replies, so none is left to train on; give a smaller one"
        );
        let order = Order::new(replies.len(), batch_size, seed, shuffle);
        Ok(Self { data, eval, replies, held_out, order })
    }

    /// Returns the micro-batches of a step.
    ///
    /// # Errors
    /// When the tokens cannot be read.
    pub(super) fn step(
        &mut self,
        step: u64,
        reference: &Reference,
        micro_batch_tokens: usize,
    ) -> Result<Vec<ReplyBatch>> {
        let replies: Vec<u32> =
            self.order.step(step).iter().map(|unit| self.replies[*unit as usize]).collect();
        self.data.batches(&replies, reference, micro_batch_tokens)
    }

    /// Returns whether there are replies to evaluate on.
    pub(super) fn has_eval(&self) -> bool {
        self.eval.is_some() || !self.held_out.is_empty()
    }

    /// Returns the micro-batches of an evaluation; `references` are those of `data` and `eval`.
    ///
    /// # Errors
    /// As `step`.
    pub(super) fn eval_batches(
        &self,
        references: &[Reference],
        micro_batch_tokens: usize,
    ) -> Result<Vec<ReplyBatch>> {
        match &self.eval {
            Some(eval) => {
                let all: Vec<u32> = (0..eval.len() as u32).collect();
                eval.batches(&all, &references[1], micro_batch_tokens)
            }
            None => self.data.batches(&self.held_out, &references[0], micro_batch_tokens),
        }
    }
}
