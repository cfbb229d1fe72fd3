//! AdamW with decoupled weight decay, and the global norm of the gradients.
//! Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, in the form PyTorch computes it.

use crate::element::{sum_of, vectorized};
use rayon::prelude::*;

/// Elements a thread takes at a time.
const CHUNK: usize = 1 << 13;

/// One step's settings.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squares.
    pub beta2: f32,
    /// Added to the root.
    pub epsilon: f32,
    /// Decoupled weight decay; 0 for vectors.
    pub weight_decay: f32,
    /// What gradients are multiplied by first: the clip.
    pub gradient_scale: f32,
    /// Steps done, this one included: from 1.
    pub step: u64,
}

/// Updates weights and both moments in place.
///
/// # Panics
/// If the lengths differ.
pub fn adamw(weights: &mut [f32], gradients: &[f32], mean: &mut [f32], square: &mut [f32], settings: AdamW) {
    let length = weights.len();
    assert!(gradients.len() == length && mean.len() == length && square.len() == length, "adamw: lengths");
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(settings.step as f64);
    let rate = (f64::from(settings.learning_rate) / correction(settings.beta1)) as f32;
    let root = 1.0 / correction(settings.beta2).sqrt() as f32;
    let chunks = weights.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK));
    let moments = mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
    chunks.zip(moments).for_each(|((weights, gradients), (mean, square))| {
        update(weights, gradients, mean, square, settings, rate, root);
    });
}

/// Σ g², summed over fixed chunks in order: the same on any number of threads.
pub fn squared_norm(gradients: &[f32]) -> f64 {
    let chunks: Vec<f64> = gradients.par_chunks(4096).map(|chunk| f64::from(squares(chunk))).collect();
    chunks.iter().sum()
}

vectorized! {
    fn squares(values: &[f32]) -> f32 {
        sum_of(values, values, |a, b| a * b)
    }

    fn update(
        weights: &mut [f32],
        gradients: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
        settings: AdamW,
        rate: f32,
        root: f32,
    ) {
        let keep = 1.0 - settings.learning_rate * settings.weight_decay;
        let moments = mean.iter_mut().zip(square);
        for ((weight, gradient), (mean, square)) in weights.iter_mut().zip(gradients).zip(moments) {
            let gradient = gradient * settings.gradient_scale;
            *mean = settings.beta1 * *mean + (1.0 - settings.beta1) * gradient;
            *square = settings.beta2 * *square + (1.0 - settings.beta2) * (gradient * gradient);
            *weight = *weight * keep - rate * *mean / (square.sqrt() * root + settings.epsilon);
        }
    }
}
