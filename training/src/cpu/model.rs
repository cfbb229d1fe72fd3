//! The model on the CPU, forward and backward written out: a Llama of any shape, or one of its relatives, over flat buffers
//! that are allocated once and grow to the largest batch.
//!
//! `forward` leaves what `backward` needs. `head` runs between them and is the only place where logits exist, a chunk
//! of rows at a time. Activations are f32 or bf16 (`E`); weights, their gradients, the residual stream and all sums are
//! f32, so `E = bf16` is mixed precision with f32 master weights.

use super::layer::{LayerActivations, Scratch, Step, norm_weights};
use super::linear::{AdapterPass, Gradients};
use super::positions::Positions;
use crate::backend::{Distillation, DistilledTokens, Teacher};
use crate::base::ModelWeights;
use crate::batch::Batch;
use crate::parameters::ModelLayout;
use checkpoint::ModelConfig;
use kernels::training::{
    Divergence, TokenLoss, cross_entropy_backward, cross_entropy_forward, embedding_backward,
    embedding_forward, rms_norm_backward, rms_norm_forward,
};
use kernels::{Accumulate, Element, Matrix, gemm};
use std::ops::Range;

/// Rows of logits that exist at once.
const HEAD_ROWS: usize = 1024;

/// What the passes compute with: trained weights in f32, or frozen ones with an adapter.
pub(crate) struct Operands<'a, W> {
    pub(crate) weights: ModelWeights<'a, W>,
    pub(crate) adapter: Option<AdapterPass<'a>>,
}

impl<W> Clone for Operands<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Operands<'_, W> {}

impl<'a, W> Operands<'a, W> {
    /// Returns weights without an adapter.
    pub(crate) fn of_weights(weights: ModelWeights<'a, W>) -> Self {
        Self { weights, adapter: None }
    }
}

/// A model's arithmetic and its buffers; the weights are the caller's.
#[derive(Debug)]
pub struct Model<E> {
    config: ModelConfig,
    layout: ModelLayout,
    positions: Positions,
    /// Whether the backward pass computes layers again instead of keeping their activations.
    checkpoint_layers: bool,
    /// The residual stream before every layer and after the last: (layers + 1) x (T, C).
    inputs: Vec<Vec<f32>>,
    /// Activations of each layer; of one for all where layers are checkpointed.
    layers: Vec<LayerActivations<E>>,
    scratch: Scratch<E>,
    /// Final norm of the rows that predict trained tokens (N, C).
    hidden: Vec<E>,
    /// Gradient of `hidden` (N, C).
    dhidden: Vec<f32>,
    /// Whether `dhidden` belongs to the batch of the last `forward`.
    has_head_gradient: bool,
    /// A chunk of logits, then their gradient (HEAD_ROWS, V).
    logits: Vec<f32>,
}

impl<E: Element> Model<E> {
    /// Returns a model of this shape for sequences of up to `positions` tokens.
    pub fn new(config: &ModelConfig, positions: usize, checkpoint_layers: bool) -> Self {
        let count = if checkpoint_layers { 1 } else { config.layers };
        Self {
            config: config.clone(),
            layout: ModelLayout::new(config),
            positions: Positions::new(config, positions),
            checkpoint_layers,
            inputs: vec![Vec::new(); config.layers + 1],
            layers: (0..count).map(|_| LayerActivations::default()).collect(),
            scratch: Scratch::default(),
            hidden: Vec::new(),
            dhidden: Vec::new(),
            has_head_gradient: false,
            logits: Vec::new(),
        }
    }

    /// Sets the base of the rotary position embedding, and the longest sequence.
    pub(crate) fn set_rope(&mut self, theta: f32, positions: usize) {
        self.config.set_rope_theta(theta);
        self.positions = Positions::new(&self.config, positions);
    }

    /// Runs the layers over a batch and keeps what `head` and `backward` need.
    pub fn forward(&mut self, weights: &[f32], batch: &Batch) {
        self.forward_with(Operands::of_weights(ModelWeights::of_all(weights)), batch);
    }

