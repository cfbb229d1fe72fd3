//! What a preference costs: the losses of TRL's DPOTrainer over the log-probabilities of two replies.
//!
//! The formulas are those of `DPOTrainer._compute_loss` in TRL 1.16.0 with its default divergence (reverse
//! KL); the derivatives are taken by hand. Three things surprise. `sigmoid` takes no label smoothing, while
//! `robust` and `aot` do. `ipo` and `sigmoid_norm` compare means over a reply's tokens, all others compare
//! sums. And `aot` sees the batch as two sorted columns: its value depends on which pairs share a batch.

use std::fmt;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A loss of TRL's DPOTrainer. Names as TRL's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Loss {
    /// Direct preference optimization: arXiv 2305.18290.
    Sigmoid,
    /// SLiC's hinge on the margin: arXiv 2305.10425.
    Hinge,
    /// Squared distance of the token-mean margin from 1 / (2 beta): arXiv 2310.12036.
    Ipo,
    /// Divergence of the softened label from the model's: arXiv 2402.00856.
    ExoPair,
    /// Noise-contrastive alignment: arXiv 2402.05369.
    NcaPair,
    /// DPO for labels of which a known share is flipped: arXiv 2403.00409.
    Robust,
    /// Binary classifier of each reply: arXiv 2404.04656, without its running mean.
    BcoPair,
    /// Self-play with a certain winner: arXiv 2405.00675.
    SppoHard,
    /// Quantiles of the policy's margins against those of the reference: arXiv 2406.05882.
    Aot,
    /// Quantiles of the chosen log-ratios against those of the rejected: arXiv 2406.05882.
    AotUnpaired,
    /// Anchored, for chosen replies better than the model's: arXiv 2408.06266.
    ApoZero,
    /// Anchored, for chosen replies worse than the model's: arXiv 2408.06266.
    ApoDown,
    /// The mixture a language model discovered: arXiv 2406.08414.
    Discopop,
    /// Mean negative log-probability of the chosen tokens.
    Sft,
    /// Sigmoid of the margin of token means, as OLMo 2 and Tulu 3 use it.
    SigmoidNorm,
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no loss is hidden from the command line");
        formatter.write_str(value.get_name())
    }
}

/// Which losses, weighed how.
#[derive(Clone, Debug, PartialEq)]
pub struct LossSettings {
    /// The losses and the weight of each in their sum.
    pub losses: Vec<(Loss, f64)>,
    /// How strongly the policy is held to the reference.
    pub beta: f64,
    /// Share of the labels taken to be flipped, for the losses that know such a share.
    pub label_smoothing: f64,
    /// Width of `discopop`'s blend, in units of beta times the margin.
    pub discopop_tau: f64,
}

impl LossSettings {
    /// Refuses settings under which a loss is undefined or an option has no effect.
    pub fn check(&self) -> Result<()> {
        let Self { losses, beta, label_smoothing, discopop_tau } = self;
        ensure!(!losses.is_empty(), "loss names no loss");
        for (loss, weight) in losses {
            ensure!(
                weight.is_finite() && *weight >= 0.0,
                "loss weight of `{loss}` is {weight}, not a number from 0 up"
            );
        }
        ensure!(beta.is_finite() && *beta > 0.0, "beta is {beta}, not a number above 0");
        ensure!(
            discopop_tau.is_finite() && *discopop_tau > 0.0,
            "discopop_tau is {discopop_tau}, not a number above 0"
        );
        ensure!((0.0..1.0).contains(label_smoothing), "label_smoothing is {label_smoothing}, not in 0..1");
        let names = |loss: Loss| losses.iter().any(|(named, _)| *named == loss);
        ensure!(
            !names(Loss::ExoPair) || *label_smoothing > 0.0,
            "label_smoothing is 0, `exo_pair` takes its logarithm; its paper recommends 0.001"
        );
        ensure!(
            !names(Loss::Robust) || *label_smoothing < 0.5,
            "label_smoothing is {label_smoothing}, `robust` divides by 1 - 2 times it and needs less than 0.5"
        );
        let smoothed = [Loss::ExoPair, Loss::Robust, Loss::Aot, Loss::AotUnpaired];
        ensure!(
            *label_smoothing == 0.0 || smoothed.into_iter().any(names),
            "label_smoothing is {label_smoothing}, but only exo_pair, robust, aot and aot_unpaired use it"
        );
        Ok(())
    }

