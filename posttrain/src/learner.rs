//! A model with its gradients and its optimizer: what the three loops call. A step is any number of
//! `gradient` calls, whose sums add up, then one `update`.

use crate::model::{Batch, Model, Parameters};
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::recipe::Training;
use anyhow::{Result, bail};
use kernels::Element;
use kernels::training::TokenLoss;

/// All that a step reads and changes.
#[derive(Debug)]
pub struct Learner<E> {
    /// The weights, f32.
    pub parameters: Parameters,
    /// Moments, and the steps done.
    pub optimizer: Optimizer,
    model: Model<E>,
    gradients: Vec<f32>,
    settings: OptimizerSettings,
}

impl<E: Element> Learner<E> {
    /// A learner for sequences of up to `positions` tokens.
    pub fn new(parameters: Parameters, optimizer: Optimizer, positions: usize, training: &Training) -> Self {
        let model = Model::new(&parameters.config, positions, training.layer_checkpointing);
        let settings = OptimizerSettings {
            beta1: training.adam_beta1 as f32,
            beta2: training.adam_beta2 as f32,
            epsilon: training.adam_epsilon as f32,
            weight_decay: training.weight_decay as f32,
            max_grad_norm: training.max_grad_norm as f32,
        };
        Self { gradients: vec![0.0; parameters.values.len()], parameters, optimizer, model, settings }
    }

    /// Log-probabilities of the batch's trained tokens (N).
    pub fn losses(&mut self, batch: &Batch) -> Vec<TokenLoss> {
        self.model.forward(&self.parameters.values, batch);
        self.model.losses(&self.parameters.values, batch)
    }

    /// As `losses`, and adds the gradient of -weight · Σ log-probability.
    pub fn gradient(&mut self, batch: &Batch, weight: f32) -> Vec<TokenLoss> {
        let (weights, gradients) = (&self.parameters.values, &mut self.gradients);
        self.model.forward(weights, batch);
        let losses = self.model.losses_and_gradient(weights, gradients, batch, |_, _| weight);
        self.model.backward(weights, gradients, batch);
        losses
    }

    /// As `gradient`, each token with a weight of its own (N) that may depend on all log-probabilities: the
    /// head is computed twice, its logits still never whole.
    pub fn weighted_gradient(
        &mut self,
        batch: &Batch,
        weights_of: impl FnOnce(&[TokenLoss]) -> Vec<f32>,
    ) -> Vec<TokenLoss> {
        let (weights, gradients) = (&self.parameters.values, &mut self.gradients);
        self.model.forward(weights, batch);
        let losses = self.model.losses(weights, batch);
        let token_weights = weights_of(&losses);
        self.model.losses_and_gradient(weights, gradients, batch, |token, _| token_weights[token]);
        self.model.backward(weights, gradients, batch);
        losses
    }

    /// One step of the optimizer; the gradients are 0 again. Returns their norm before clipping.
    ///
    /// # Errors
    /// When the gradients are not finite: nothing was changed.
    pub fn update(&mut self, learning_rate: f64) -> Result<f32> {
        let (parameters, rate) = (&mut self.parameters, learning_rate as f32);
        let norm = self.optimizer.step(
            &mut parameters.values,
            &self.gradients,
            &parameters.layout,
            self.settings,
            rate,
        );
        self.gradients.fill(0.0);
        if !norm.is_finite() {
            bail!(
                "the gradients' norm is {norm} at step {}: nothing of this step was kept; lower learning_rate, lengthen the warm-up, or look at the rows of this step",
                self.optimizer.step + 1
            );
        }
        Ok(norm)
    }

    /// Another base of the rotary angles or other positions from now on.
    pub fn set_rope(&mut self, theta: f32, positions: usize) {
        self.parameters.config.rope_theta = theta;
        self.model.set_rope(theta, positions);
    }
}

/// Sums over trained tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Σ -log-probability.
    pub loss: f64,
    /// Tokens.
    pub tokens: usize,
    /// Tokens that were the likeliest.
    pub best: usize,
    /// Σ entropy.
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

    /// Mean loss in nats.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.tokens as f64
    }

    /// Share of tokens that were the likeliest.
    pub fn accuracy(&self) -> f64 {
        self.best as f64 / self.tokens as f64
    }

    /// Mean entropy in nats.
    pub fn mean_entropy(&self) -> f64 {
        self.entropy / self.tokens as f64
    }
}
