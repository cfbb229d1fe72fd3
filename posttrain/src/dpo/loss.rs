//! The losses of TRL's DPOTrainer, SimPO of its CPOTrainer and ORPO of its ORPOTrainer, over the log-probabilities of two
//! replies.
//!
//! The formulas are those of `DPOTrainer._compute_loss` in TRL 1.16.0 with its default divergence (reverse KL); the
//! derivatives are taken by hand. Three details are easy to miss: `sigmoid` has no label smoothing, while `robust` and
//! `aot` do. `ipo` and `sigmoid_norm` compare means over a reply's tokens, all others compare sums. And `aot` compares
//! two sorted columns of the batch, so its value depends on which pairs are in one batch.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use functions::{
    discopop, exo, half, log_odds, nca_chosen, negative_log_sigmoid, negative_log_sigmoid_of_negated, robust,
    sigmoid, sigmoid_slope, smoothed, square,
};
use serde::{Deserialize, Serialize};
use std::fmt;

mod functions;

/// A loss of TRL's DPOTrainer, CPOTrainer or ORPOTrainer, with TRL's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Loss {
    /// Direct preference optimization: arXiv 2305.18290
    Sigmoid,
    /// SLiC's hinge on the margin: arXiv 2305.10425
    Hinge,
    /// Squared distance of the token-mean margin from 1 / (2 beta): arXiv 2310.12036
    Ipo,
    /// Divergence of the smoothed label from the model's: arXiv 2402.00856
    ExoPair,
    /// Noise-contrastive alignment: arXiv 2402.05369
    NcaPair,
    /// DPO for labels of which a known share is flipped: arXiv 2403.00409
    Robust,
    /// Binary classifier of each reply, without the paper's running mean: arXiv 2404.04656
    BcoPair,
    /// Self-play with a certain winner: arXiv 2405.00675
    SppoHard,
    /// Quantiles of the policy's margins against those of the reference: arXiv 2406.05882
    Aot,
    /// Quantiles of the chosen log-ratios against those of the rejected: arXiv 2406.05882
    AotUnpaired,
    /// Anchored, for chosen replies better than the model's: arXiv 2408.06266
    ApoZero,
    /// Anchored, for chosen replies worse than the model's: arXiv 2408.06266
    ApoDown,
    /// The mixture that a language model discovered: arXiv 2406.08414
    Discopop,
    /// Mean negative log-probability of the chosen tokens
    Sft,
    /// Sigmoid of the margin of token means, as in OLMo 2 and Tulu 3
    SigmoidNorm,
    /// SimPO: sigmoid of the difference of the policy's token means beyond a margin, without a reference: arXiv 2405.14734
    Simpo,
    /// ORPO: mean negative log-probability of the chosen tokens, and beta times the log-sigmoid of the odds ratio, without a
    /// reference: arXiv 2403.07691
    Orpo,
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no loss is hidden from the command line");
        formatter.write_str(value.get_name())
    }
}

/// Losses and their parameters.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LossSettings {
    /// The losses, and the weight of each in their sum.
    pub(super) losses: Vec<(Loss, f64)>,
    /// Strength of the penalty for moving away from the reference.
    pub(super) beta: f64,
    /// Share of the labels assumed to be flipped, for the losses that use it.
    pub(super) label_smoothing: f64,
    /// Width of `discopop`'s blend, in units of beta times the margin.
    pub(super) discopop_tau: f64,
    /// Margin of `simpo`, beside beta times the difference of token means.
    pub(super) simpo_gamma: f64,
}

impl LossSettings {
    /// Refuses settings for which a loss is undefined or an option has no effect.
    pub(super) fn check(&self) -> Result<()> {
        let Self { losses, beta, label_smoothing, discopop_tau, simpo_gamma } = self;
        ensure!(!losses.is_empty(), "`loss_type` is empty; give at least one loss");
        for (loss, weight) in losses {
            ensure!(
                weight.is_finite() && *weight >= 0.0,
                "the weight of `{loss}` is {weight}; expected a number of at least 0"
            );
        }
        ensure!(beta.is_finite() && *beta > 0.0, "`beta` is {beta}; expected a number above 0");
        ensure!(
            discopop_tau.is_finite() && *discopop_tau > 0.0,
            "`discopop_tau` is {discopop_tau}; expected a number above 0"
        );
        ensure!(
            simpo_gamma.is_finite() && *simpo_gamma >= 0.0,
            "`simpo_gamma` is {simpo_gamma}; expected a number of at least 0"
        );
        ensure!(
            (0.0..1.0).contains(label_smoothing),
            "`label_smoothing` is {label_smoothing}; expected at least 0 and less than 1"
        );
        let has = |loss: Loss| losses.iter().any(|(other, _)| *other == loss);
        ensure!(
            !has(Loss::ExoPair) || *label_smoothing > 0.0,
            "`label_smoothing` is 0, but `exo_pair` needs its logarithm; give for example 0.001, which its paper recommends"
        );
        ensure!(
            !has(Loss::Robust) || *label_smoothing < 0.5,
            "`label_smoothing` is {label_smoothing}, but `robust` divides by 1 - 2 times it; give less than 0.5"
        );
        let smoothed = [Loss::ExoPair, Loss::Robust, Loss::Aot, Loss::AotUnpaired, Loss::Simpo];
        ensure!(
            *label_smoothing == 0.0 || smoothed.into_iter().any(has),
            "`label_smoothing` is {label_smoothing}, but only `exo_pair`, `robust`, `aot`, `aot_unpaired` and `simpo` use it; remove it"
        );
        Ok(())
    }

