//! `crate::model` on a card, operation for operation and name for name. What differs: a block's addition to the
//! residual stream is fused with the norm that follows it, the operands of products are rounded when they are made
//! and not when they are packed, and SwiGLU's answer is made again by its gradient.

mod activations;
mod head;
mod layer;
mod weights;

pub use head::TokenWeights;
pub use weights::Weights;

use super::batch::Lists;
use super::buffer::Buffer;
use super::card::Card;
use super::kernels::{EmbeddingBackward, EmbeddingForward, NormForward};
use super::plan::Sizes;
use crate::model::{Batch, Layout};
use activations::Activations;
use anyhow::{Result, ensure};
use kernels::{Element, RopeTable};
use layer::{Norm, Step};
use smollm::ModelConfig;
use std::sync::Arc;

/// A model's arithmetic and its buffers on a card; the weights are the caller's.
#[derive(Debug)]
pub struct Model<E> {
    card: Arc<Card>,
    config: ModelConfig,
    layout: Layout,
    checkpoint_layers: bool,
    /// Whether `backward` will be called.
    trains: bool,
    rope: Rope,
    lists: Lists,
    /// None only while larger ones are made.
    activations: Option<Activations<E>>,
    /// Whether the head's gradient is of the batch that was forwarded last.
    head_gradient: bool,
}

/// Cosines and sines of every position (P, D / 2).
#[derive(Debug)]
struct Rope {
    cos: Buffer<f32>,
    sin: Buffer<f32>,
    positions: usize,
}

/// The lengths of a batch, and what they make of buffers.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    tokens: usize,
    trained: usize,
    sizes: Sizes,
}

impl<E: Element> Model<E> {
    /// A model for sequences of up to `positions` tokens and batches of `tokens`, that grow when a larger one comes.
    ///
    /// # Errors
    /// When its buffers do not fit, or its heads have more numbers than the kernels take.
    pub fn new(
        card: Arc<Card>,
        config: &ModelConfig,
        positions: usize,
        checkpoint_layers: bool,
        trains: bool,
        tokens: usize,
    ) -> Result<Self> {
        ensure!(
            config.head_dim <= 128 && config.layers > 0,
            "the card's kernels take heads of up to 128 numbers, this model's have {}: give --device cpu",
            config.head_dim
        );
        Ok(Self {
            rope: Rope::new(&card, config, positions)?,
            lists: Lists::new(&card, tokens)?,
            activations: Some(Activations::new(&card, config, checkpoint_layers, trains, tokens)?),
            config: config.clone(),
            layout: Layout::new(config),
            checkpoint_layers,
            trains,
            head_gradient: false,
            card,
        })
    }

    /// Another base of the rotary angles, or more positions.
    ///
    /// # Errors
    /// When the table does not fit.
    pub fn set_rope(&mut self, theta: f32, positions: usize) -> Result<()> {
        self.config.rope_theta = theta;
        self.rope = Rope::new(&self.card, &self.config, positions)?;
        Ok(())
    }

    fn lengths(&self, batch: &Batch) -> Lengths {
        let tokens = batch.tokens();
        Lengths { tokens, trained: batch.targets.len(), sizes: Sizes::new(&self.config, tokens) }
    }

    fn reserve(&mut self, tokens: usize) -> Result<()> {
        ensure!(
            tokens.saturating_mul(2 * self.config.intermediate_size) <= 1 << 31,
            "{tokens} tokens at once are more than the card's kernels count: give a smaller --micro-batch-tokens"
        );
        if self.activations.as_ref().is_none_or(|activations| activations.capacity < tokens) {
            // The smaller ones go first; the driver gives their pages back when it is waited for.
            self.activations = None;
            self.card.wait()?;
            let Self { card, config, checkpoint_layers, trains, .. } = self;
            self.activations = Some(Activations::new(card, config, *checkpoint_layers, *trains, tokens)?);
        }
        Ok(())
    }

