//! A model with its gradients and moments on a GPU. The sums of a step never leave the GPU: the host reads the tokens'
//! log-probabilities once a micro-batch and one norm a step.

use super::buffer::Buffer;
use super::device::Gpu;
use super::kernels::{AdamW, GradientNorm, NORM_PARTS, SquaredNorm};
use super::lists::Chunks;
use super::model::{Model, Passes, TokenWeights, Weights};
use crate::backend::{Backend, Score, TrainingState, WeightsOf};
use crate::batch::Batch;
use crate::optimizer::OptimizerSettings;
use crate::parameters::Parameters;
use crate::settings::Kept;
use anyhow::Result;
use kernels::Element;
use kernels::training::TokenLoss;
use std::sync::Arc;

/// A model that only computes log-probabilities.
pub(crate) struct Scorer<E> {
    model: Model<E>,
    weights: Weights,
}

impl<E: Element> Scorer<E> {
    /// Returns a scorer for sequences of up to `positions` tokens and batches of `tokens`.
    ///
    /// # Errors
    /// When it does not fit into the GPU's memory.
    pub(crate) fn new(
        gpu: Arc<Gpu>,
        parameters: &Parameters,
        positions: usize,
        tokens: usize,
    ) -> Result<Self> {
        let weights = Weights::new::<E>(&gpu, &parameters.values)?;
        // Without a backward pass the activations of one layer are enough.
        let passes = Passes { backward: false, kept: Kept::Inputs };
        let model = Model::new(gpu, &parameters.config, positions, passes, tokens)?;
        Ok(Self { model, weights })
    }
}

impl<E: Element> Score for Scorer<E> {
    fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        self.model.forward(&self.weights, batch)?;
        self.model.losses(&self.weights)
    }
}

/// Everything that a step reads and changes, on a GPU, and the host's copy of the state.
pub struct Trainer<E> {
    gpu: Arc<Gpu>,
    model: Model<E>,
    state: TrainingState,
    weights: Weights,
    gradients: Buffer<f32>,
    mean: Buffer<f32>,
    square: Buffer<f32>,
    chunks: DeviceChunks,
    /// Partial sums of the squared gradients (1024).
    partial: Buffer<f64>,
    /// (1)
    norm: Buffer<f32>,
}

/// `Chunks` on the device.
struct DeviceChunks {
    firsts: Buffer<u64>,
    counts: Buffer<u32>,
    decayed: Buffer<u32>,
}

impl DeviceChunks {
    fn new(gpu: &Gpu, chunks: &Chunks) -> Result<Self> {
        let purpose = "the optimizer's lists";
        Ok(Self {
            firsts: gpu.copy_of(purpose, &chunks.firsts)?,
            counts: gpu.copy_of(purpose, &chunks.counts)?,
            decayed: gpu.copy_of(purpose, &chunks.decayed)?,
        })
    }
}

impl<E: Element> Trainer<E> {
    /// Copies weights and moments to the GPU.
    ///
    /// # Errors
    /// When they, or the buffers of batches of `tokens`, do not fit.
    pub fn new(
        gpu: Arc<Gpu>,
        state: TrainingState,
        positions: usize,
        kept: Kept,
        tokens: usize,
    ) -> Result<Self> {
        // What was freed before, such as a reference's weights, is the driver's again when it is waited for.
        gpu.wait()?;
        let TrainingState { parameters, optimizer } = &state;
        let passes = Passes { backward: true, kept };
        let config = &parameters.config;
        // Before the first step they are 0, which need not be sent.
        let moments = |values: &[f32]| match optimizer.step {
            0 => gpu.zeros("the moments", values.len()),
            _ => gpu.copy_of("the moments", values),
        };
        Ok(Self {
            weights: Weights::new::<E>(&gpu, &parameters.values)?,
            gradients: gpu.zeros("the gradients", parameters.values.len())?,
            mean: moments(&optimizer.mean)?,
            square: moments(&optimizer.square)?,
            chunks: DeviceChunks::new(&gpu, &Chunks::new(&parameters.layout))?,
            partial: gpu.allocate("the norm", NORM_PARTS)?,
            norm: gpu.allocate("the norm", 1)?,
            model: Model::new(Arc::clone(&gpu), config, positions, passes, tokens)?,
            state,
            gpu,
        })
    }
}