    /// Returns whether a loss compares the policy with the reference.
    pub(super) fn needs_reference(&self) -> bool {
        self.losses.iter().any(|(loss, _)| !matches!(loss, Loss::Simpo | Loss::Sft | Loss::Orpo))
    }

    /// Returns whether a pair's loss depends on the other pairs of its batch.
    pub(super) fn couples_pairs(&self) -> bool {
        self.losses.iter().any(|(loss, _)| matches!(loss, Loss::Aot | Loss::AotUnpaired))
    }
}

/// Log-probabilities of replies, summed over their trained tokens; one element a pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pairs<'a> {
    /// Of the chosen replies, by the policy.
    pub(super) chosen: &'a [f64],
    /// Of the rejected replies, by the policy.
    pub(super) rejected: &'a [f64],
    /// Of the chosen replies, by the reference.
    pub(super) reference_chosen: &'a [f64],
    /// Of the rejected replies, by the reference.
    pub(super) reference_rejected: &'a [f64],
    /// Trained tokens of the chosen replies.
    pub(super) chosen_tokens: &'a [usize],
    /// Trained tokens of the rejected replies.
    pub(super) rejected_tokens: &'a [usize],
}

/// Losses and their derivatives; one element a pair.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    /// The weighted loss.
    pub(super) losses: Vec<f64>,
    /// Derivative of the sum of all pairs' losses with respect to the chosen reply's log-probability.
    pub(super) dchosen: Vec<f64>,
    /// Derivative of the sum of all pairs' losses with respect to the rejected reply's log-probability.
    pub(super) drejected: Vec<f64>,
}

/// Returns the losses of the pairs and their derivatives.
///
/// `mean_chosen_tokens` are the trained chosen tokens per pair over the whole step. `sft` is a mean over tokens: divided
/// by this, its mean over the step's pairs is the mean over the step's tokens however the step is split into
/// micro-batches. (TRL averages the token means of micro-batches, which is the same for a step of one micro-batch.)
///
/// `aot` and `aot_unpaired` sort the given pairs. The loss at a rank of the sorted columns belongs to the pair whose
/// margin, or chosen reply, has that rank.
///
/// # Panics
/// If the columns of `pairs` have different lengths.
pub(super) fn evaluate(pairs: &Pairs<'_>, settings: &LossSettings, mean_chosen_tokens: f64) -> Outcome {
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
                    let term = Pair::new(pairs, index).term(*loss, settings, mean_chosen_tokens);
                    outcome.losses[index] += weight * term.loss;
                    outcome.dchosen[index] += weight * term.dchosen;
                    outcome.drejected[index] += weight * term.drejected;
                }
            }
        }
    }
    outcome
}

/// One pair, for losses that do not depend on other pairs.
struct Pair {
    /// Log-probability of the chosen reply by the policy.
    chosen_logp: f64,
    /// Log-probability of the rejected reply by the policy.
    rejected_logp: f64,
    /// Log-ratio of the chosen reply: its log-probability by the policy minus that by the reference.
    chosen: f64,
    /// Log-ratio of the rejected reply.
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
    fn new(pairs: &Pairs<'_>, index: usize) -> Self {
        Self {
            chosen_logp: pairs.chosen[index],
            rejected_logp: pairs.rejected[index],
            chosen: pairs.chosen[index] - pairs.reference_chosen[index],
            rejected: pairs.rejected[index] - pairs.reference_rejected[index],
            chosen_tokens: pairs.chosen_tokens[index].max(1) as f64,
            rejected_tokens: pairs.rejected_tokens[index].max(1) as f64,
        }
    }

