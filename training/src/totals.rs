//! Sums over trained tokens, from which the means that are logged follow.

use kernels::training::TokenLoss;

/// Sums over trained tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Sum of negative log-probabilities, in nats.
    pub loss: f64,
    /// Number of tokens.
    pub tokens: usize,
    /// Tokens to which the model gave the highest probability of all.
    pub best: usize,
    /// Sum of the entropies of the predicted distributions, in nats.
    pub entropy: f64,
}

impl Totals {
    /// Adds tokens.
    pub fn add(&mut self, tokens: &[TokenLoss]) {
        self.tokens += tokens.len();
        for token in tokens {
            self.loss -= f64::from(token.log_probability);
            self.best += usize::from(token.best);
            self.entropy += f64::from(token.entropy);
        }
    }

    /// Adds other sums.
    pub fn merge(&mut self, other: &Self) {
        self.loss += other.loss;
        self.tokens += other.tokens;
        self.best += other.best;
        self.entropy += other.entropy;
    }

    /// Returns the mean loss in nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.tokens as f64
    }

    /// Returns the share of tokens that the model ranked first.
    pub fn accuracy(&self) -> f64 {
        self.best as f64 / self.tokens as f64
    }

    /// Returns the mean entropy in nats.
    pub fn mean_entropy(&self) -> f64 {
        self.entropy / self.tokens as f64
    }
}
