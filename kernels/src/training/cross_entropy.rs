//! Cross-entropy: the log-probability of each target under its row of logits, and the gradient in place of the logits.
//!
//! Callers pass chunks of rows, so that the logits of all tokens (T, V) never exist at once.

use crate::element::{exp, vectorized};
use crate::log_probability::LogSum;
use rayon::prelude::*;

/// The loss of one trained token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenLoss {
    /// Natural-log probability of the target.
    pub log_probability: f32,
    /// Whether the target was the likeliest token.
    pub best: bool,
    /// Entropy of the distribution, in nats.
    pub entropy: f32,
}

/// Computes one result (N) per row of logits (N, V).
///
/// # Panics
/// If the lengths do not match or a target is not below V.
pub fn cross_entropy_forward(results: &mut [TokenLoss], logits: &[f32], targets: &[u32]) {
    assert_eq!(results.len(), targets.len(), "cross_entropy: expected one result per target");
    if targets.is_empty() {
        return;
    }
    let vocabulary = logits.len() / targets.len();
    assert_eq!(
        vocabulary * targets.len(),
        logits.len(),
        "cross_entropy: expected one row of logits per target"
    );
    let rows = logits.par_chunks_exact(vocabulary).zip(targets);
    results.par_iter_mut().zip(rows).for_each(|(result, (logits, target))| {
        *result = token_loss(logits, *target as usize);
    });
}

/// Replaces logits (N, V) by the gradient of -Σ weight · log-probability, which is weight (softmax - one-hot target).
/// `results` must be those of [`cross_entropy_forward`] on the same logits.
///
/// # Panics
/// If the lengths do not match.
pub fn cross_entropy_backward(logits: &mut [f32], targets: &[u32], results: &[TokenLoss], weights: &[f32]) {
    assert!(
        targets.len() == weights.len() && targets.len() == results.len(),
        "cross_entropy_backward: expected one result and one weight per target"
    );
    if targets.is_empty() {
        return;
    }
    let vocabulary = logits.len() / targets.len();
    assert_eq!(
        vocabulary * targets.len(),
        logits.len(),
        "cross_entropy: expected one row of logits per target"
    );
    let rows = targets.par_iter().zip(results).zip(weights);
    logits.par_chunks_exact_mut(vocabulary).zip(rows).for_each(|(logits, ((target, result), weight))| {
        let target = *target as usize;
        // log(sum of exponentials) = logit of the target - log-probability of the target.
        gradient(logits, logits[target] - result.log_probability, *weight);
        logits[target] -= weight;
    });
}

fn token_loss(logits: &[f32], target: usize) -> TokenLoss {
    let (sum, entropy) = LogSum::with_entropy(logits);
    TokenLoss {
        log_probability: sum.log_probability(logits[target]) as f32,
        best: logits[target] >= sum.largest,
        entropy,
    }
}

vectorized! {
    fn gradient(logits: &mut [f32], log_sum: f32, weight: f32) {
        for logit in logits {
            *logit = weight * exp(*logit - log_sum);
        }
    }
}