    fn term(&self, loss: Loss, settings: &LossSettings, mean_chosen_tokens: f64) -> Term {
        let LossSettings { beta, label_smoothing: flipped, discopop_tau, simpo_gamma, .. } = *settings;
        match loss {
            Loss::Sigmoid => self.of_margin(beta, negative_log_sigmoid),
            Loss::Hinge => self.of_margin(beta, |z| ((1.0 - z).max(0.0), if z < 1.0 { -1.0 } else { 0.0 })),
            Loss::ExoPair => self.of_margin(beta, |z| exo(z, flipped)),
            Loss::Robust => self.of_margin(beta, |z| robust(z, flipped)),
            Loss::Discopop => self.of_margin(beta, |z| discopop(z, discopop_tau)),
            Loss::Ipo => self.of_mean_margin(self.ratios(), 1.0, |z| square(z - 0.5 / beta)),
            Loss::SigmoidNorm => self.of_mean_margin(self.ratios(), beta, negative_log_sigmoid),
            Loss::NcaPair => self.of_each(beta, nca_chosen, |z| half(negative_log_sigmoid_of_negated(z))),
            Loss::BcoPair => self.of_each(beta, negative_log_sigmoid, negative_log_sigmoid_of_negated),
            // Beta is in the target, it does not scale the log-ratio.
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
            Loss::Sft => self.of_chosen_tokens(mean_chosen_tokens),
            Loss::Orpo => {
                let (tokens, odds) = (self.of_chosen_tokens(mean_chosen_tokens), self.of_odds_ratio(beta));
                Term {
                    loss: tokens.loss + odds.loss,
                    dchosen: tokens.dchosen + odds.dchosen,
                    drejected: odds.drejected,
                }
            }
            Loss::Simpo => {
                let policy = [self.chosen_logp, self.rejected_logp];
                self.of_mean_margin(policy, beta, |z| smoothed(z - simpo_gamma, flipped))
            }
            Loss::Aot | Loss::AotUnpaired => unreachable!("sorted losses need the whole batch"),
        }
    }

    /// Returns the negative log-probability of the chosen tokens.
    fn of_chosen_tokens(&self, mean_chosen_tokens: f64) -> Term {
        Term {
            loss: -self.chosen_logp / mean_chosen_tokens,
            dchosen: -1.0 / mean_chosen_tokens,
            drejected: 0.0,
        }
    }

    /// Returns beta times the negative log-sigmoid of the logarithm of the odds ratio: the odds of a reply are p / (1 - p)
    /// with the geometric mean p of its tokens' probabilities.
    fn of_odds_ratio(&self, beta: f64) -> Term {
        let [(chosen, chosen_slope), (rejected, rejected_slope)] =
            [self.chosen_logp / self.chosen_tokens, self.rejected_logp / self.rejected_tokens].map(log_odds);
        let (loss, slope) = negative_log_sigmoid(chosen - rejected);
        Term {
            loss: beta * loss,
            dchosen: beta * slope * chosen_slope / self.chosen_tokens,
            drejected: -beta * slope * rejected_slope / self.rejected_tokens,
        }
    }

    /// Returns a function of scale times the difference of the log-ratios.
    fn of_margin(&self, scale: f64, function: impl Fn(f64) -> (f64, f64)) -> Term {
        let (loss, slope) = function(scale * (self.chosen - self.rejected));
        Term { loss, dchosen: scale * slope, drejected: -scale * slope }
    }

    /// The log-ratios of both replies.
    fn ratios(&self) -> [f64; 2] {
        [self.chosen, self.rejected]
    }

    /// Returns a function of scale times the difference of the replies' values per token.
    fn of_mean_margin(
        &self,
        [chosen, rejected]: [f64; 2],
        scale: f64,
        function: impl Fn(f64) -> (f64, f64),
    ) -> Term {
        let margin = chosen / self.chosen_tokens - rejected / self.rejected_tokens;
        let (loss, slope) = function(scale * margin);
        let slope = scale * slope;
        Term { loss, dchosen: slope / self.chosen_tokens, drejected: -slope / self.rejected_tokens }
    }

    /// Returns the sum of a function of each scaled log-ratio.
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

/// Adds the loss of the sorted margins of the policy against the sorted margins of the reference. A margin is not
/// compared with that of its own pair.
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

/// Adds the loss of the sorted log-ratios of the chosen replies against those of the rejected ones. A reply is not
/// compared with that of its own pair.
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

/// Returns the indices of `values` from the smallest to the largest value; equal values keep their order.
fn ranked(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    order
}

#[cfg(test)]
mod tests;
