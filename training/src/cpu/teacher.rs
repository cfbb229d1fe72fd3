//! A frozen model whose distributions another one learns.

use super::model::{Model, Operands};
use crate::backend::Teacher;
use crate::base::FrozenWeights;
use crate::batch::Batch;
use checkpoint::ModelConfig;
use kernels::Element;
use std::ops::Range;

/// Frozen weights with elements `W`, and the model that computes in `E`. It keeps the activations of one layer.
pub(crate) struct FrozenTeacher<E, W> {
    model: Model<E>,
    weights: FrozenWeights<W>,
}

impl<E: Element, W: Element> FrozenTeacher<E, W> {
    /// Returns a teacher for sequences of up to `positions` tokens.
    pub(crate) fn new(config: &ModelConfig, weights: FrozenWeights<W>, positions: usize) -> Self {
        Self { model: Model::new(config, positions, true), weights }
    }
}

impl<E: Element, W: Element> Teacher for FrozenTeacher<E, W> {
    fn forward(&mut self, batch: &Batch) {
        self.model.forward_with(Operands::of_weights(self.weights.view()), batch);
    }

    fn logits(&mut self, rows: Range<usize>, _student: &[f32], logits: &mut Vec<f32>) {
        self.model.logits_with(self.weights.view(), rows, logits);
    }
}
