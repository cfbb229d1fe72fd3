//! Training on the CPU: the model's two passes over the operations of `kernels::training`, and the optimizer, on the
//! weights themselves. There is no second copy of anything.

mod adapted;
mod dropout;
mod layer;
mod linear;
mod model;
mod positions;
mod teacher;

pub(crate) use adapted::AdapterTrainer;
pub use model::Model;
pub(crate) use teacher::FrozenTeacher;

use crate::backend::{Backend, Distillation, DistilledTokens, Score, Teacher, TrainingState, WeightsOf};
use crate::base::ModelWeights;
use crate::batch::Batch;
use crate::optimizer::OptimizerSettings;
use crate::parameters::Parameters;
use anyhow::Result;
use checkpoint::ModelConfig;
use kernels::Element;
use kernels::training::TokenLoss;
use linear::Gradients;
use model::Operands;

/// Weights, moments and gradients, and the model that computes with them.
pub(crate) struct Trainer<E> {
    model: Model<E>,
    state: TrainingState,
    gradients: Vec<f32>,
}

impl<E: Element> Trainer<E> {
    /// Returns a trainer for sequences of up to `positions` tokens.
    pub(crate) fn new(state: TrainingState, positions: usize, checkpoint_layers: bool) -> Self {
        let model = Model::new(&state.parameters.config, positions, checkpoint_layers);
        Self { model, gradients: vec![0.0; state.parameters.values.len()], state }
    }
}

impl<E: Element> Score for Trainer<E> {
    fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        let weights = &self.state.parameters.values;
        self.model.forward(weights, batch);
        Ok(self.model.losses(ModelWeights::of_all(weights), batch))
    }
}

impl<E: Element> Backend for Trainer<E> {
    fn gradient(&mut self, batch: &Batch, weight: f32) -> Result<Vec<TokenLoss>> {
        let Self { model, state, gradients } = self;
        let weights = &state.parameters.values;
        model.forward(weights, batch);
        let losses = model.losses_and_gradient(weights, gradients, batch, |_, _| weight);
        model.backward(weights, gradients, batch);
        Ok(losses)
    }

    fn weighted_gradient(&mut self, batch: &Batch, weights_of: &mut WeightsOf<'_>) -> Result<Vec<TokenLoss>> {
        let Self { model, state, gradients } = self;
        let weights = &state.parameters.values;
        model.forward(weights, batch);
        let losses = model.losses(ModelWeights::of_all(weights), batch);
        let token_weights = weights_of(&losses);
        model.losses_and_gradient(weights, gradients, batch, |token, _| token_weights[token]);
        model.backward(weights, gradients, batch);
        Ok(losses)
    }

    fn distill(
        &mut self,
        batch: &Batch,
        teacher: &mut dyn Teacher,
        target: Distillation<'_>,
        gradient: bool,
    ) -> Result<DistilledTokens> {
        let Self { model, state, gradients } = self;
        let operands = Operands::of_weights(ModelWeights::of_all(&state.parameters.values));
        let mut gradients = Gradients::Weights(gradients);
        Ok(model.distill_with(operands, gradient.then_some(&mut gradients), batch, teacher, target))
    }

    fn edit_gradients(&mut self, edit: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        edit(&mut self.gradients)
    }

    fn update(&mut self, settings: OptimizerSettings, learning_rate: f32) -> Result<f32> {
        let TrainingState { parameters, optimizer } = &mut self.state;
        let Parameters { values, layout, .. } = parameters;
        let norm = optimizer.step(values, &self.gradients, layout, settings, learning_rate);
        self.gradients.fill(0.0);
        Ok(norm)
    }

    fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
        self.state.parameters.config.set_rope_theta(theta);
        self.model.set_rope(theta, positions);
        Ok(())
    }

    fn state(&self) -> &TrainingState {
        &self.state
    }

    fn state_mut(&mut self) -> &mut TrainingState {
        &mut self.state
    }

    fn sync_to_host(&mut self) -> Result<()> {
        Ok(())
    }

    fn sync_to_device(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A model that only computes log-probabilities.
pub(crate) struct Scorer<'a, E, W> {
    model: Model<E>,
    weights: ModelWeights<'a, W>,
}

impl<'a, E: Element, W: Element> Scorer<'a, E, W> {
    /// Returns a scorer for sequences of up to `positions` tokens.
    pub(crate) fn new(
        config: &ModelConfig,
        weights: ModelWeights<'a, W>,
        positions: usize,
        checkpoint_layers: bool,
    ) -> Self {
        Self { model: Model::new(config, positions, checkpoint_layers), weights }
    }
}

impl<E: Element, W: Element> Score for Scorer<'_, E, W> {
    fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        self.model.forward_with(Operands::of_weights(self.weights), batch);
        Ok(self.model.losses(self.weights, batch))
    }
}
