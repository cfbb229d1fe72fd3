//! Log-probabilities under logits: one function for the loss of training, for scoring and for what a server returns, so that
//! equal logits give equal bits.
//!
//! The exponentials are f32, each within 2 units in the last place; their sum is f64, in 16 lanes (lane l adds elements l,
//! l+16, l+32, ... in ascending order), which are added as a tree. A vocabulary has too many terms for a sum in f32.

use crate::element::{exp, maximum_of, vectorized};

/// What a row of logits is normalized with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogSum {
    /// The largest logit.
    pub largest: f32,
    /// Natural logarithm of the sum of e^(logit - largest).
    pub log_total: f64,
}

impl LogSum {
    /// Returns that of a row of logits (V).
    pub fn of(logits: &[f32]) -> Self {
        let largest = maximum_of_logits(logits);
        Self { largest, log_total: total(logits, largest).ln() }
    }

    /// Returns that of a row of logits (V), and the entropy of its distribution, in nats.
    pub fn with_entropy(logits: &[f32]) -> (Self, f32) {
        let largest = maximum_of_logits(logits);
        let (total, weighted) = totals(logits, largest);
        let log_total = total.ln();
        (Self { largest, log_total }, (log_total - weighted / total) as f32)
    }

    /// Returns the natural-log probability of a token with this logit.
    pub fn log_probability(&self, logit: f32) -> f64 {
        f64::from(logit - self.largest) - self.log_total
    }
}

/// The sum of the lanes, as a tree.
#[inline(always)]
fn add_lanes(mut lanes: [f64; 16]) -> f64 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

vectorized! {
    fn maximum_of_logits(logits: &[f32]) -> f32 {
        maximum_of(logits)
    }

    /// The sum of e^(logit - largest).
    fn total(logits: &[f32], largest: f32) -> f64 {
        let (chunks, tail) = logits.as_chunks::<16>();
        let mut lanes = [0.0f64; 16];
        for chunk in chunks {
            // In steps, so that the exponentials of all lanes are one vector.
            let mut weights = [0.0f32; 16];
            for lane in 0..16 {
                weights[lane] = exp(chunk[lane] - largest);
            }
            for lane in 0..16 {
                lanes[lane] += f64::from(weights[lane]);
            }
        }
        for (lane, logit) in lanes.iter_mut().zip(tail) {
            *lane += f64::from(exp(logit - largest));
        }
        add_lanes(lanes)
    }

    /// As `total`, and the sum of (logit - largest) e^(logit - largest), whose sixteen terms of a vector are f32.
    fn totals(logits: &[f32], largest: f32) -> (f64, f64) {
        let (chunks, tail) = logits.as_chunks::<16>();
        let (mut lanes, mut weighted) = ([0.0f64; 16], [0.0f64; 16]);
        for chunk in chunks {
            let (mut weights, mut terms) = ([0.0f32; 16], [0.0f32; 16]);
            for lane in 0..16 {
                weights[lane] = exp(chunk[lane] - largest);
                terms[lane] = (chunk[lane] - largest) * weights[lane];
            }
            for lane in 0..16 {
                lanes[lane] += f64::from(weights[lane]);
            }
            for lane in 0..16 {
                weighted[lane] += f64::from(terms[lane]);
            }
        }
        for ((lane, weighted), logit) in lanes.iter_mut().zip(&mut weighted).zip(tail) {
            let weight = exp(logit - largest);
            *lane += f64::from(weight);
            *weighted += f64::from((logit - largest) * weight);
        }
        (add_lanes(lanes), add_lanes(weighted))
    }
}

#[cfg(test)]
mod tests {
    use super::LogSum;

    #[test]
    fn log_probabilities_are_those_of_f64_and_the_entropy_changes_no_bit() {
        for length in [1, 15, 16, 17, 1000, 49_152] {
            let logits: Vec<f32> = (0..length).map(|id| ((id * 7919 % 1021) as f32 - 500.0) / 25.0).collect();
            let sum = LogSum::of(&logits);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let expected: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
            assert_eq!(sum.largest, largest);
            assert!((sum.log_total - expected.ln()).abs() < 2e-7, "{length}: {}", sum.log_total);
            let (again, entropy) = LogSum::with_entropy(&logits);
            assert_eq!(sum, again);
            let probability = |logit: &f32| sum.log_probability(*logit).exp();
            let expected: f64 =
                logits.iter().map(|logit| -probability(logit) * sum.log_probability(*logit)).sum();
            assert!((f64::from(entropy) - expected).abs() < 1e-5, "{length}: {entropy}, {expected}");
        }
    }
}
