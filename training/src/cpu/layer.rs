//! One transformer layer forward and backward on the CPU: attention, then a gated feed-forward network, each on a normed
//! residual stream. What a family has beyond a plain Llama (biases, norms of heads and of branches, windows, another
//! gate) is where its layout or its architecture says so; a plain Llama runs none of it.

mod attention;
mod feed_forward;

use super::linear::{AdapterPass, Gradients, Linear, LowRankScratch};
use crate::adapter::Product;
use crate::base::ModelWeights;
use crate::batch::Batch;
use crate::parameters::LayerLayout;
use checkpoint::ModelConfig;
use kernels::training::{Direction, rms_norm_backward, rotate, round};
use kernels::{AttentionShape, Element, RopeTable};
use std::ops::Range;

/// The activations of a layer that its backward pass needs.
#[derive(Debug, Default)]
pub(super) struct LayerActivations<E> {
    /// Queries, keys and values after the rotary embedding (T, (H + 2K) D).
    qkv: Vec<E>,
    /// Queries and keys before their norms (T, (H + K) D); empty in families without them.
    unnormed: Vec<E>,
    /// The attention output before its projection (T, H D).
    attention_out: Vec<E>,
    /// Logarithms of the softmax denominators (H, T).
    log_sums: Vec<f32>,
    /// The residual stream between attention and feed-forward (T, C). Under an adapter all layers share one, and the
    /// backward pass computes it again: a small product, for a sixth of the memory.
    middle: Vec<f32>,
    /// Gate and up projections; in the backward pass their gradient takes this place (T, 2F).
    gate_up: Vec<E>,
    /// What attention adds, before its norm (T, C); empty in families without one.
    attention_branch: Vec<E>,
    /// What the feed-forward network adds, before its norm (T, C); empty in families without one.
    feed_forward_branch: Vec<E>,
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
    /// A product's result before it is rounded to what is kept: (T, (H + 2K) D), (T, 2F) or (T, C). Unused in f32.
    wide: Vec<f32>,
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
        if config.architecture.has_query_key_norms {
            self.unnormed.resize(tokens * widths.queries_keys, E::default());
        }
        if config.architecture.has_post_norms {
            self.attention_branch.resize(tokens * widths.stream, E::default());
            self.feed_forward_branch.resize(tokens * widths.stream, E::default());
        }
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
    /// (H + K) D
    queries_keys: usize,
    /// (H + 2K) D
    qkv: usize,
}

impl Widths {
    fn new(config: &ModelConfig) -> Self {
        let (attention_out, keys) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        Self {
            stream: config.hidden_size,
            feed_forward: config.intermediate_size,
            attention_out,
            queries_keys: attention_out + keys,
            qkv: attention_out + 2 * keys,
        }
    }
}

/// What the passes of one layer read.
pub(super) struct Step<'a, W> {
    pub(super) config: &'a ModelConfig,
    /// The layer's index.
    pub(super) index: usize,
    pub(super) layout: &'a LayerLayout,
    pub(super) weights: ModelWeights<'a, W>,
    pub(super) adapter: Option<AdapterPass<'a>>,
    pub(super) batch: &'a Batch,
    /// None in layers without rotary positions.
    pub(super) rope: Option<&'a RopeTable>,
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

    /// The number of positions that a token attends to.
    fn window(&self) -> usize {
        self.config.architecture.window_of(self.index)
    }

    fn norm(&self, range: &Range<usize>) -> Vec<f32> {
        norm_weights(self.weights.numbers(range), self.config)
    }

    fn linear(&self, product: Product) -> Linear<'a, W> {
        let Widths { stream: c, feed_forward: f, attention_out: hd, qkv, .. } = Widths::new(self.config);
        let (range, outputs, inputs) = match product {
            Product::QueryKeyValue => (&self.layout.qkv, qkv, c),
            Product::Output => (&self.layout.out, c, hd),
            Product::GateUp => (&self.layout.gate_up, 2 * f, c),
            Product::Down => (&self.layout.down, c, f),
        };
        Linear {
            weight: self.weights.matrix(range, outputs),
            outputs,
            inputs,
            range,
            low_rank: self.adapter.and_then(|pass| pass.of_product(self.index, product)),
        }
    }

    /// Rotates queries and keys in place.
    fn rotate<E: Element>(&self, qkv: &mut [E], direction: Direction) {
        let Some(rope) = self.rope else { return };
        let AttentionShape { heads, kv_heads, head_dim } = self.shape();
        let row = (heads + 2 * kv_heads) * head_dim;
        rotate(qkv, row, heads + kv_heads, &self.batch.positions, rope, direction);
    }
}

/// The weights of a norm in f32, with what the family adds to them.
pub(super) fn norm_weights<W: Element>(weights: &[W], config: &ModelConfig) -> Vec<f32> {
    let offset = config.architecture.norm_offset;
    weights.iter().map(|weight| weight.to_f32()).map(|w| if offset == 0.0 { w } else { w + offset }).collect()
}

/// Where a product that is kept as `kept` is computed in f32: there, if its type is f32, otherwise in `wide`.
fn wide_of<'a, E: Element>(kept: &'a mut [E], wide: &'a mut Vec<f32>) -> &'a mut [f32] {
    let length = kept.len();
    E::as_f32_mut(kept).unwrap_or_else(|| {
        if wide.len() < length {
            wide.resize(length, 0.0);
        }
        &mut wide[..length]
    })
}

/// Rounds what [`wide_of`] returned to what is kept.
fn keep<E: Element>(kept: &mut [E], wide: &[f32]) {
    if E::as_f32(kept).is_none() {
        let length = kept.len();
        round(kept, &wide[..length]);
    }
}

/// The gradient of what a branch adds, before its norm if it has one (its input and the range of its weights), given that of
/// the residual stream (T, C).
fn branch_gradient<'a, E: Element, W: Element>(
    step: Step<'_, W>,
    gradients: &mut Gradients<'_>,
    post_norm: Option<(&[E], &Range<usize>)>,
    dx: &'a [f32],
    dbranch: &'a mut [f32],
) -> &'a [f32] {
    let Some((branch, norm)) = post_norm else { return dx };
    dbranch.fill(0.0);
    let weights = step.norm(norm);
    rms_norm_backward(dbranch, gradients.of_weights(norm), dx, branch, &weights, step.config.rms_norm_eps);
    dbranch
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
        self.forward_attention(step, x, scratch);
        if step.adapter.is_some() {
            self.middle = std::mem::take(&mut scratch.middle);
        }
        self.compute_middle(step, x, scratch);
        self.forward_feed_forward(step, next, scratch);
        if step.adapter.is_some() {
            scratch.middle = std::mem::take(&mut self.middle);
        }
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
            self.compute_middle(step, x, scratch);
        }
        self.backward_feed_forward(step, gradients, scratch);
        if step.adapter.is_some() {
            scratch.middle = std::mem::take(&mut self.middle);
        }
        self.backward_attention(step, gradients, x, scratch);
    }
}
