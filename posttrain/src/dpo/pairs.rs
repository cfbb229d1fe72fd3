//! A step of pairs: from log-probabilities to losses, to the weight of every token in the gradient, to the numbers
//! that are logged.

use super::loss::{self, LossSettings, Outcome, Pairs};
use crate::learner::{Learner, Totals};
use crate::model::Batch;
use anyhow::Result;
use kernels::Element;
use kernels::training::TokenLoss;

/// Adds the gradient of a step's mean loss.
pub(super) fn gradient<E: Element>(
    learner: &mut Learner<E>,
    batches: &[PairBatch],
    losses: &LossSettings,
) -> Result<Measured> {
    let step = Step::of(batches);
    let mut measured = Measured::default();
    if losses.couples_pairs() && batches.len() > 1 {
        // Every pair's loss needs all others first: the step is computed once more.
        let tokens = batches.iter().map(|pairs| learner.losses(&pairs.batch)).collect::<Result<Vec<_>>>()?;
        let outcome = step.outcome(batches, &tokens, losses);
        let mut first = 0;
        for pairs in batches {
            let own = first..first + pairs.len();
            learner.weighted_gradient(&pairs.batch, |_| {
                pairs.token_weights(&outcome, own.clone(), step.pairs)
            })?;
            first = own.end;
        }
        measured.add(batches, &tokens, &outcome, losses.beta);
        return Ok(measured);
    }
    for pairs in batches {
        let mut outcome = None;
        let tokens = learner.weighted_gradient(&pairs.batch, |tokens| {
            let made = step.outcome(std::slice::from_ref(pairs), &[tokens.to_vec()], losses);
            let weights = pairs.token_weights(&made, 0..pairs.len(), step.pairs);
            outcome = Some(made);
            weights
        })?;
        let outcome = outcome.expect("the gradient asked for the weights");
        measured.add(std::slice::from_ref(pairs), &[tokens], &outcome, losses.beta);
    }
    Ok(measured)
}

pub(super) fn evaluate<E: Element>(
    learner: &mut Learner<E>,
    batches: &[PairBatch],
    losses: &LossSettings,
) -> Result<Measured> {
    let step = Step::of(batches);
    let tokens = batches.iter().map(|pairs| learner.losses(&pairs.batch)).collect::<Result<Vec<_>>>()?;
    let outcome = step.outcome(batches, &tokens, losses);
    let mut measured = Measured::default();
    measured.add(batches, &tokens, &outcome, losses.beta);
    Ok(measured)
}

/// What all micro-batches of a step share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pairs: usize,
    mean_chosen_tokens: f64,
}

impl Step {
    pub(super) fn of(batches: &[PairBatch]) -> Self {
        let pairs = batches.iter().map(PairBatch::len).sum();
        let tokens: usize = batches
            .iter()
            .map(|pairs| (0..pairs.len()).map(|pair| pairs.tokens(2 * pair)).sum::<usize>())
            .sum();
        Self { pairs, mean_chosen_tokens: tokens as f64 / pairs as f64 }
    }

    /// The losses of these micro-batches' pairs, in order.
    pub(super) fn outcome(
        &self,
        batches: &[PairBatch],
        tokens: &[Vec<TokenLoss>],
        losses: &LossSettings,
    ) -> Outcome {
        let mut sides = [(Vec::new(), Vec::new(), Vec::new()), (Vec::new(), Vec::new(), Vec::new())];
        for (pairs, tokens) in batches.iter().zip(tokens) {
            for (sequence, log_probability) in pairs.sums(tokens).into_iter().enumerate() {
                let (sums, references, counts) = &mut sides[sequence % 2];
                sums.push(log_probability);
                references.push(pairs.reference[sequence]);
                counts.push(pairs.tokens(sequence));
            }
        }
        let [(chosen, reference_chosen, chosen_tokens), (rejected, reference_rejected, rejected_tokens)] =
            &sides;
        let pairs =
            Pairs { chosen, rejected, reference_chosen, reference_rejected, chosen_tokens, rejected_tokens };
        loss::evaluate(&pairs, losses, self.mean_chosen_tokens)
    }
}