    /// As `forward`, with weights that may be frozen under an adapter.
    pub(crate) fn forward_with<W: Element>(&mut self, operands: Operands<'_, W>, batch: &Batch) {
        let Operands { weights, adapter } = operands;
        self.resize(batch.tokens());
        self.has_head_gradient = false;
        let (config, layout) = (&self.config, &self.layout);
        let table = weights.numbers(&layout.embedding);
        embedding_forward(&mut self.inputs[0], table, &batch.ids, config.hidden_size);
        if E::BF16 {
            // As a bf16 model has it; products round their weights themselves.
            self.inputs[0].iter_mut().for_each(|value| *value = E::from_f32(*value).to_f32());
        }
        multiply(&mut self.inputs[0], config.architecture.embedding_scale);
        for index in 0..config.layers {
            let (before, after) = self.inputs.split_at_mut(index + 1);
            let layer = &mut self.layers[if self.checkpoint_layers { 0 } else { index }];
            let (layout, rope) = (&layout.layers[index], self.positions.of_layer(config, index));
            let step = Step { config, index, layout, weights, adapter, batch, rope };
            layer.forward(step, &before[index], Some(&mut after[0]), &mut self.scratch);
        }
        gather(&mut self.scratch.dnormed, &self.inputs[config.layers], &batch.rows, config.hidden_size);
        self.hidden.resize(batch.rows.len() * config.hidden_size, E::default());
        let norm = &norm_weights(weights.numbers(&layout.norm), config);
        let rows = &self.scratch.dnormed[..self.hidden.len()];
        rms_norm_forward(&mut self.hidden, rows, norm, config.rms_norm_eps);
    }

    /// Returns the log-probabilities of the batch's targets (N).
    pub(crate) fn losses<W: Element>(
        &mut self,
        weights: ModelWeights<'_, W>,
        batch: &Batch,
    ) -> Vec<TokenLoss> {
        let mut results = vec![TokenLoss::default(); batch.targets.len()];
        self.head(weights, None, batch, &mut results, |_, _, _| ());
        results
    }

    /// As `losses`, and computes the gradient of -Σ weight_of(n, token n) · log-probability of token n, the weights
    /// being constants: the head's is added to `gradients`, that of the layers' output is kept for `backward`.
    pub fn losses_and_gradient(
        &mut self,
        weights: &[f32],
        gradients: &mut [f32],
        batch: &Batch,
        weight_of: impl Fn(usize, &TokenLoss) -> f32,
    ) -> Vec<TokenLoss> {
        let weights = ModelWeights::of_all(weights);
        self.losses_and_gradient_with(weights, &mut Gradients::Weights(gradients), batch, weight_of)
    }

    /// As `losses_and_gradient`, with weights that may be frozen.
    pub(crate) fn losses_and_gradient_with<W: Element>(
        &mut self,
        weights: ModelWeights<'_, W>,
        gradients: &mut Gradients<'_>,
        batch: &Batch,
        weight_of: impl Fn(usize, &TokenLoss) -> f32,
    ) -> Vec<TokenLoss> {
        let mut results = vec![TokenLoss::default(); batch.targets.len()];
        self.head(weights, Some(gradients), batch, &mut results, |first, logits, results| {
            let tokens = results.iter().enumerate();
            let token_weights: Vec<f32> = tokens.map(|(row, token)| weight_of(first + row, token)).collect();
            cross_entropy_backward(logits, &batch.targets[first..][..results.len()], results, &token_weights);
        });
        self.has_head_gradient = true;
        results
    }

    /// Runs the batch through the teacher and this model, and adds the gradient of Σ weight · divergence where gradients are
    /// given.
    pub(crate) fn distill_with<W: Element>(
        &mut self,
        operands: Operands<'_, W>,
        mut gradients: Option<&mut Gradients<'_>>,
        batch: &Batch,
        teacher: &mut dyn Teacher,
        target: Distillation<'_>,
    ) -> DistilledTokens {
        teacher.forward(batch);
        self.forward_with(operands, batch);
        let tokens =
            self.divergences_with(operands.weights, gradients.as_deref_mut(), batch, teacher, target);
        if let Some(gradients) = gradients {
            self.backward_with(operands, gradients, batch);
        }
        tokens
    }

