//! What a device, or a wrapper around one, does in a training step. `cpu::Trainer` and `gpu::trainer::Trainer`
//! implement it.

use crate::batch::Batch;
use crate::optimizer::{Optimizer, OptimizerSettings};
use crate::parameters::Parameters;
use anyhow::{Result, bail};
use kernels::training::{Divergence, TokenLoss};
use std::ops::Range;

/// All that training changes and a checkpoint stores: weights, and the optimizer's moments.
#[derive(Debug, Clone)]
pub struct TrainingState {
    /// The weights.
    pub parameters: Parameters,
    /// The moments, and the steps done.
    pub optimizer: Optimizer,
}

/// Computes log-probabilities. Its errors are those of the device.
pub trait Score {
    /// Returns the log-probabilities of the batch's trained tokens (N).
    ///
    /// # Errors
    /// When the device fails.
    fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>>;
}

/// Returns the weight of each trained token (N) in the gradient, given the log-probabilities of all (N).
pub type WeightsOf<'a> = dyn FnMut(&[TokenLoss]) -> Vec<f32> + 'a;

/// What a model learns distributions from: a frozen model, or what one was asked before.
pub trait Teacher {
    /// Runs a batch.
    fn forward(&mut self, batch: &Batch);

    /// Writes the logits (rows, V) of some of the trained tokens of the batch that was run; `student` are the model's own.
    fn logits(&mut self, rows: Range<usize>, student: &[f32], logits: &mut Vec<f32>);

    /// Returns whether it knows the distribution of a trained token; otherwise its logits name the token alone, which is
    /// learned as without a teacher.
    fn knows(&self, row: usize) -> bool {
        let _ = row;
        true
    }
}

/// What is learned from a teacher.
#[derive(Clone, Copy, Debug)]
pub struct Distillation<'a> {
    /// How far the model is from the teacher.
    pub divergence: Divergence,
    /// The weight of each trained token (N) in the gradient.
    pub weights: &'a [f32],
}

/// The results of a batch that was compared with a teacher.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DistilledTokens {
    /// What `losses` returns (N).
    pub tokens: Vec<TokenLoss>,
    /// The divergence from the teacher (N), in nats.
    pub divergences: Vec<f32>,
}

/// Computes gradients and updates weights, all of which it owns.
pub trait Backend: Score {
    /// Adds the gradient of -weight · Σ log-probability to the sums of gradients, and returns what `losses` returns.
    ///
    /// # Errors
    /// When the device fails.
    fn gradient(&mut self, batch: &Batch, weight: f32) -> Result<Vec<TokenLoss>>;

    /// As `gradient`, with a weight for each token that may depend on all log-probabilities. The head is computed
    /// twice, so that no more than a chunk of logits exists at once.
    ///
    /// # Errors
    /// When the device fails.
    fn weighted_gradient(&mut self, batch: &Batch, weights_of: &mut WeightsOf<'_>) -> Result<Vec<TokenLoss>>;

    /// As `gradient`, of Σ weight · divergence from the teacher; without `gradient` only the values are computed.
    ///
    /// # Errors
    /// When the device does not compute it, or fails.
    fn distill(
        &mut self,
        batch: &Batch,
        teacher: &mut dyn Teacher,
        target: Distillation<'_>,
        gradient: bool,
    ) -> Result<DistilledTokens> {
        let _ = (batch, teacher, target, gradient);
        bail!("this device does not learn from a teacher; give `--device cpu`, or remove `--teacher`")
    }

    /// Lets `edit` read and change the sums of gradients, in the order of `Layout`.
    ///
    /// # Errors
    /// Those of `edit`, and when the device fails.
    fn edit_gradients(&mut self, edit: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()>;

    /// Does one optimizer step with the sums of gradients and sets these to 0. Returns their norm before clipping: where
    /// it is not finite, weights and moments were not changed.
    ///
    /// # Errors
    /// When the device fails.
    fn update(&mut self, settings: OptimizerSettings, learning_rate: f32) -> Result<f32>;

    /// Sets the base of the rotary position embedding, and the longest sequence.
    ///
    /// # Errors
    /// When the tables do not fit into the device's memory.
    fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()>;

    /// Returns the host's copy of the state, as of the last `sync_to_host`.
    fn state(&self) -> &TrainingState;

    /// Returns the host's copy of the state. Changed weights and moments take effect with `sync_to_device`.
    fn state_mut(&mut self) -> &mut TrainingState;

    /// Makes the host's copy of weights and moments that of the last step.
    ///
    /// # Errors
    /// When the device fails.
    fn sync_to_host(&mut self) -> Result<()>;

    /// Makes the device compute with the host's copy of weights and moments.
    ///
    /// # Errors
    /// When the device fails.
    fn sync_to_device(&mut self) -> Result<()>;
}