    /// Whether a pair's loss depends on the other pairs of its batch.
    pub fn couples_pairs(&self) -> bool {
        self.losses.iter().any(|(loss, _)| matches!(loss, Loss::Aot | Loss::AotUnpaired))
    }
}

/// Sums of log-probabilities over the trained tokens of each reply, one entry a pair.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// The preferred reply by the policy.
    pub chosen: &'a [f64],
    /// The other reply by the policy.
    pub rejected: &'a [f64],
    /// The preferred reply by the reference.
    pub reference_chosen: &'a [f64],
    /// The other reply by the reference.
    pub reference_rejected: &'a [f64],
    /// Trained tokens of the preferred reply.
    pub chosen_tokens: &'a [usize],
    /// Trained tokens of the other reply.
    pub rejected_tokens: &'a [usize],
}

/// What the pairs cost, one entry a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The weighted loss.
    pub losses: Vec<f64>,
    /// Derivative of the sum of all pairs' losses with respect to the chosen reply's log-probability.
    pub dchosen: Vec<f64>,
    /// Derivative of the sum of all pairs' losses with respect to the rejected reply's log-probability.
    pub drejected: Vec<f64>,
}

/// The losses of the pairs and their derivatives.
///
/// `mean_chosen_tokens`: trained chosen tokens per pair over the whole global step. `sft` is a mean over
/// tokens; divided so, its mean over the step's pairs is the mean over the step's tokens however the step is
/// split (TRL averages the token means of micro-batches, the same where the step is one micro-batch).
///
/// `aot` and `aot_unpaired` sort the pairs given here and no others. The loss at a rank of the sorted columns
/// is booked on the pair whose margin, or chosen reply, holds that rank.
///
/// # Panics
/// If the columns of `pairs` are not of one length.
pub fn evaluate(pairs: &Pairs<'_>, settings: &LossSettings, mean_chosen_tokens: f64) -> Outcome {
    let count = pairs.chosen.len();
    let columns = [pairs.rejected.len(), pairs.reference_chosen.len(), pairs.reference_rejected.len()];
    let tokens = [pairs.chosen_tokens.len(), pairs.rejected_tokens.len()];
    assert!(
        columns.iter().chain(&tokens).all(|length| *length == count),
        "columns of {count}, {columns:?}, {tokens:?}"
    );
    let mut outcome =
        Outcome { losses: vec![0.0; count], dchosen: vec![0.0; count], drejected: vec![0.0; count] };
    for (loss, weight) in &settings.losses {
        match loss {
            Loss::Aot => add_aot(&mut outcome, pairs, settings, *weight),
            Loss::AotUnpaired => add_aot_unpaired(&mut outcome, pairs, settings, *weight),
            _ => {
                for index in 0..count {
                    let term = Pair::of(pairs, index).term(*loss, settings, mean_chosen_tokens);
                    outcome.losses[index] += weight * term.loss;
                    outcome.dchosen[index] += weight * term.dchosen;
                    outcome.drejected[index] += weight * term.drejected;
                }
            }
        }
    }
    outcome
}

/// One pair, as the losses that look at no other pair read it.
struct Pair {
    chosen_logp: f64,
    /// Log-probability by the policy less that by the reference.
    chosen: f64,
    rejected: f64,
    chosen_tokens: f64,
    rejected_tokens: f64,
}

/// A loss of one pair and its derivatives.
struct Term {
    loss: f64,
    dchosen: f64,
    drejected: f64,
}

impl Pair {
    fn of(pairs: &Pairs<'_>, index: usize) -> Self {
        Self {
            chosen_logp: pairs.chosen[index],
            chosen: pairs.chosen[index] - pairs.reference_chosen[index],
            rejected: pairs.rejected[index] - pairs.reference_rejected[index],
            chosen_tokens: pairs.chosen_tokens[index].max(1) as f64,
            rejected_tokens: pairs.rejected_tokens[index].max(1) as f64,
        }
    }