    /// As `losses_and_gradient_with`, of the divergence from a teacher that has run the batch; returns each token's as well.
    /// Without gradients only the values are computed.
    fn divergences_with<W: Element>(
        &mut self,
        weights: ModelWeights<'_, W>,
        gradients: Option<&mut Gradients<'_>>,
        batch: &Batch,
        teacher: &mut dyn Teacher,
        target: Distillation<'_>,
    ) -> DistilledTokens {
        let mut tokens = vec![TokenLoss::default(); batch.targets.len()];
        let mut divergences = vec![0.0; tokens.len()];
        let mut of_teacher = Vec::new();
        self.has_head_gradient = gradients.is_some();
        self.head(weights, gradients, batch, &mut tokens, |first, logits, results| {
            let rows: Vec<usize> = (first..first + results.len()).collect();
            let vocabulary = logits.len() / rows.len();
            teacher.logits(first..first + rows.len(), logits, &mut of_teacher); // (rows, V)
            for alike in rows.chunk_by(|one, next| teacher.knows(*one) == teacher.knows(*next)) {
                let (from, to) = (alike[0], alike[0] + alike.len());
                // The forward divergence from a token alone is its cross-entropy.
                let beta = if teacher.knows(from) { target.divergence.beta } else { 0.0 };
                let divergence = Divergence { beta, ..target.divergence };
                let of_logits = (from - first) * vocabulary..(to - first) * vocabulary;
                let (student, theirs) = (&mut logits[of_logits.clone()], &mut of_teacher[of_logits]);
                divergence.gradient(&mut divergences[from..to], student, theirs, &target.weights[from..to]);
            }
        });
        DistilledTokens { tokens, divergences }
    }

    /// Returns the logits (rows, V) of some rows of `hidden`.
    pub(crate) fn logits_with<W: Element>(
        &self,
        weights: ModelWeights<'_, W>,
        rows: Range<usize>,
        logits: &mut Vec<f32>,
    ) {
        let (c, v) = (self.config.hidden_size, self.config.vocab_size);
        let table = Matrix::new(weights.numbers(&self.layout.head), v, c);
        logits.resize(rows.len() * v, 0.0);
        let hidden = Matrix::new(&self.hidden[rows.start * c..rows.end * c], rows.len(), c);
        gemm::<E, _, _, _>(logits, hidden, table.transposed(), Accumulate::Chain);
    }

    /// Computes the logits a chunk of rows at a time; `backward` replaces them by their gradient, given the chunk's first row
    /// and results.
    fn head<W: Element>(
        &mut self,
        weights: ModelWeights<'_, W>,
        mut gradients: Option<&mut Gradients<'_>>,
        batch: &Batch,
        results: &mut [TokenLoss],
        mut backward: impl FnMut(usize, &mut [f32], &[TokenLoss]),
    ) {
        let (c, v) = (self.config.hidden_size, self.config.vocab_size);
        let head = &self.layout.head;
        let table = Matrix::new(weights.numbers(head), v, c);
        if gradients.is_some() {
            self.dhidden.resize(batch.targets.len() * c, 0.0);
        }
        for first in (0..batch.targets.len()).step_by(HEAD_ROWS) {
            let rows = HEAD_ROWS.min(batch.targets.len() - first);
            self.logits.resize(rows * v, 0.0);
            let hidden = Matrix::new(&self.hidden[first * c..][..rows * c], rows, c);
            let targets = &batch.targets[first..][..rows];
            let results = &mut results[first..][..rows];
            gemm::<E, _, _, _>(&mut self.logits, hidden, table.transposed(), Accumulate::Chain); // (rows, V)
            cross_entropy_forward(results, &self.logits, targets);
            backward(first, &mut self.logits, results);
            let Some(gradients) = gradients.as_deref_mut() else { continue };
            let dlogits = Matrix::new(&self.logits, rows, v);
            let dhidden = &mut self.dhidden[first * c..][..rows * c];
            gemm::<E, _, _, _>(dhidden, dlogits, table, Accumulate::Replace); // (rows, C)
            if let Some(dtable) = gradients.of_weights(head) {
                gemm::<E, _, _, _>(dtable, dlogits.transposed(), hidden, Accumulate::Add); // (V, C)
            }
        }
    }

