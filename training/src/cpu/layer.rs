//! One transformer layer forward and backward on the CPU: attention, then SwiGLU, each on a normed residual stream.

use super::linear::{AdapterPass, Gradients, Linear, LowRankScratch};
use crate::adapter::Product;
use crate::batch::Batch;
use crate::parameters::LayerLayout;
use checkpoint::ModelConfig;
use kernels::training::{
    Direction, attention_backward, attention_forward, rms_norm_backward, rms_norm_forward, rotate,
    swiglu_backward, swiglu_forward,
};
use kernels::{Accumulate, AttentionShape, Element, Matrix, RopeTable};
use std::ops::Range;

/// The activations of a layer that its backward pass needs.
#[derive(Debug, Default)]
pub(super) struct LayerActivations<E> {
    /// Queries, keys and values after the rotary embedding (T, (H + 2K) D).
    qkv: Vec<E>,
    /// The attention output before its projection (T, H D).
    attention_out: Vec<E>,
    /// Logarithms of the softmax denominators (H, T).
    log_sums: Vec<f32>,
    /// The residual stream between attention and feed-forward (T, C). Under an adapter all layers share one, and the
    /// backward pass computes it again: a small product, for a sixth of the memory.
    middle: Vec<f32>,
    /// Gate and up projections; in the backward pass their gradient takes this place (T, 2F).
    gate_up: Vec<E>,
}

/// Buffers that all layers share.
#[derive(Debug, Default)]
pub(super) struct Scratch<E> {
    /// (T, C)
    normed: Vec<E>,
    /// (T, F)
    gated: Vec<E>,
    /// (T, C)
    pub(super) dnormed: Vec<f32>,
    /// (T, F)
    dgated: Vec<E>,
    /// (T, H D)
    dattention_out: Vec<E>,
    /// (T, (H + 2K) D)
    dqkv: Vec<E>,
    /// Gradient of the residual stream (T, C).
    pub(super) dx: Vec<f32>,
    /// `middle` of the current layer, where layers do not keep it.
    middle: Vec<f32>,
    low_rank: LowRankScratch,
}

impl<E: Element> LayerActivations<E> {
    /// Makes room for this many tokens.
    pub(super) fn resize(&mut self, config: &ModelConfig, tokens: usize) {
        let widths = Widths::new(config);
        self.qkv.resize(tokens * widths.qkv, E::default());
        self.attention_out.resize(tokens * widths.attention_out, E::default());
        self.log_sums.resize(tokens * config.heads, 0.0);
        self.gate_up.resize(tokens * 2 * widths.feed_forward, E::default());
    }
}

impl<E: Element> Scratch<E> {
    /// Makes room for this many tokens.
    pub(super) fn resize(&mut self, config: &ModelConfig, tokens: usize) {
        let widths = Widths::new(config);
        self.normed.resize(tokens * widths.stream, E::default());
        self.gated.resize(tokens * widths.feed_forward, E::default());
        self.dnormed.resize(tokens * widths.stream, 0.0);
        self.dgated.resize(tokens * widths.feed_forward, E::default());
        self.dattention_out.resize(tokens * widths.attention_out, E::default());
        self.dqkv.resize(tokens * widths.qkv, E::default());
        self.dx.resize(tokens * widths.stream, 0.0);
    }
}

/// Elements of a token in each kind of buffer.
struct Widths {
    /// C
    stream: usize,
    /// F
    feed_forward: usize,
    /// H D
    attention_out: usize,
    /// (H + 2K) D
    qkv: usize,
}

impl Widths {
    fn new(config: &ModelConfig) -> Self {
        let attention_out = config.heads * config.head_dim;
        Self {
            stream: config.hidden_size,
            feed_forward: config.intermediate_size,
            attention_out,
            qkv: attention_out + 2 * config.kv_heads * config.head_dim,
        }
    }
}

/// What the passes of one layer read.
pub(super) struct Step<'a, W> {
    pub(super) config: &'a ModelConfig,
    /// The layer's index.
    pub(super) index: usize,
    pub(super) layout: &'a LayerLayout,
    pub(super) weights: &'a [W],
    pub(super) adapter: Option<AdapterPass<'a>>,
    pub(super) batch: &'a Batch,
    pub(super) rope: &'a RopeTable,
}

impl<W> Clone for Step<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Step<'_, W> {}

impl<'a, W: Element> Step<'a, W> {
    fn shape(&self) -> AttentionShape {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        AttentionShape { heads, kv_heads, head_dim }
    }

    fn norm(&self, range: &Range<usize>) -> Vec<f32> {
        self.weights[range.clone()].iter().map(|weight| weight.to_f32()).collect()
    }

    fn linear(&self, product: Product) -> Linear<'a, W> {
        let Widths { stream: c, feed_forward: f, attention_out: hd, qkv } = Widths::new(self.config);
        let (range, outputs, inputs) = match product {
            Product::QueryKeyValue => (&self.layout.qkv, qkv, c),
            Product::Output => (&self.layout.out, c, hd),
            Product::GateUp => (&self.layout.gate_up, 2 * f, c),
            Product::Down => (&self.layout.down, c, f),
        };
        Linear {
            weight: Matrix::new(&self.weights[range.clone()], outputs, inputs),
            outputs,
            inputs,
            range,
            low_rank: self.adapter.and_then(|pass| pass.of_product(self.index, product)),
        }
    }

    /// Rotates queries and keys in place.
    fn rotate<E: Element>(&self, qkv: &mut [E], direction: Direction) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape();
        let row = (heads + 2 * kv_heads) * head_dim;
        rotate(qkv, row, heads + kv_heads, &self.batch.positions, self.rope, direction);
    }
}

