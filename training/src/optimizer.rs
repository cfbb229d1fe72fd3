//! AdamW over the flat buffer, after clipping by the global norm of the gradients.

use crate::parameters::Layout;
use crate::values::Values;
use kernels::training::{AdamW, adamw, squared_norm};

/// Both moments of every weight, and the number of steps behind them.
#[derive(Debug, Clone)]
pub struct Optimizer {
    /// Running mean of the gradients, as the weights are laid out.
    pub mean: Values,
    /// Running mean of the squared gradients, as the weights are laid out.
    pub square: Values,
    /// Steps done.
    pub step: u64,
}

/// The hyperparameters that are the same in every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerSettings {
    /// Decay of the mean of the gradients.
    pub beta1: f32,
    /// Decay of the mean of the squared gradients.
    pub beta2: f32,
    /// Added to the root of the second moment, for numerical stability.
    pub epsilon: f32,
    /// Decoupled weight decay, of matrices only.
    pub weight_decay: f32,
    /// Maximum global norm of the gradients; 0 for no clipping.
    pub max_grad_norm: f32,
}

impl Optimizer {
    /// Returns the state before the first step, for this many weights.
    pub fn new(weights: usize) -> Self {
        Self { mean: vec![0.0; weights].into(), square: vec![0.0; weights].into(), step: 0 }
    }

    /// Does one step and returns the norm of the gradients before clipping. A norm that is not finite changes nothing.
    pub fn step(
        &mut self,
        weights: &mut [f32],
        gradients: &[f32],
        layout: &Layout,
        settings: OptimizerSettings,
        learning_rate: f32,
    ) -> f32 {
        let norm = squared_norm(gradients).sqrt() as f32;
        if !norm.is_finite() {
            return norm;
        }
        self.step += 1;
        // As PyTorch's clip_grad_norm_: the small constant avoids a division by 0.
        let scale = if settings.max_grad_norm > 0.0 { settings.max_grad_norm / (norm + 1e-6) } else { 1.0 };
        for tensor in &layout.tensors {
            let range = tensor.range.clone();
            let step = AdamW {
                learning_rate,
                beta1: settings.beta1,
                beta2: settings.beta2,
                epsilon: settings.epsilon,
                weight_decay: if tensor.decays() { settings.weight_decay } else { 0.0 },
                gradient_scale: scale.min(1.0),
                step: self.step,
            };
            let (mean, square) = (&mut self.mean[range.clone()], &mut self.square[range.clone()]);
            adamw(&mut weights[range.clone()], &gradients[range], mean, square, step);
        }
        norm
    }
}
