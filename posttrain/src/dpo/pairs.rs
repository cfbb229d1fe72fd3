//! A step of pairs: from log-probabilities to losses, to the weight of every token in the gradient, to the metrics.

use super::loss::{self, LossSettings, Outcome, Pairs};
use anyhow::Result;
use std::ops::Range;
use training::{Batch, Learner, TokenLoss, Totals};

/// A micro-batch of pairs: chosen and rejected sequences in turn.
#[derive(Debug)]
pub(super) struct PairBatch {
    pub(super) batch: Batch,
    /// The reference's log-probability of every sequence.
    pub(super) reference: Vec<f64>,
}

/// Adds the gradient of a step's mean loss.
pub(super) fn gradient(
    learner: &mut Learner,
    batches: &[PairBatch],
    losses: &LossSettings,
) -> Result<PairTotals> {
    let step = Step::new(batches);
    let mut totals = PairTotals::default();
    if losses.couples_pairs() && batches.len() > 1 {
        // Every pair's loss depends on all others, so the log-probabilities of the whole step are computed first.
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
        totals.add(batches, &tokens, &outcome, losses.beta);
        return Ok(totals);
    }
    for pairs in batches {
        let mut outcome = None;
        let tokens = learner.weighted_gradient(&pairs.batch, |tokens| {
            let result = step.outcome(std::slice::from_ref(pairs), &[tokens.to_vec()], losses);
            let weights = pairs.token_weights(&result, 0..pairs.len(), step.pairs);
            outcome = Some(result);
            weights
        })?;
        let outcome = outcome.expect("the gradient calls the function for the weights");
        totals.add(std::slice::from_ref(pairs), &[tokens], &outcome, losses.beta);
    }
    Ok(totals)
}

/// Returns the totals of pairs without changing gradients.
pub(super) fn evaluate(
    learner: &mut Learner,
    batches: &[PairBatch],
    losses: &LossSettings,
) -> Result<PairTotals> {
    let step = Step::new(batches);
    let tokens = batches.iter().map(|pairs| learner.losses(&pairs.batch)).collect::<Result<Vec<_>>>()?;
    let outcome = step.outcome(batches, &tokens, losses);
    let mut totals = PairTotals::default();
    totals.add(batches, &tokens, &outcome, losses.beta);
    Ok(totals)
}

/// What all micro-batches of a step share.
#[derive(Debug, Clone, Copy)]
struct Step {
    pairs: usize,
    mean_chosen_tokens: f64,
}

impl Step {
    fn new(batches: &[PairBatch]) -> Self {
        let pairs = batches.iter().map(PairBatch::len).sum();
        let chosen_tokens =
            |pairs: &PairBatch| (0..pairs.len()).map(|pair| pairs.tokens(2 * pair)).sum::<usize>();
        let tokens: usize = batches.iter().map(chosen_tokens).sum();
        Self { pairs, mean_chosen_tokens: tokens as f64 / pairs as f64 }
    }

    /// Returns the losses of the pairs of these micro-batches, in order.
    fn outcome(&self, batches: &[PairBatch], tokens: &[Vec<TokenLoss>], losses: &LossSettings) -> Outcome {
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

impl PairBatch {
    /// Returns the number of pairs.
    fn len(&self) -> usize {
        self.reference.len() / 2
    }

    /// Returns the trained tokens of a sequence.
    fn tokens(&self, sequence: usize) -> usize {
        self.batch.target_starts[sequence + 1] - self.batch.target_starts[sequence]
    }

    /// Returns the sum of the log-probabilities of every sequence.
    fn sums(&self, tokens: &[TokenLoss]) -> Vec<f64> {
        let sum = |range: &[usize]| {
            tokens[range[0]..range[1]].iter().map(|token| f64::from(token.log_probability)).sum()
        };
        self.batch.target_starts.windows(2).map(sum).collect()
    }

    /// Returns the weight of every token for which -Σ weight · log-probability has the gradient of the mean loss over
    /// `pairs`. `own` are the indexes of this micro-batch's pairs in `outcome`.
    fn token_weights(&self, outcome: &Outcome, own: Range<usize>, pairs: usize) -> Vec<f32> {
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
pub(super) struct PairTotals {
    pairs: usize,
    loss: f64,
    /// Of chosen and of rejected replies.
    rewards: [f64; 2],
    /// Of chosen and of rejected replies.
    log_probabilities: [f64; 2],
    /// Pairs whose chosen reply has the higher reward.
    correct: f64,
    /// The largest relative difference of a sequence's log-probability from the reference's.
    largest_difference: f64,
    tokens: Totals,
}

impl PairTotals {
    fn add(&mut self, batches: &[PairBatch], tokens: &[Vec<TokenLoss>], outcome: &Outcome, beta: f64) {
        self.loss += outcome.losses.iter().sum::<f64>();
        for (pairs, tokens) in batches.iter().zip(tokens) {
            self.tokens.add(tokens);
            self.pairs += pairs.len();
            let sums = pairs.sums(tokens);
            for (sums, reference) in sums.chunks_exact(2).zip(pairs.reference.chunks_exact(2)) {
                let rewards = [beta * (sums[0] - reference[0]), beta * (sums[1] - reference[1])];
                for side in 0..2 {
                    let difference = (sums[side] - reference[side]).abs() / (1.0 + sums[side].abs());
                    // Also what is not a number differs.
                    let difference = if difference.is_nan() { f64::INFINITY } else { difference };
                    self.largest_difference = self.largest_difference.max(difference);
                    self.rewards[side] += rewards[side];
                    self.log_probabilities[side] += sums[side];
                }
                self.correct += f64::from(u8::from(rewards[0] > rewards[1]));
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.loss += other.loss;
        self.correct += other.correct;
        self.tokens.merge(&other.tokens);
        for side in 0..2 {
            self.rewards[side] += other.rewards[side];
            self.log_probabilities[side] += other.log_probabilities[side];
        }
    }

    /// Returns the largest difference of a sequence's log-probability from the reference's, relative to 1 nat and its
    /// size.
    pub(super) fn largest_difference(&self) -> f64 {
        self.largest_difference
    }

    /// Returns the mean loss of a pair.
    pub(super) fn mean_loss(&self) -> f64 {
        self.loss / self.pairs as f64
    }

    /// Returns the means under the names that TRL gives them.
    pub(super) fn values(&self, prefix: &str) -> Vec<(String, f64)> {
        let pairs = self.pairs as f64;
        [
            ("loss", self.mean_loss()),
            ("rewards/chosen", self.rewards[0] / pairs),
            ("rewards/rejected", self.rewards[1] / pairs),
            ("rewards/margins", (self.rewards[0] - self.rewards[1]) / pairs),
            ("rewards/accuracies", self.correct / pairs),
            ("logps/chosen", self.log_probabilities[0] / pairs),
            ("logps/rejected", self.log_probabilities[1] / pairs),
            ("mean_token_accuracy", self.tokens.accuracy()),
            ("entropy", self.tokens.mean_entropy()),
        ]
        .map(|(name, value)| (format!("{prefix}{name}"), value))
        .to_vec()
    }
}