    fn term(&self, loss: Loss, settings: &LossSettings, mean_chosen_tokens: f64) -> Term {
        let LossSettings { beta, label_smoothing: flipped, discopop_tau, .. } = *settings;
        match loss {
            Loss::Sigmoid => self.of_margin(beta, negative_log_sigmoid),
            Loss::Hinge => self.of_margin(beta, |z| ((1.0 - z).max(0.0), if z < 1.0 { -1.0 } else { 0.0 })),
            Loss::ExoPair => self.of_margin(beta, |z| exo(z, flipped)),
            Loss::Robust => self.of_margin(beta, |z| robust(z, flipped)),
            Loss::Discopop => self.of_margin(beta, |z| discopop(z, discopop_tau)),
            Loss::Ipo => self.of_mean_margin(1.0, |z| square(z - 0.5 / beta)),
            Loss::SigmoidNorm => self.of_mean_margin(beta, negative_log_sigmoid),
            Loss::NcaPair => self.of_each(beta, nca_chosen, |z| half(negative_log_sigmoid_of_negated(z))),
            Loss::BcoPair => self.of_each(beta, negative_log_sigmoid, negative_log_sigmoid_of_negated),
            // Beta stands in the target, not before the log-ratio.
            Loss::SppoHard => self.of_each(1.0, |z| square(z - 0.5 / beta), |z| square(z + 0.5 / beta)),
            Loss::ApoZero => {
                self.of_each(beta, |z| (sigmoid(-z), -sigmoid_slope(z)), |z| (sigmoid(z), sigmoid_slope(z)))
            }
            Loss::ApoDown => {
                let margin = self.of_margin(beta, |z| (sigmoid(-z), -sigmoid_slope(z)));
                let chosen = beta * self.chosen;
                Term {
                    loss: sigmoid(chosen) + margin.loss,
                    dchosen: beta * sigmoid_slope(chosen) + margin.dchosen,
                    ..margin
                }
            }
            Loss::Sft => Term {
                loss: -self.chosen_logp / mean_chosen_tokens,
                dchosen: -1.0 / mean_chosen_tokens,
                drejected: 0.0,
            },
            Loss::Aot | Loss::AotUnpaired => unreachable!("sorted losses are of the batch, not of a pair"),
        }
    }

    /// A function of scale times the difference of the log-ratios.
    fn of_margin(&self, scale: f64, function: impl Fn(f64) -> (f64, f64)) -> Term {
        let (loss, slope) = function(scale * (self.chosen - self.rejected));
        Term { loss, dchosen: scale * slope, drejected: -scale * slope }
    }

    /// A function of scale times the difference of the log-ratios per token.
    fn of_mean_margin(&self, scale: f64, function: impl Fn(f64) -> (f64, f64)) -> Term {
        let margin = self.chosen / self.chosen_tokens - self.rejected / self.rejected_tokens;
        let (loss, slope) = function(scale * margin);
        let slope = scale * slope;
        Term { loss, dchosen: slope / self.chosen_tokens, drejected: -slope / self.rejected_tokens }
    }

    /// The sum of a function of each scaled log-ratio.
    fn of_each(
        &self,
        scale: f64,
        chosen: impl Fn(f64) -> (f64, f64),
        rejected: impl Fn(f64) -> (f64, f64),
    ) -> Term {
        let (chosen, dchosen) = chosen(scale * self.chosen);
        let (rejected, drejected) = rejected(scale * self.rejected);
        Term { loss: chosen + rejected, dchosen: scale * dchosen, drejected: scale * drejected }
    }
}

/// Sorted margins of the policy against sorted margins of the reference: no margin meets its own reference.
fn add_aot(outcome: &mut Outcome, pairs: &Pairs<'_>, settings: &LossSettings, weight: f64) {
    let margins = differences(pairs.chosen, pairs.rejected);
    let mut reference = differences(pairs.reference_chosen, pairs.reference_rejected);
    reference.sort_by(f64::total_cmp);
    let beta = settings.beta;
    for (pair, reference) in ranked(&margins).into_iter().zip(reference) {
        let (loss, slope) = smoothed(beta * (margins[pair] - reference), settings.label_smoothing);
        outcome.losses[pair] += weight * loss;
        outcome.dchosen[pair] += weight * beta * slope;
        outcome.drejected[pair] -= weight * beta * slope;
    }
}

