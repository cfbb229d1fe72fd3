//! Training of an adapter on the CPU: the base model is frozen, so there are gradients and moments of the adapter only.

use super::dropout::Dropout;
use super::linear::{Adapter, AdapterPass, Gradients};
use super::model::{Model, Operands};
use crate::adapter::{AdapterLayout, AdapterSettings};
use crate::backend::{Backend, Distillation, DistilledTokens, Score, Teacher, TrainingState, WeightsOf};
use crate::base::{FrozenWeights, ModelWeights};
use crate::batch::Batch;
use crate::optimizer::OptimizerSettings;
use anyhow::Result;
use checkpoint::ModelConfig;
use kernels::Element;
use kernels::training::TokenLoss;

/// A frozen base with elements `W`, the adapter's weights, moments and gradients, and the model that computes in `E`.
pub(crate) struct AdapterTrainer<E, W> {
    model: Model<E>,
    base: FrozenWeights<W>,
    adapter: Adapter,
    /// Of the adapter.
    state: TrainingState,
    gradients: Vec<f32>,
    settings: AdapterSettings,
    /// Gradients computed since the last update.
    micro_batch: u64,
}

impl<E: Element, W: Element> AdapterTrainer<E, W> {
    /// Returns a trainer for sequences of up to `positions` tokens.
    pub(crate) fn new(
        (config, base): (&ModelConfig, FrozenWeights<W>),
        state: TrainingState,
        settings: AdapterSettings,
        positions: usize,
        checkpoint_layers: bool,
    ) -> Self {
        let (_, layout) = AdapterLayout::new(config, &settings);
        let mut adapter = Adapter::new(layout, &settings);
        adapter.update(&state.parameters.values);
        Self {
            model: Model::new(config, positions, checkpoint_layers),
            base,
            adapter,
            gradients: vec![0.0; state.parameters.values.len()],
            state,
            settings,
            micro_batch: 0,
        }
    }

    /// Returns what the next micro-batch drops.
    fn next_dropout(&mut self) -> Option<Dropout> {
        let AdapterSettings { dropout, seed, .. } = self.settings;
        self.micro_batch += 1;
        Dropout::new(dropout, seed, self.state.optimizer.step, self.micro_batch)
    }

    /// Computes the gradient of a batch; `head` computes that of the model's head.
    fn add_gradient(
        &mut self,
        batch: &Batch,
        head: impl FnOnce(&mut Model<E>, ModelWeights<'_, W>, &mut Gradients<'_>) -> Vec<TokenLoss>,
    ) -> Vec<TokenLoss> {
        let dropout = self.next_dropout();
        let Self { model, base, adapter, state, gradients, .. } = self;
        let pass = AdapterPass { adapter, values: &state.parameters.values, dropout };
        let operands = Operands { weights: base.view(), adapter: Some(pass) };
        let mut gradients = Gradients::Adapter(gradients);
        model.forward_with(operands, batch);
        let losses = head(model, base.view(), &mut gradients);
        model.backward_with(operands, &mut gradients, batch);
        losses
    }
}

impl<E: Element, W: Element> Score for AdapterTrainer<E, W> {
    fn losses(&mut self, batch: &Batch) -> Result<Vec<TokenLoss>> {
        let Self { model, base, adapter, state, .. } = self;
        let pass = AdapterPass { adapter, values: &state.parameters.values, dropout: None };
        model.forward_with(Operands { weights: base.view(), adapter: Some(pass) }, batch);
        Ok(model.losses(base.view(), batch))
    }
}

impl<E: Element, W: Element> Backend for AdapterTrainer<E, W> {
    fn gradient(&mut self, batch: &Batch, weight: f32) -> Result<Vec<TokenLoss>> {
        Ok(self.add_gradient(batch, |model, base, gradients| {
            model.losses_and_gradient_with(base, gradients, batch, |_, _| weight)
        }))
    }

    fn weighted_gradient(&mut self, batch: &Batch, weights_of: &mut WeightsOf<'_>) -> Result<Vec<TokenLoss>> {
        Ok(self.add_gradient(batch, |model, base, gradients| {
            let token_weights = weights_of(&model.losses(base, batch));
            model.losses_and_gradient_with(base, gradients, batch, |token, _| token_weights[token])
        }))
    }

    fn distill(
        &mut self,
        batch: &Batch,
        teacher: &mut dyn Teacher,
        target: Distillation<'_>,
        gradient: bool,
    ) -> Result<DistilledTokens> {
        let dropout = if gradient { self.next_dropout() } else { None };
        let Self { model, base, adapter, state, gradients, .. } = self;
        let pass = AdapterPass { adapter, values: &state.parameters.values, dropout };
        let operands = Operands { weights: base.view(), adapter: Some(pass) };
        let mut gradients = Gradients::Adapter(gradients);
        Ok(model.distill_with(operands, gradient.then_some(&mut gradients), batch, teacher, target))
    }

    fn edit_gradients(&mut self, edit: &mut dyn FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        edit(&mut self.gradients)
    }

    fn update(&mut self, settings: OptimizerSettings, learning_rate: f32) -> Result<f32> {
        let TrainingState { parameters, optimizer } = &mut self.state;
        let norm = optimizer.step(
            &mut parameters.values,
            &self.gradients,
            &parameters.layout,
            settings,
            learning_rate,
        );
        self.gradients.fill(0.0);
        self.micro_batch = 0;
        self.adapter.update(&parameters.values);
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
        self.adapter.update(&self.state.parameters.values);
        Ok(())
    }
}
