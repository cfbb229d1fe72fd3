//! Sums over trained tokens, with their divergence from a teacher where there is one: then it is the loss.

use training::{DistilledTokens, Totals};

/// Sums over trained tokens.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) totals: Totals,
    /// Sum of the divergences from the teacher, in nats.
    divergence: Option<f64>,
}

impl Sums {
    /// Adds tokens that were compared with a teacher.
    pub(super) fn add_distilled(&mut self, tokens: &DistilledTokens) {
        self.totals.add(&tokens.tokens);
        let sum: f64 = tokens.divergences.iter().map(|value| f64::from(*value)).sum();
        *self.divergence.get_or_insert(0.0) += sum;
    }

    /// Adds other sums.
    pub(super) fn merge(&mut self, other: &Self) {
        self.totals.merge(&other.totals);
        if let Some(sum) = other.divergence {
            *self.divergence.get_or_insert(0.0) += sum;
        }
    }

    /// Returns the mean of what is minimized, in nats: the divergence, or without a teacher the cross-entropy.
    pub(super) fn mean_loss(&self) -> f64 {
        self.divergence.map_or_else(|| self.totals.mean_loss(), |sum| sum / self.totals.tokens as f64)
    }

    /// Returns the mean cross-entropy, where it is not the loss.
    pub(super) fn cross_entropy(&self) -> Option<f64> {
        self.divergence.map(|_| self.totals.mean_loss())
    }
}
