//! A model with its gradients and moments on a card: what `Learner` calls where a card computes. A step's sums never
//! leave the card; what comes back is the tokens' log-probabilities, once a micro-batch, and one norm a step.

use super::buffer::Buffer;
use super::card::Card;
use super::kernels::{AdamW, GradientNorm, NORM_PARTS, SquaredNorm};
use super::lists::Chunks;
use super::model::{Model, TokenWeights, Weights};
use crate::model::{Batch, Parameters};
use crate::optimizer::{Optimizer, OptimizerSettings};
use anyhow::Result;
use kernels::Element;
use kernels::training::TokenLoss;
use std::sync::Arc;

/// A model that only scores.
#[derive(Debug)]
pub struct Scorer<E> {
    model: Model<E>,
    weights: Weights,
}

impl<E: Element> Scorer<E> {
    /// For sequences of up to `positions` tokens and batches of `tokens`.
    ///
    /// # Errors
    /// When it does not fit into the card.
    pub fn new(card: Arc<Card>, parameters: &Parameters, positions: usize, tokens: usize) -> Result<Self> {
        let weights = Weights::new::<E>(&card, &parameters.values)?;
        // One layer's activations are enough.
        let model = Model::new(card, &parameters.config, positions, true, false, tokens)?;
        Ok(Self { model, weights })
    }

    /// Log-probabilities of the batch's trained tokens (N).
    ///
    /// # Errors
    /// What the card says.
    pub fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        self.model.forward(&self.weights, batch)?;
        self.model.losses(&self.weights, batch)
    }
}

/// All that a step reads and changes.
#[derive(Debug)]
pub struct Trainer<E> {
    card: Arc<Card>,
    model: Model<E>,
    weights: Weights,
    gradients: Buffer<f32>,
    mean: Buffer<f32>,
    square: Buffer<f32>,
    chunks: DeviceChunks,
    /// Sums of squares (1024).
    partial: Buffer<f64>,
    /// (1)
    norm: Buffer<f32>,
}

/// `Chunks` on the device.
#[derive(Debug)]
struct DeviceChunks {
    firsts: Buffer<u64>,
    counts: Buffer<u32>,
    decayed: Buffer<u32>,
}

impl<E: Element> Trainer<E> {
    /// Copies weights and moments to the card.
    ///
    /// # Errors
    /// When they, or the buffers of batches of `tokens`, do not fit.
    pub fn new(
        card: Arc<Card>,
        parameters: &Parameters,
        optimizer: &Optimizer,
        positions: usize,
        checkpoint_layers: bool,
        tokens: usize,
    ) -> Result<Self> {
        let weights = Weights::new::<E>(&card, &parameters.values)?;
        Ok(Self {
            gradients: card.zeros("the gradients", parameters.values.len())?,
            mean: card.copy_of("the moments", &optimizer.mean)?,
            square: card.copy_of("the moments", &optimizer.square)?,
            chunks: DeviceChunks::new(&card, &Chunks::new(&parameters.layout))?,
            partial: card.allocate("the norm", NORM_PARTS)?,
            norm: card.allocate("the norm", 1)?,
            model: Model::new(
                Arc::clone(&card),
                &parameters.config,
                positions,
                checkpoint_layers,
                true,
                tokens,
            )?,
            weights,
            card,
        })
    }

    /// Log-probabilities of the batch's trained tokens (N).
    ///
    /// # Errors
    /// What the card says.
    pub fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        self.model.forward(&self.weights, batch)?;
        self.model.losses(&self.weights, batch)
    }

    /// As `losses`, and adds the gradient of -weight · Σ log-probability.
    ///
    /// # Errors
    /// What the card says.
    pub fn gradient(&mut self, batch: &Batch, weight: f32) -> Result<Vec<TokenLoss>> {
        let Self { model, weights, gradients, .. } = self;
        model.forward(weights, batch)?;
        model.head_gradient(weights, gradients, batch, TokenWeights::Same(weight))?;
        model.backward(weights, gradients, batch)?;
        model.results(batch)
    }

    /// As `gradient`, each token with a weight of its own (N) that may depend on all log-probabilities.
    ///
    /// # Errors
    /// What the card says.
    pub fn weighted_gradient(
        &mut self,
        batch: &Batch,
        weights_of: impl FnOnce(&[TokenLoss]) -> Vec<f32>,
    ) -> Result<Vec<TokenLoss>> {
        let Self { model, weights, gradients, .. } = self;
        model.forward(weights, batch)?;
        let losses = model.losses(weights, batch)?;
        let token_weights = weights_of(&losses);
        model.head_gradient(weights, gradients, batch, TokenWeights::Each(&token_weights))?;
        model.backward(weights, gradients, batch)?;
        Ok(losses)
    }

    /// The `step`-th step of the optimizer (from 1); the gradients are 0 again. Returns their norm before clipping: where
    /// it is not finite, nothing was changed.
    ///
    /// # Errors
    /// What the card says.
    pub fn update(&mut self, settings: OptimizerSettings, learning_rate: f32, step: u64) -> Result<f32> {
        let Self { card, weights, gradients, mean, square, chunks, partial, norm, .. } = self;
        let length = gradients.len() as u64;
        SquaredNorm { partial: partial.write(), gradients: gradients.read(), length }.launch(card)?;
        GradientNorm { norm: norm.write(), partial: partial.read() }.launch(card)?;
        let (rate, root) = corrected(settings, learning_rate, step);
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
        .launch(card)?;
        card.zero(gradients.write())?;
        let mut found = [0.0];
        card.download(&mut found, norm.read())?;
        Ok(found[0])
    }

    /// Copies weights and moments from the card.
    ///
    /// # Errors
    /// What the card says.
    pub fn bring_home(&self, parameters: &mut Parameters, optimizer: &mut Optimizer) -> Result<()> {
        self.card.download(&mut parameters.values, self.weights.masters.read())?;
        self.card.download(&mut optimizer.mean, self.mean.read())?;
        self.card.download(&mut optimizer.square, self.square.read())
    }

    /// The sums of gradients as they stand, from the card: for tests.
    ///
    /// # Errors
    /// What the card says.
    pub fn gradients(&self) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.gradients.len()];
        self.card.download(&mut values, self.gradients.read())?;
        Ok(values)
    }

    /// Another base of the rotary angles, or more positions.
    ///
    /// # Errors
    /// When the table does not fit.
    pub fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
        self.model.set_rope(theta, positions)
    }
}

/// The learning rate over the mean's correction, and one over the root of the square's, at a step from 1: as
/// `kernels::training::adamw`, in f64 first.
pub(super) fn corrected(settings: OptimizerSettings, learning_rate: f32, step: u64) -> (f32, f32) {
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
    let rate = f64::from(learning_rate) / correction(settings.beta1);
    (rate as f32, 1.0 / correction(settings.beta2).sqrt() as f32)
}

impl DeviceChunks {
    fn new(card: &Card, chunks: &Chunks) -> Result<Self> {
        let what = "the optimizer's lists";
        Ok(Self {
            firsts: card.copy_of(what, &chunks.firsts)?,
            counts: card.copy_of(what, &chunks.counts)?,
            decayed: card.copy_of(what, &chunks.decayed)?,
        })
    }
}