    /// Runs the layers over a batch and keeps what `head` and `backward` need.
    ///
    /// # Errors
    /// What the card says.
    ///
    /// # Panics
    /// If a sequence is longer than the positions.
    pub fn forward(&mut self, weights: &Weights, batch: &Batch) -> Result<()> {
        let last = batch.positions.iter().max().map_or(0, |last| *last as usize + 1);
        assert!(
            last <= self.rope.positions,
            "forward: {last} positions, the table has {}",
            self.rope.positions
        );
        self.reserve(batch.tokens())?;
        self.head_gradient = false;
        self.lists.put(&self.card, batch)?;
        let lengths = self.lengths(batch);
        let Self { card, config, layout, checkpoint_layers, rope, lists, activations, .. } = self;
        let Activations { inputs, layers, scratch, head, .. } = activations.as_mut().expect("reserved above");
        let (channels, epsilon) = (config.hidden_size as u32, config.rms_norm_eps);
        let stream = lengths.sizes.stream;
        let slot = |index: usize| if *checkpoint_layers { 0 } else { index };
        let table = weights.vector(&layout.embedding);
        let (x, ids) = (inputs[0].first_mut(stream), lists.ids.read());
        EmbeddingForward { x, table, ids, channels }.launch(card)?; // (T, C)
        for (index, layer_layout) in layout.layers.iter().enumerate() {
            let step = Step { card, config, layout: layer_layout, weights, lists, rope, lengths };
            let w = weights.vector(&layer_layout.attention_norm);
            let y = scratch.normed.first_mut(stream);
            if index == 0 {
                let x = inputs[0].first(stream);
                NormForward { y, sum: None, x, delta: None, w, rows: None, channels, epsilon }
                    .launch(card)?;
            } else {
                // The last layer's feed-forward is added here.
                let (sum, x) =
                    (inputs[index].first_mut(stream), layers[slot(index - 1)].middle.first(stream));
                let (sum, delta) = (Some(sum), Some(scratch.branch.first(stream)));
                NormForward { y, sum, x, delta, w, rows: None, channels, epsilon }.launch(card)?;
            }
            layers[slot(index)].forward(&step, &inputs[index], true, scratch)?;
        }
        // Of the last layer's answer only the rows that predict a trained token are used.
        NormForward {
            y: head.hidden.first_mut(lengths.trained * config.hidden_size),
            sum: Some(inputs[config.layers].first_mut(stream)),
            x: layers[slot(config.layers - 1)].middle.first(stream),
            delta: Some(scratch.branch.first(stream)),
            w: weights.vector(&layout.norm),
            rows: Some(lists.rows.read()),
            channels,
            epsilon,
        }
        .launch(card) // (N, C)
    }

    /// Adds the gradients of everything below the head to `gradients`.
    ///
    /// # Errors
    /// What the card says.
    ///
    /// # Panics
    /// If `head_gradient` was not called since `forward` on this batch.
    pub fn backward(&mut self, weights: &Weights, gradients: &mut Buffer<f32>, batch: &Batch) -> Result<()> {
        assert!(self.head_gradient, "backward: head_gradient goes before it, once");
        self.head_gradient = false;
        let lengths = self.lengths(batch);
        if lengths.trained == 0 {
            // All gradients are 0.
            return Ok(());
        }
        let Self { card, config, layout, checkpoint_layers, rope, lists, activations, .. } = self;
        let Activations { inputs, layers, scratch, head, .. } =
            activations.as_mut().expect("forward reserved them");
        let (stream, c) = (lengths.sizes.stream, config.hidden_size);
        // The final norm, on the rows that were used; all others have no gradient.
        card.zero(scratch.dx.first_mut(stream))?;
        if let Some(copy) = &mut scratch.dx_copy {
            card.zero(copy.first_mut(stream))?;
        }
        let norm = Norm {
            x: inputs[config.layers].first(stream),
            w: weights.vector(&layout.norm),
            dw: gradients.write().range(layout.norm.clone()),
            rows: Some(lists.rows.read()),
        };
        let dy = head.dhidden.first(lengths.trained * c);
        norm.backward(card, config, dy, &mut scratch.dx, &mut scratch.dx_copy, &mut scratch.partial)?;
        for (index, layer_layout) in layout.layers.iter().enumerate().rev() {
            let step = Step { card, config, layout: layer_layout, weights, lists, rope, lengths };
            let layer = &mut layers[if *checkpoint_layers { 0 } else { index }];
            if *checkpoint_layers {
                step.norm(&mut scratch.normed, inputs[index].first(stream), &layer_layout.attention_norm)?;
                layer.forward(&step, &inputs[index], false, scratch)?;
            }
            layer.backward(&step, gradients, &inputs[index], scratch)?;
        }
        EmbeddingBackward {
            dtable: gradients.write().range(layout.embedding.clone()),
            dx: scratch.dx.first(stream),
            ids: lists.ids.read(),
            order: lists.order.read(),
            segments: lists.segments.read(),
            channels: c as u32,
        }
        .launch(card)
    }
}

impl Rope {
    fn new(card: &Card, config: &ModelConfig, positions: usize) -> Result<Self> {
        let table = RopeTable::new(positions, config.head_dim, config.rope_theta);
        let what = "the rotary angles";
        Ok(Self {
            cos: card.copy_of(what, table.cosines())?,
            sin: card.copy_of(what, table.sines())?,
            positions,
        })
    }
}
