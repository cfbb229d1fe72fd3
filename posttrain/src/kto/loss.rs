//! The losses of TRL's KTOTrainer (1.16.0) over the log-ratio of one reply, and their derivatives.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A loss of TRL's KTOTrainer, with TRL's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum KtoLoss {
    /// Gains and losses relative to the policy's divergence from the reference: arXiv 2402.01306
    Kto,
    /// Anchored, for good replies better than the model's: arXiv 2408.06266
    ApoZeroUnpaired,
}

/// A loss and its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LossSettings {
    pub(super) loss: KtoLoss,
    /// Strength of the penalty for moving away from the reference.
    pub(super) beta: f64,
    /// Weight of good replies.
    pub(super) desirable_weight: f64,
    /// Weight of bad replies.
    pub(super) undesirable_weight: f64,
}

impl LossSettings {
    /// Returns whether the loss is relative to the divergence, which needs other replies to the same prompts.
    pub(super) fn needs_divergence(&self) -> bool {
        self.loss == KtoLoss::Kto
    }

    /// Returns the loss of a reply and its derivative with respect to the reply's log-probability. `log_ratio` is the
    /// policy's log-probability minus the reference's, `divergence` a constant.
    pub(super) fn of_reply(&self, log_ratio: f64, is_good: bool, divergence: f64) -> (f64, f64) {
        let origin = if self.needs_divergence() { divergence } else { 0.0 };
        // A good reply gains by a higher log-ratio, a bad one by a lower one.
        let (sign, weight) =
            if is_good { (1.0, self.desirable_weight) } else { (-1.0, self.undesirable_weight) };
        let gain = sigmoid(sign * self.beta * (log_ratio - origin));
        (weight * (1.0 - gain), -weight * sign * self.beta * gain * (1.0 - gain))
    }
}

/// Returns the divergence of the policy from the reference: the mean log-ratio of replies to other prompts, at least 0.
pub(super) fn divergence(log_ratios: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = log_ratios.len() as f64;
    if count == 0.0 { 0.0 } else { (log_ratios.sum::<f64>() / count).max(0.0) }
}

fn sigmoid(z: f64) -> f64 {
    let small = (-z.abs()).exp();
    if z < 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    /// A batch and what tests/goldens/make_kto_goldens.py took from TRL.
    #[derive(Deserialize)]
    struct Case {
        loss_type: KtoLoss,
        beta: f64,
        desirable_weight: f64,
        undesirable_weight: f64,
        labels: Vec<bool>,
        logps: Vec<f64>,
        reference: Vec<f64>,
        kl_logps: Vec<f64>,
        kl_reference: Vec<f64>,
        loss: f64,
        gradient: Vec<f64>,
    }

    #[test]
    fn values_and_derivatives_are_trls() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/training/kto_losses.json");
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(cases.len() >= 8);
        for case in cases {
            let settings = LossSettings {
                loss: case.loss_type,
                beta: case.beta,
                desirable_weight: case.desirable_weight,
                undesirable_weight: case.undesirable_weight,
            };
            let differences = |one: &[f64], other: &[f64]| -> Vec<f64> {
                one.iter().zip(other).map(|(one, other)| one - other).collect()
            };
            let kl = divergence(differences(&case.kl_logps, &case.kl_reference).into_iter());
            let count = case.labels.len() as f64;
            let ratios = differences(&case.logps, &case.reference);
            let terms = ratios.iter().zip(&case.labels);
            let terms: Vec<(f64, f64)> =
                terms.map(|(ratio, is_good)| settings.of_reply(*ratio, *is_good, kl)).collect();
            let loss = terms.iter().map(|term| term.0).sum::<f64>() / count;
            assert!((loss - case.loss).abs() < 1e-12, "{loss}, not {}", case.loss);
            for ((_, ours), theirs) in terms.iter().zip(&case.gradient) {
                assert!((ours / count - theirs).abs() < 1e-12, "{ours}, not {theirs} times {count}");
            }
        }
    }
}