impl<E: Element> Score for Trainer<E> {
    fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        self.model.forward(&self.weights, batch)?;
        self.model.losses(&self.weights)
    }
}

impl<E: Element> Backend for Trainer<E> {
    fn gradient(&mut self, batch: &Batch, weight: f32) -> Result<Vec<TokenLoss>> {
        let Self { model, weights, gradients, .. } = self;
        model.forward(weights, batch)?;
        model.head_gradient(weights, gradients, TokenWeights::Same(weight))?;
        model.backward(weights, gradients, batch)?;
        model.results()
    }

    fn weighted_gradient(&mut self, batch: &Batch, weights_of: &mut WeightsOf<'_>) -> Result<Vec<TokenLoss>> {
        let Self { model, weights, gradients, .. } = self;
        model.forward(weights, batch)?;
        let losses = model.losses(weights)?;
        let token_weights = weights_of(&losses);
        model.head_gradient(weights, gradients, TokenWeights::Each(&token_weights))?;
        model.backward(weights, gradients, batch)?;
        Ok(losses)
    }

    fn edit_gradients(&mut self, edit: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        let mut values = vec![0.0; self.gradients.len()];
        self.gpu.download(&mut values, self.gradients.read())?;
        edit(&mut values)?;
        self.gpu.upload(self.gradients.write(), &values)
    }

    fn update(&mut self, settings: OptimizerSettings, learning_rate: f32) -> Result<f32> {
        let Self { gpu, state, weights, gradients, mean, square, chunks, partial, norm, .. } = self;
        let length = gradients.len() as u64;
        SquaredNorm { partial: partial.write(), gradients: gradients.read(), length }.launch(gpu)?;
        GradientNorm { norm: norm.write(), partial: partial.read() }.launch(gpu)?;
        let (rate, root) = bias_corrected(settings, learning_rate, state.optimizer.step + 1);
        AdamW {
            weights: weights.masters.write(),
            copy: weights.copy.as_mut().map(Buffer::write),
            mean: mean.write(),
            square: square.write(),
            gradients: gradients.read(),
            firsts: chunks.firsts.read(),
            counts: chunks.counts.read(),
            decayed: chunks.decayed.read(),
            norm: norm.read(),
            learning_rate,
            beta1: settings.beta1,
            beta2: settings.beta2,
            epsilon: settings.epsilon,
            weight_decay: settings.weight_decay,
            rate,
            root,
            max_norm: settings.max_grad_norm,
        }
        .launch(gpu)?;
        gpu.zero(gradients.write())?;
        let mut host_norm = [0.0f32];
        gpu.download(&mut host_norm, norm.read())?;
        state.optimizer.step += u64::from(host_norm[0].is_finite());
        Ok(host_norm[0])
    }

    fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
        self.state.parameters.config.set_rope_theta(theta);
        self.model.set_rope(theta, positions)
    }

    fn state(&self) -> &TrainingState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut TrainingState {
        &mut self.state
    }

    fn sync_to_host(&mut self) -> Result<()> {
        let TrainingState { parameters, optimizer } = &mut self.state;
        self.gpu.download(&mut parameters.values, self.weights.masters.read())?;
        self.gpu.download(&mut optimizer.mean, self.mean.read())?;
        self.gpu.download(&mut optimizer.square, self.square.read())
    }

    fn sync_to_device(&mut self) -> Result<()> {
        let TrainingState { parameters, optimizer } = &self.state;
        self.weights.upload(&self.gpu, &parameters.values)?;
        self.gpu.upload(self.mean.write(), &optimizer.mean)?;
        self.gpu.upload(self.square.write(), &optimizer.square)
    }
}

/// Returns the learning rate over the bias correction of the mean, and one over the root of that of the square, at a
/// step counted from 1: as `kernels::training::adamw`, in f64 first.
pub(super) fn bias_corrected(settings: OptimizerSettings, learning_rate: f32, step: u64) -> (f32, f32) {
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
    let rate = f64::from(learning_rate) / correction(settings.beta1);
    (rate as f32, 1.0 / correction(settings.beta2).sqrt() as f32)
}
