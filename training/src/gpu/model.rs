//! `cpu::Model` on a GPU, operation for operation and name for name. Four things differ: a block's addition to the
//! residual stream is fused with the norm after it; operands of products are rounded when they are written, not when
//! they are packed; the gradient of SwiGLU computes its output again; and outputs of norms are computed again, too, where
//! there is no room to keep them.

mod activations;
mod head;
mod layer;
mod norm;
mod rope;
mod weights;

pub(super) use activations::Passes;
pub(super) use head::TokenWeights;
pub(super) use weights::Weights;

use super::batch::Lists;
use super::buffer::Buffer;
use super::device::Gpu;
use super::kernels::{EmbeddingBackward, EmbeddingForward, NormForward};
use crate::batch::Batch;
use crate::memory::Sizes;
use crate::parameters::ModelLayout;
use crate::settings::Kept;
use activations::Activations;
use anyhow::{Result, ensure};
use checkpoint::ModelConfig;
use head::Head;
use kernels::Element;
use kernels::training::TokenLoss;
use layer::{Lengths, Step};
use norm::Norm;
use rope::Rope;
use std::sync::Arc;

/// A model's arithmetic and its buffers on a GPU; the weights are the caller's.
pub(super) struct Model<E> {
    gpu: Arc<Gpu>,
    config: ModelConfig,
    layout: ModelLayout,
    passes: Passes,
    rope: Rope,
    lists: Lists,
    /// None only while larger ones are allocated.
    activations: Option<Activations<E>>,
    /// Whether the head's gradient belongs to the batch of the last `forward`.
    has_head_gradient: bool,
}

impl<E: Element> Model<E> {
    /// Returns a model for sequences of up to `positions` tokens and batches of `tokens`. The buffers grow when a larger
    /// batch comes.
    ///
    /// # Errors
    /// When its buffers do not fit, or its head dimension is larger than the kernels support.
    pub(super) fn new(
        gpu: Arc<Gpu>,
        config: &ModelConfig,
        positions: usize,
        passes: Passes,
        tokens: usize,
    ) -> Result<Self> {
        ensure!(
            config.head_dim <= 128 && config.layers > 0,
            "the GPU kernels support head dimensions up to 128, but this model's is {}; give `--device cpu`",
            config.head_dim
        );
        Ok(Self {
            rope: Rope::new(&gpu, config, positions)?,
            lists: Lists::new(&gpu, tokens)?,
            activations: Some(Activations::new(&gpu, config, passes, tokens)?),
            config: config.clone(),
            layout: ModelLayout::new(config),
            passes,
            has_head_gradient: false,
            gpu,
        })
    }