/// A micro-batch of pairs: chosen and rejected in turn, with the reference's log-probabilities.
#[derive(Debug)]
pub(super) struct PairBatch {
    pub(super) batch: Batch,
    pub(super) reference: Vec<f64>,
}

impl PairBatch {
    pub(super) fn len(&self) -> usize {
        self.reference.len() / 2
    }

    /// Trained tokens of a sequence.
    pub(super) fn tokens(&self, sequence: usize) -> usize {
        self.batch.target_starts[sequence + 1] - self.batch.target_starts[sequence]
    }

    /// Σ log-probability of every sequence.
    pub(super) fn sums(&self, tokens: &[TokenLoss]) -> Vec<f64> {
        let sum = |range: &[usize]| {
            tokens[range[0]..range[1]].iter().map(|token| f64::from(token.log_probability)).sum()
        };
        self.batch.target_starts.windows(2).map(sum).collect()
    }

    /// The weight of every token in -Σ weight · log-probability whose gradient is that of the mean loss.
    pub(super) fn token_weights(
        &self,
        outcome: &Outcome,
        own: std::ops::Range<usize>,
        pairs: usize,
    ) -> Vec<f32> {
        let sides = outcome.dchosen[own.clone()].iter().zip(&outcome.drejected[own]);
        let derivatives = sides.flat_map(|(chosen, rejected)| [*chosen, *rejected]);
        derivatives
            .enumerate()
            .flat_map(|(sequence, derivative)| {
                std::iter::repeat_n((-derivative / pairs as f64) as f32, self.tokens(sequence))
            })
            .collect()
    }
}

/// Sums over pairs and their tokens.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pairs: usize,
    loss: f64,
    rewards: [f64; 2],
    log_probabilities: [f64; 2],
    right: f64,
    tokens: Totals,
}

impl Measured {
    pub(super) fn add(
        &mut self,
        batches: &[PairBatch],
        tokens: &[Vec<TokenLoss>],
        outcome: &Outcome,
        beta: f64,
    ) {
        self.loss += outcome.losses.iter().sum::<f64>();
        for (pairs, tokens) in batches.iter().zip(tokens) {
            self.tokens.add(tokens);
            self.pairs += pairs.len();
            let sums = pairs.sums(tokens);
            for (sums, reference) in sums.chunks_exact(2).zip(pairs.reference.chunks_exact(2)) {
                let rewards = [beta * (sums[0] - reference[0]), beta * (sums[1] - reference[1])];
                for side in 0..2 {
                    self.rewards[side] += rewards[side];
                    self.log_probabilities[side] += sums[side];
                }
                self.right += f64::from(u8::from(rewards[0] > rewards[1]));
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.loss += other.loss;
        self.right += other.right;
        self.tokens.merge(&other.tokens);
        for side in 0..2 {
            self.rewards[side] += other.rewards[side];
            self.log_probabilities[side] += other.log_probabilities[side];
        }
    }

    /// Mean loss of a pair.
    pub(super) fn mean_loss(&self) -> f64 {
        self.loss / self.pairs as f64
    }

    /// The means, named as TRL names them.
    pub(super) fn values(&self, prefix: &str) -> Vec<(String, f64)> {
        let pairs = self.pairs as f64;
        [
            ("loss", self.mean_loss()),
            ("rewards/chosen", self.rewards[0] / pairs),
            ("rewards/rejected", self.rewards[1] / pairs),
            ("rewards/margins", (self.rewards[0] - self.rewards[1]) / pairs),
            ("rewards/accuracies", self.right / pairs),
            ("logps/chosen", self.log_probabilities[0] / pairs),
            ("logps/rejected", self.log_probabilities[1] / pairs),
            ("mean_token_accuracy", self.tokens.accuracy()),
            ("entropy", self.tokens.mean_entropy()),
        ]
        .map(|(name, value)| (format!("{prefix}{name}"), value))
        .to_vec()
    }
}
