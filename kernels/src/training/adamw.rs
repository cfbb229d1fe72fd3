//! AdamW (Adam with decoupled weight decay), and the squared norm of the gradients.
//!
//! Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, with the order of operations of PyTorch.

use crate::element::{sum_of, vectorized};
use rayon::prelude::*;

/// Elements that a thread updates at a time.
const CHUNK: usize = 1 << 13;
/// Elements that are summed in f32 for the squared norm, before the sums are added in f64.
const NORM_CHUNK: usize = 4096;

/// The hyperparameters of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the first moment, the mean of the gradients.
    pub beta1: f32,
    /// Decay of the second moment, the mean of the squared gradients.
    pub beta2: f32,
    /// Added to the denominator, for numerical stability.
    pub epsilon: f32,
    /// Decoupled weight decay; 0 for vectors such as norm weights.
    pub weight_decay: f32,
    /// Factor that gradients are multiplied with first, for gradient clipping.
    pub gradient_scale: f32,
    /// Number of this step, from 1.
    pub step: u64,
}

/// Updates weights and both moments (all of one length) in place.
///
/// # Panics
/// If the lengths differ.
pub fn adamw(weights: &mut [f32], gradients: &[f32], mean: &mut [f32], square: &mut [f32], settings: AdamW) {
    let length = weights.len();
    assert!(
        gradients.len() == length && mean.len() == length && square.len() == length,
        "adamw: weights, gradients and moments must have the same length"
    );
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(settings.step as f64);
    let rate = (f64::from(settings.learning_rate) / correction(settings.beta1)) as f32;
    let inverse_root = 1.0 / correction(settings.beta2).sqrt() as f32;
    let chunks = weights.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK));
    let moments = mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
    chunks.zip(moments).for_each(|((weights, gradients), (mean, square))| {
        update(weights, gradients, mean, square, settings, rate, inverse_root);
    });
}

/// Returns Σ g², summed over fixed chunks in order, so that it is the same on any number of threads.
pub fn squared_norm(gradients: &[f32]) -> f64 {
    let chunks: Vec<f64> =
        gradients.par_chunks(NORM_CHUNK).map(|chunk| f64::from(sum_of_squares(chunk))).collect();
    chunks.iter().sum()
}

vectorized! {
    fn sum_of_squares(values: &[f32]) -> f32 {
        sum_of(values, values, |a, b| a * b)
    }

    fn update(
        weights: &mut [f32],
        gradients: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
        settings: AdamW,
        rate: f32,
        inverse_root: f32,
    ) {
        let keep = 1.0 - settings.learning_rate * settings.weight_decay;
        let moments = mean.iter_mut().zip(square);
        for ((weight, gradient), (mean, square)) in weights.iter_mut().zip(gradients).zip(moments) {
            let gradient = gradient * settings.gradient_scale;
            *mean = settings.beta1 * *mean + (1.0 - settings.beta1) * gradient;
            *square = settings.beta2 * *square + (1.0 - settings.beta2) * (gradient * gradient);
            *weight = *weight * keep - rate * *mean / (square.sqrt() * inverse_root + settings.epsilon);
        }
    }
}