    /// Sets the base of the rotary position embedding, and the longest sequence.
    ///
    /// # Errors
    /// When the tables do not fit.
    pub(super) fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
        self.config.rope_theta = theta;
        self.rope = Rope::new(&self.gpu, &self.config, positions)?;
        Ok(())
    }

    fn lengths(&self, batch: &Batch) -> Lengths {
        let tokens = batch.tokens();
        Lengths { tokens, trained: batch.targets.len(), sizes: Sizes::new(&self.config, tokens) }
    }

    fn reserve(&mut self, tokens: usize) -> Result<()> {
        ensure!(
            tokens.saturating_mul(2 * self.config.intermediate_size) < 1 << 31,
            "a micro-batch of {tokens} tokens exceeds the 32-bit counts of the GPU kernels; give a smaller `--micro-batch-tokens`"
        );
        if self.activations.as_ref().is_none_or(|activations| activations.capacity < tokens) {
            // The smaller ones are freed first; the driver returns their pages when it is waited for.
            self.activations = None;
            self.gpu.wait()?;
            self.activations = Some(Activations::new(&self.gpu, &self.config, self.passes, tokens)?);
        }
        Ok(())
    }

    /// Runs the layers over a batch and keeps what the head and `backward` need.
    ///
    /// # Errors
    /// The driver's, and when an id has no row in the embedding: a kernel would read and change what is behind it.
    ///
    /// # Panics
    /// If a sequence is longer than the positions.
    pub(super) fn forward(&mut self, weights: &Weights, batch: &Batch) -> Result<()> {
        let largest = batch.ids.iter().chain(&batch.targets).max().copied().unwrap_or(0);
        ensure!(
            (largest as usize) < self.config.vocab_size,
            "the rows contain token id {largest}, but the model's vocabulary has {} tokens; use the model's own tokenizer, or tokenize the rows again",
            self.config.vocab_size
        );
        let positions = batch.positions.iter().max().map_or(0, |last| *last as usize + 1);
        assert!(
            positions <= self.rope.positions,
            "forward: {positions} positions, the table has {}",
            self.rope.positions
        );
        self.reserve(batch.tokens())?;
        self.has_head_gradient = false;
        self.lists.upload(&self.gpu, batch)?;
        let lengths = self.lengths(batch);
        self.forward_layers(weights, lengths)?;
        self.forward_final_norm(weights, lengths)
    }

    fn forward_layers(&mut self, weights: &Weights, lengths: Lengths) -> Result<()> {
        let Self { gpu, config, layout, passes, rope, lists, activations, .. } = self;
        let Activations { inputs, layers, norms, scratch, .. } =
            activations.as_mut().expect("forward reserved them");
        let (channels, epsilon) = (config.hidden_size as u32, config.rms_norm_eps);
        let stream = lengths.sizes.stream;
        let table = weights.vector(&layout.embedding);
        let (x, ids) = (inputs[0].first_mut(stream), lists.ids.read());
        EmbeddingForward { x, table, ids, channels }.launch(gpu)?; // (T, C)
        for (index, layer_layout) in layout.layers.iter().enumerate() {
            let step = Step { gpu, config, layout: layer_layout, weights, lists, rope, lengths };
            let w = weights.vector(&layer_layout.attention_norm);
            let norms = &mut norms[passes.norm_slot(index)];
            let y = norms.attention.first_mut(stream);
            if index == 0 {
                let x = inputs[0].first(stream);
                NormForward { y, sum: None, x, delta: None, w, rows: None, channels, epsilon }.launch(gpu)?;
            } else {
                // Here the feed-forward output of the layer before is added.
                let (sum, x) =
                    (inputs[index].first_mut(stream), layers[passes.slot(index - 1)].middle.first(stream));
                let (sum, delta) = (Some(sum), Some(scratch.branch.first(stream)));
                NormForward { y, sum, x, delta, w, rows: None, channels, epsilon }.launch(gpu)?;
            }
            layers[passes.slot(index)].forward(&step, &inputs[index], true, norms, scratch)?;
        }
        Ok(())
    }

    /// Norms the rows of the last layer's output that predict a trained token; no others are used.
    fn forward_final_norm(&mut self, weights: &Weights, lengths: Lengths) -> Result<()> {
        let Self { gpu, config, layout, passes, lists, activations, .. } = self;
        let Activations { inputs, layers, scratch, head, .. } =
            activations.as_mut().expect("forward reserved them");
        let (stream, last) = (lengths.sizes.stream, config.layers - 1);
        NormForward {
            y: head.hidden.first_mut(lengths.trained * config.hidden_size),
            sum: Some(inputs[config.layers].first_mut(stream)),
            x: layers[passes.slot(last)].middle.first(stream),
            delta: Some(scratch.branch.first(stream)),
            w: weights.vector(&layout.norm),
            rows: Some(lists.rows.read()),
            channels: config.hidden_size as u32,
            epsilon: config.rms_norm_eps,
        }
        .launch(gpu) // (N, C)
    }

    fn head(&mut self) -> (head::Context<'_>, &mut Head<E>) {
        let Self { gpu, config, layout, lists, activations, .. } = self;
        let head = &mut activations.as_mut().expect("forward reserved them").head;
        (head::Context { gpu, config, layout, targets: lists.targets.read() }, head)
    }

    /// Returns the log-probabilities of the batch's targets (N).
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn losses(&mut self, weights: &Weights) -> Result<Vec<TokenLoss>> {
        let (context, head) = self.head();
        head.run(context, weights, None)?;
        head.results(context)
    }

    /// Computes the gradient of -Σ weight · log-probability: the head's is added to `gradients`, that of the layers'
    /// output is kept for `backward`. `results` returns the log-probabilities.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If the number of weights is not that of the tokens.
    pub(super) fn head_gradient(
        &mut self,
        weights: &Weights,
        gradients: &mut Buffer<f32>,
        token_weights: TokenWeights<'_>,
    ) -> Result<()> {
        let (context, head) = self.head();
        head.set_token_weights(context, token_weights)?;
        head.run(context, weights, Some(gradients))?;
        self.has_head_gradient = true;
        Ok(())
    }

    /// Returns what the head computed last (N). Waits for all queued work.
    ///
    /// # Errors
    /// The driver's.
    pub(super) fn results(&mut self) -> Result<Vec<TokenLoss>> {
        let (context, head) = self.head();
        head.results(context)
    }

    /// Adds the gradients of everything below the head to `gradients`.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If `head_gradient` was not called since `forward` on this batch.
    pub(super) fn backward(
        &mut self,
        weights: &Weights,
        gradients: &mut Buffer<f32>,
        batch: &Batch,
    ) -> Result<()> {
        assert!(self.has_head_gradient, "backward: call head_gradient before it, once");
        self.has_head_gradient = false;
        let lengths = self.lengths(batch);
        if lengths.trained == 0 {
            // All gradients are 0.
            return Ok(());
        }
        self.lists.upload_order(&self.gpu, batch)?;
        self.backward_final_norm(weights, gradients, lengths)?;
        let Self { gpu, config, layout, passes, rope, lists, activations, .. } = self;
        let Activations { inputs, layers, norms, scratch, .. } =
            activations.as_mut().expect("forward reserved them");
        let stream = lengths.sizes.stream;
        for (index, layer_layout) in layout.layers.iter().enumerate().rev() {
            let step = Step { gpu, config, layout: layer_layout, weights, lists, rope, lengths };
            let (layer, norms) = (&mut layers[passes.slot(index)], &mut norms[passes.norm_slot(index)]);
            if passes.kept != Kept::LayersAndNorms {
                step.norm(&mut norms.attention, inputs[index].first(stream), &layer_layout.attention_norm)?;
            }
            match passes.kept {
                Kept::Inputs => layer.forward(&step, &inputs[index], false, norms, scratch)?,
                Kept::Layers => {
                    let middle = layer.middle.first(stream);
                    step.norm(&mut norms.feed_forward, middle, &layer_layout.feed_forward_norm)?;
                }
                Kept::LayersAndNorms => {}
            }
            layer.backward(&step, gradients, &inputs[index], norms, scratch)?;
        }
        EmbeddingBackward {
            dtable: gradients.write().range(layout.embedding.clone()),
            dx: scratch.dx.first(stream),
            ids: lists.ids.read(),
            order: lists.order.read(),
            segments: lists.segments.read(),
            channels: config.hidden_size as u32,
        }
        .launch(gpu)
    }

    /// Sets `scratch.dx`: the gradient of the final norm's input, which is 0 in the rows that predict nothing.
    fn backward_final_norm(
        &mut self,
        weights: &Weights,
        gradients: &mut Buffer<f32>,
        lengths: Lengths,
    ) -> Result<()> {
        let Self { gpu, config, layout, lists, activations, .. } = self;
        let Activations { inputs, scratch, head, .. } = activations.as_mut().expect("forward reserved them");
        let (stream, c) = (lengths.sizes.stream, config.hidden_size);
        gpu.zero(scratch.dx.first_mut(stream))?;
        if let Some(copy) = &mut scratch.dx_copy {
            gpu.zero(copy.first_mut(stream))?;
        }
        let norm = Norm {
            x: inputs[config.layers].first(stream),
            w: weights.vector(&layout.norm),
            dw: gradients.write().range(layout.norm.clone()),
            rows: Some(lists.rows.read()),
        };
        let dy = head.dhidden.first(lengths.trained * c);
        norm.backward(gpu, config, dy, &mut scratch.dx, &mut scratch.dx_copy, &mut scratch.partial)
    }
}