impl<E: Element> LayerActivations<E> {
    /// Computes the layer from x (T, C). Its output goes to `next`, which a recomputation does not need.
    pub(super) fn forward<W: Element>(
        &mut self,
        step: Step<'_, W>,
        x: &[f32],
        next: Option<&mut Vec<f32>>,
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, batch, .. } = step;
        let epsilon = config.rms_norm_eps;
        let Scratch { normed, gated, low_rank, middle, .. } = scratch;

        rms_norm_forward(normed, x, &step.norm(&layout.attention_norm), epsilon); // (T, C)
        let linear = step.linear(Product::QueryKeyValue);
        linear.forward(&mut self.qkv, normed, Accumulate::Replace, low_rank); // (T, (H + 2K) D)
        step.rotate(&mut self.qkv, Direction::Forward);
        let (out, log_sums) = (&mut self.attention_out, &mut self.log_sums);
        attention_forward(out, log_sums, &self.qkv, step.shape(), &batch.starts); // (T, H D)
        if step.adapter.is_some() {
            self.middle = std::mem::take(middle);
        }
        self.compute_middle(step, x, low_rank);

        rms_norm_forward(normed, &self.middle, &step.norm(&layout.feed_forward_norm), epsilon); // (T, C)
        let linear = step.linear(Product::GateUp);
        linear.forward(&mut self.gate_up, normed, Accumulate::Replace, low_rank); // (T, 2F)
        if let Some(next) = next {
            swiglu_forward(gated, &self.gate_up, config.intermediate_size); // (T, F)
            next.copy_from_slice(&self.middle);
            step.linear(Product::Down).forward(next, gated, Accumulate::Add, low_rank); // (T, C)
        }
        if step.adapter.is_some() {
            *middle = std::mem::take(&mut self.middle);
        }
    }

    /// The residual stream after attention: x (T, C) and what attention adds.
    fn compute_middle<W: Element>(&mut self, step: Step<'_, W>, x: &[f32], low_rank: &mut LowRankScratch) {
        self.middle.resize(x.len(), 0.0);
        self.middle.copy_from_slice(x);
        let linear = step.linear(Product::Output);
        linear.forward(&mut self.middle, &self.attention_out, Accumulate::Add, low_rank); // (T, C)
    }

    /// Turns `scratch.dx`, the gradient of the layer's output, into that of its input x (T, C).
    pub(super) fn backward<W: Element>(
        &mut self,
        step: Step<'_, W>,
        gradients: &mut Gradients<'_>,
        x: &[f32],
        scratch: &mut Scratch<E>,
    ) {
        if step.adapter.is_some() {
            self.middle = std::mem::take(&mut scratch.middle);
            self.compute_middle(step, x, &mut scratch.low_rank);
        }
        self.backward_feed_forward(step, gradients, scratch);
        if step.adapter.is_some() {
            scratch.middle = std::mem::take(&mut self.middle);
        }
        self.backward_attention(step, gradients, x, scratch);
    }

    fn backward_feed_forward<W: Element>(
        &mut self,
        step: Step<'_, W>,
        gradients: &mut Gradients<'_>,
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, .. } = step;
        let (f, epsilon) = (config.intermediate_size, config.rms_norm_eps);
        let Scratch { normed, gated, dnormed, dgated, dx, low_rank, .. } = scratch;

        swiglu_forward(gated, &self.gate_up, f); // (T, F)
        step.linear(Product::Down).backward(dgated, dx, gated, gradients, low_rank); // (T, F)
        swiglu_backward(&mut self.gate_up, dgated, f); // (T, 2F)
        let norm = step.norm(&layout.feed_forward_norm);
        rms_norm_forward(normed, &self.middle, &norm, epsilon); // (T, C)
        step.linear(Product::GateUp).backward(dnormed, &self.gate_up, normed, gradients, low_rank); // (T, C)
        let dnorm = gradients.of_weights(&layout.feed_forward_norm);
        rms_norm_backward(dx, dnorm, dnormed, &self.middle, &norm, epsilon);
    }

    fn backward_attention<W: Element>(
        &mut self,
        step: Step<'_, W>,
        gradients: &mut Gradients<'_>,
        x: &[f32],
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, batch, .. } = step;
        let Scratch { normed, dnormed, dattention_out, dqkv, dx, low_rank, .. } = scratch;

        let linear = step.linear(Product::Output);
        linear.backward(dattention_out, dx, &self.attention_out, gradients, low_rank); // (T, H D)
        let (out, log_sums) = (&self.attention_out, &self.log_sums);
        attention_backward(dqkv, dattention_out, out, log_sums, &self.qkv, step.shape(), &batch.starts);
        step.rotate(dqkv, Direction::Backward); // (T, (H + 2K) D)
        let norm = step.norm(&layout.attention_norm);
        rms_norm_forward(normed, x, &norm, config.rms_norm_eps); // (T, C)
        step.linear(Product::QueryKeyValue).backward(dnormed, dqkv, normed, gradients, low_rank); // (T, C)
        let dnorm = gradients.of_weights(&layout.attention_norm);
        rms_norm_backward(dx, dnorm, dnormed, x, &norm, config.rms_norm_eps);
    }
}