/// Sorted log-ratios of the chosen replies against those of the rejected: a reply meets another pair's.
fn add_aot_unpaired(outcome: &mut Outcome, pairs: &Pairs<'_>, settings: &LossSettings, weight: f64) {
    let chosen = differences(pairs.chosen, pairs.reference_chosen);
    let rejected = differences(pairs.rejected, pairs.reference_rejected);
    let beta = settings.beta;
    for (winner, loser) in ranked(&chosen).into_iter().zip(ranked(&rejected)) {
        let (loss, slope) = smoothed(beta * (chosen[winner] - rejected[loser]), settings.label_smoothing);
        outcome.losses[winner] += weight * loss;
        outcome.dchosen[winner] += weight * beta * slope;
        outcome.drejected[loser] -= weight * beta * slope;
    }
}

fn differences(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter().zip(right).map(|(left, right)| left - right).collect()
}

/// The indices of `values` from the smallest to the largest, equals in their order.
fn ranked(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    order
}

// Functions of one number: the value and the slope.

fn square(z: f64) -> (f64, f64) {
    (z * z, 2.0 * z)
}

fn half((value, slope): (f64, f64)) -> (f64, f64) {
    (0.5 * value, 0.5 * slope)
}

fn negative_log_sigmoid(z: f64) -> (f64, f64) {
    (-log_sigmoid(z), -sigmoid(-z))
}

fn negative_log_sigmoid_of_negated(z: f64) -> (f64, f64) {
    (-log_sigmoid(-z), sigmoid(z))
}

/// Negative log-sigmoid for labels of which a share is flipped.
fn smoothed(z: f64, flipped: f64) -> (f64, f64) {
    let loss = -(1.0 - flipped) * log_sigmoid(z) - flipped * log_sigmoid(-z);
    (loss, -(1.0 - flipped) * sigmoid(-z) + flipped * sigmoid(z))
}

/// As `smoothed`, but so that its mean over flipped and true labels is the loss of the true ones.
fn robust(z: f64, flipped: f64) -> (f64, f64) {
    let scale = 1.0 / (1.0 - 2.0 * flipped);
    let loss = -(1.0 - flipped) * log_sigmoid(z) + flipped * log_sigmoid(-z);
    let slope = -(1.0 - flipped) * sigmoid(-z) - flipped * sigmoid(z);
    (scale * loss, scale * slope)
}

/// KL divergence of (sigmoid z, sigmoid -z) from (1 - flipped, flipped).
fn exo(z: f64, flipped: f64) -> (f64, f64) {
    let (log_win, log_lose) = ((-flipped).ln_1p(), flipped.ln());
    let loss = sigmoid(z) * (log_sigmoid(z) - log_win) + sigmoid(-z) * (log_sigmoid(-z) - log_lose);
    (loss, sigmoid_slope(z) * (z - log_win + log_lose)) // log sigmoid z - log sigmoid -z = z
}

fn nca_chosen(z: f64) -> (f64, f64) {
    let (win, win_slope) = negative_log_sigmoid(z);
    let (lose, lose_slope) = half(negative_log_sigmoid_of_negated(z));
    (win + lose, win_slope + lose_slope)
}

/// Logistic where the margin is negative, exponential where it is positive. The blend itself has a gradient.
fn discopop(z: f64, tau: f64) -> (f64, f64) {
    let (blend, rest) = (sigmoid(z / tau), sigmoid(-z / tau));
    // exp(-z) alone overflows where the blend makes it vanish.
    let exponential = (log_sigmoid(z / tau) - z).exp();
    let loss = -log_sigmoid(z) * rest + exponential;
    let slope = -sigmoid(-z) * rest + log_sigmoid(z) * blend * rest / tau + exponential * (rest / tau - 1.0);
    (loss, slope)
}

/// Logarithm of the logistic function, without overflow.
fn log_sigmoid(z: f64) -> f64 {
    z.min(0.0) - (-z.abs()).exp().ln_1p()
}

fn sigmoid(z: f64) -> f64 {
    let small = (-z.abs()).exp();
    if z < 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) }
}

fn sigmoid_slope(z: f64) -> f64 {
    sigmoid(z) * sigmoid(-z)
}

#[cfg(test)]
mod tests;
