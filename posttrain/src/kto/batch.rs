//! A step of replies: from log-probabilities to losses, to the weight of every token in the gradient, to the metrics.

use super::loss::{LossSettings, divergence};
use anyhow::Result;
use training::{Batch, Learner, TokenLoss, Totals};

/// A micro-batch of replies.
#[derive(Debug)]
pub(super) struct ReplyBatch {
    pub(super) batch: Batch,
    /// Each prompt with another reply; empty where the loss needs no divergence.
    pub(super) mismatched: Batch,
    /// The reference's log-probability of every reply.
    pub(super) reference: Vec<f64>,
    /// The reference's log-probability of every mismatched reply.
    pub(super) mismatched_reference: Vec<f64>,
    pub(super) is_good: Vec<bool>,
}

/// Adds the gradient of a step's mean loss. The divergence is that of all its replies, however they are split.
pub(super) fn gradient(
    learner: &mut Learner,
    batches: &[ReplyBatch],
    loss: &LossSettings,
) -> Result<ReplyTotals> {
    let count = batches.iter().map(|replies| replies.is_good.len()).sum::<usize>() as f64;
    let kl = measure(learner, batches)?;
    let mut totals = ReplyTotals::new(kl);
    for replies in batches {
        let tokens = learner.weighted_gradient(&replies.batch, |tokens| {
            let terms = replies.terms(tokens, loss, kl);
            let derivatives = terms.iter().map(|(_, derivative)| (-derivative / count) as f32);
            let counts = replies.batch.target_starts.windows(2).map(|range| range[1] - range[0]);
            derivatives.zip(counts).flat_map(|(weight, count)| std::iter::repeat_n(weight, count)).collect()
        })?;
        totals.add(replies, &tokens, loss);
    }
    Ok(totals)
}

/// Returns the totals of replies without changing gradients.
pub(super) fn evaluate(
    learner: &mut Learner,
    batches: &[ReplyBatch],
    loss: &LossSettings,
) -> Result<ReplyTotals> {
    let mut totals = ReplyTotals::new(measure(learner, batches)?);
    for replies in batches {
        let tokens = learner.losses(&replies.batch)?;
        totals.add(replies, &tokens, loss);
    }
    Ok(totals)
}

/// Returns the divergence of the policy from the reference.
fn measure(learner: &mut Learner, batches: &[ReplyBatch]) -> Result<f64> {
    let mut log_ratios = Vec::new();
    for replies in batches.iter().filter(|replies| !replies.mismatched_reference.is_empty()) {
        let tokens = learner.losses(&replies.mismatched)?;
        let sums = sums(&replies.mismatched, &tokens);
        log_ratios
            .extend(sums.iter().zip(&replies.mismatched_reference).map(|(sum, reference)| sum - reference));
    }
    Ok(divergence(log_ratios.into_iter()))
}

/// Returns the sum of the log-probabilities of every sequence.
fn sums(batch: &Batch, tokens: &[TokenLoss]) -> Vec<f64> {
    let sum = |range: &[usize]| {
        tokens[range[0]..range[1]].iter().map(|token| f64::from(token.log_probability)).sum()
    };
    batch.target_starts.windows(2).map(sum).collect()
}

impl ReplyBatch {
    /// Returns the loss and its derivative of every reply.
    fn terms(&self, tokens: &[TokenLoss], loss: &LossSettings, kl: f64) -> Vec<(f64, f64)> {
        let ratios = sums(&self.batch, tokens).into_iter().zip(&self.reference);
        let ratios = ratios.map(|(sum, reference)| sum - reference).zip(&self.is_good);
        ratios.map(|(ratio, is_good)| loss.of_reply(ratio, *is_good, kl)).collect()
    }
}

/// Sums over replies and their tokens.
#[derive(Debug, Default)]
pub(super) struct ReplyTotals {
    loss: f64,
    /// Of good and of bad replies, as the following.
    counts: [usize; 2],
    rewards: [f64; 2],
    log_probabilities: [f64; 2],
    /// Sum of the steps' divergences, and their number.
    kl: (f64, usize),
    tokens: Totals,
    largest_difference: f64,
}

impl ReplyTotals {
    fn new(kl: f64) -> Self {
        Self { kl: (kl, 1), ..Self::default() }
    }

    fn add(&mut self, replies: &ReplyBatch, tokens: &[TokenLoss], loss: &LossSettings) {
        let kl = self.kl.0;
        self.tokens.add(tokens);
        self.loss += replies.terms(tokens, loss, kl).iter().map(|(loss, _)| loss).sum::<f64>();
        let sums = sums(&replies.batch, tokens);
        for ((sum, reference), is_good) in sums.iter().zip(&replies.reference).zip(&replies.is_good) {
            let side = usize::from(!is_good);
            self.counts[side] += 1;
            self.rewards[side] += loss.beta * (sum - reference);
            self.log_probabilities[side] += sum;
            let difference = (sum - reference).abs() / (1.0 + sum.abs());
            self.largest_difference = self.largest_difference.max(difference);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.loss += other.loss;
        self.kl = (self.kl.0 + other.kl.0, self.kl.1 + other.kl.1);
        self.tokens.merge(&other.tokens);
        for side in 0..2 {
            self.counts[side] += other.counts[side];
            self.rewards[side] += other.rewards[side];
            self.log_probabilities[side] += other.log_probabilities[side];
        }
    }

    /// Returns the largest difference of a reply's log-probability from the reference's, relative to 1 nat and its size.
    pub(super) fn largest_difference(&self) -> f64 {
        self.largest_difference
    }

    /// Returns the mean loss of a reply.
    pub(super) fn mean_loss(&self) -> f64 {
        self.loss / self.counts.iter().sum::<usize>() as f64
    }

    /// Returns the means under the names that TRL gives them. A step may have replies of one label only.
    pub(super) fn values(&self, prefix: &str) -> Vec<(String, f64)> {
        let mut values = vec![("loss", self.mean_loss()), ("kl", self.kl.0 / self.kl.1 as f64)];
        let names = [("rewards/chosen", "logps/chosen"), ("rewards/rejected", "logps/rejected")];
        for (side, (reward, logps)) in
            names.into_iter().enumerate().filter(|(side, _)| self.counts[*side] > 0)
        {
            let count = self.counts[side] as f64;
            values.push((reward, self.rewards[side] / count));
            values.push((logps, self.log_probabilities[side] / count));
        }
        if self.counts.iter().all(|count| *count > 0) {
            let [good, bad] = [0, 1].map(|side| self.rewards[side] / self.counts[side] as f64);
            values.push(("rewards/margins", good - bad));
        }
        values.push(("mean_token_accuracy", self.tokens.accuracy()));
        values.push(("entropy", self.tokens.mean_entropy()));
        values.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect()
    }
}