    /// Adds the gradients of everything below the head to `gradients`.
    ///
    /// # Panics
    /// If `losses_and_gradient` was not called since `forward` on this batch.
    pub fn backward(&mut self, weights: &[f32], gradients: &mut [f32], batch: &Batch) {
        let operands = Operands::of_weights(ModelWeights::of_all(weights));
        self.backward_with(operands, &mut Gradients::Weights(gradients), batch);
    }

    /// As `backward`, with weights that may be frozen under an adapter.
    pub(crate) fn backward_with<W: Element>(
        &mut self,
        operands: Operands<'_, W>,
        gradients: &mut Gradients<'_>,
        batch: &Batch,
    ) {
        let Operands { weights, adapter } = operands;
        assert!(self.has_head_gradient, "backward: call losses_and_gradient before it, once");
        self.has_head_gradient = false;
        self.backward_final_norm(weights, gradients, batch);
        let (config, layout) = (&self.config, &self.layout);
        for index in (0..config.layers).rev() {
            let input = &self.inputs[index];
            let layer = &mut self.layers[if self.checkpoint_layers { 0 } else { index }];
            let (layout, rope) = (&layout.layers[index], self.positions.of_layer(config, index));
            let step = Step { config, index, layout, weights, adapter, batch, rope };
            if self.checkpoint_layers {
                layer.forward(step, input, None, &mut self.scratch);
            }
            layer.backward(step, gradients, input, &mut self.scratch);
        }
        if let Some(dtable) = gradients.of_weights(&layout.embedding) {
            multiply(&mut self.scratch.dx, config.architecture.embedding_scale);
            embedding_backward(dtable, &self.scratch.dx, &batch.ids, config.hidden_size);
        }
    }

    /// Sets `scratch.dx`: the gradient of the final norm's input, which is 0 in the rows that predict nothing.
    fn backward_final_norm<W: Element>(
        &mut self,
        weights: ModelWeights<'_, W>,
        gradients: &mut Gradients<'_>,
        batch: &Batch,
    ) {
        let (config, layout, c) = (&self.config, &self.layout, self.config.hidden_size);
        let count = batch.rows.len() * c;
        assert_eq!(self.dhidden.len(), count, "backward: the head's gradient belongs to another batch");
        let mut rows = vec![0.0; count];
        gather(&mut rows, &self.inputs[config.layers], &batch.rows, c);
        let mut drows = vec![0.0; count];
        let norm = norm_weights(weights.numbers(&layout.norm), config);
        let dnorm = gradients.of_weights(&layout.norm);
        rms_norm_backward(&mut drows, dnorm, &self.dhidden, &rows, &norm, config.rms_norm_eps);
        self.scratch.dx.fill(0.0);
        for (drow, row) in drows.chunks_exact(c).zip(&batch.rows) {
            self.scratch.dx[*row as usize * c..][..c].copy_from_slice(drow);
        }
    }

    fn resize(&mut self, tokens: usize) {
        let Self { config, inputs, layers, scratch, .. } = self;
        inputs.iter_mut().for_each(|input| input.resize(tokens * config.hidden_size, 0.0));
        layers.iter_mut().for_each(|layer| layer.resize(config, tokens));
        scratch.resize(config, tokens);
    }
}

/// Multiplies all numbers by a factor, which is 1 in most families.
fn multiply(values: &mut [f32], factor: f32) {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value *= factor);
    }
}

/// out (N, C) = the given rows of x (T, C).
fn gather(out: &mut [f32], x: &[f32], rows: &[u32], channels: usize) {
    for (out, row) in out.chunks_exact_mut(channels).zip(rows) {
        out.copy_from_slice(&x[*row as usize * channels..][..channels]);
    }
}
