//! One transformer layer forward and backward on the CPU: attention, then SwiGLU, each on a normed residual stream.

use crate::batch::Batch;
use crate::parameters::LayerLayout;
use checkpoint::ModelConfig;
use kernels::training::{
    Direction, attention_backward, attention_forward, rms_norm_backward, rms_norm_forward, rotate,
    swiglu_backward, swiglu_forward,
};
use kernels::{Accumulate, AttentionShape, Element, Matrix, RopeTable, gemm};
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
    /// The residual stream between attention and feed-forward (T, C).
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
}

impl<E: Element> LayerActivations<E> {
    /// Makes room for this many tokens.
    pub(super) fn resize(&mut self, config: &ModelConfig, tokens: usize) {
        let widths = Widths::new(config);
        self.qkv.resize(tokens * widths.qkv, E::default());
        self.attention_out.resize(tokens * widths.attention_out, E::default());
        self.log_sums.resize(tokens * config.heads, 0.0);
        self.middle.resize(tokens * widths.stream, 0.0);
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
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) layout: &'a LayerLayout,
    pub(super) weights: &'a [f32],
    pub(super) batch: &'a Batch,
    pub(super) rope: &'a RopeTable,
}

impl<'a> Step<'a> {
    fn shape(&self) -> AttentionShape {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        AttentionShape { heads, kv_heads, head_dim }
    }

    fn norm(&self, range: &Range<usize>) -> &'a [f32] {
        &self.weights[range.clone()]
    }

    fn matrix(&self, range: &Range<usize>, rows: usize, columns: usize) -> Matrix<'a, f32> {
        Matrix::new(&self.weights[range.clone()], rows, columns)
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
    pub(super) fn forward(
        &mut self,
        step: Step<'_>,
        x: &[f32],
        next: Option<&mut Vec<f32>>,
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, batch, .. } = step;
        let (t, epsilon) = (batch.tokens(), config.rms_norm_eps);
        let Widths { stream: c, feed_forward: f, attention_out: hd, qkv } = Widths::new(config);
        let weight = |range, rows, columns| step.matrix(range, rows, columns).transposed();

        rms_norm_forward(&mut scratch.normed, x, step.norm(&layout.attention_norm), epsilon); // (T, C)
        let normed = Matrix::new(&scratch.normed, t, c);
        gemm::<E, _, _, _>(&mut self.qkv, normed, weight(&layout.qkv, qkv, c), Accumulate::Replace); // (T, (H + 2K) D)
        step.rotate(&mut self.qkv, Direction::Forward);
        let (out, log_sums) = (&mut self.attention_out, &mut self.log_sums);
        attention_forward(out, log_sums, &self.qkv, step.shape(), &batch.starts); // (T, H D)
        self.middle.copy_from_slice(x);
        let attention_out = Matrix::new(&self.attention_out, t, hd);
        gemm::<E, _, _, _>(&mut self.middle, attention_out, weight(&layout.out, c, hd), Accumulate::Add); // (T, C)

        let norm = step.norm(&layout.feed_forward_norm);
        rms_norm_forward(&mut scratch.normed, &self.middle, norm, epsilon); // (T, C)
        let normed = Matrix::new(&scratch.normed, t, c);
        gemm::<E, _, _, _>(&mut self.gate_up, normed, weight(&layout.gate_up, 2 * f, c), Accumulate::Replace); // (T, 2F)
        let Some(next) = next else { return };
        swiglu_forward(&mut scratch.gated, &self.gate_up, f); // (T, F)
        next.copy_from_slice(&self.middle);
        let gated = Matrix::new(&scratch.gated, t, f);
        gemm::<E, _, _, _>(next, gated, weight(&layout.down, c, f), Accumulate::Add); // (T, C)
    }

    /// Turns `scratch.dx`, the gradient of the layer's output, into that of its input x (T, C).
    pub(super) fn backward(
        &mut self,
        step: Step<'_>,
        gradients: &mut [f32],
        x: &[f32],
        scratch: &mut Scratch<E>,
    ) {
        self.backward_feed_forward(step, gradients, scratch);
        self.backward_attention(step, gradients, x, scratch);
    }

    fn backward_feed_forward(&mut self, step: Step<'_>, gradients: &mut [f32], scratch: &mut Scratch<E>) {
        let Step { config, layout, batch, .. } = step;
        let (t, epsilon) = (batch.tokens(), config.rms_norm_eps);
        let Widths { stream: c, feed_forward: f, .. } = Widths::new(config);
        let Scratch { normed, gated, dnormed, dgated, dx, .. } = scratch;

        swiglu_forward(gated, &self.gate_up, f); // (T, F)
        let dout = Matrix::new(dx.as_slice(), t, c);
        let ddown = &mut gradients[layout.down.clone()];
        gemm::<E, _, _, _>(ddown, dout.transposed(), Matrix::new(gated, t, f), Accumulate::Add); // (C, F)
        gemm::<E, _, _, _>(dgated, dout, step.matrix(&layout.down, c, f), Accumulate::Replace); // (T, F)
        swiglu_backward(&mut self.gate_up, dgated, f); // (T, 2F)
        let norm = step.norm(&layout.feed_forward_norm);
        rms_norm_forward(normed, &self.middle, norm, epsilon); // (T, C)
        let dgate_up = Matrix::new(&self.gate_up, t, 2 * f);
        let dweight = &mut gradients[layout.gate_up.clone()];
        gemm::<E, _, _, _>(dweight, dgate_up.transposed(), Matrix::new(normed, t, c), Accumulate::Add); // (2F, C)
        gemm::<E, _, _, _>(dnormed, dgate_up, step.matrix(&layout.gate_up, 2 * f, c), Accumulate::Replace); // (T, C)
        let dnorm = &mut gradients[layout.feed_forward_norm.clone()];
        rms_norm_backward(dx, dnorm, dnormed, &self.middle, norm, epsilon);
    }

    fn backward_attention(
        &mut self,
        step: Step<'_>,
        gradients: &mut [f32],
        x: &[f32],
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, batch, .. } = step;
        let (t, epsilon) = (batch.tokens(), config.rms_norm_eps);
        let Widths { stream: c, attention_out: hd, qkv, .. } = Widths::new(config);
        let Scratch { normed, dnormed, dattention_out, dqkv, dx, .. } = scratch;

        let dout = Matrix::new(dx.as_slice(), t, c);
        let attention_out = Matrix::new(&self.attention_out, t, hd);
        let dweight = &mut gradients[layout.out.clone()];
        gemm::<E, _, _, _>(dweight, dout.transposed(), attention_out, Accumulate::Add); // (C, H D)
        gemm::<E, _, _, _>(dattention_out, dout, step.matrix(&layout.out, c, hd), Accumulate::Replace); // (T, H D)
        let (out, log_sums) = (&self.attention_out, &self.log_sums);
        attention_backward(dqkv, dattention_out, out, log_sums, &self.qkv, step.shape(), &batch.starts);
        step.rotate(dqkv, Direction::Backward); // (T, (H + 2K) D)
        let norm = step.norm(&layout.attention_norm);
        rms_norm_forward(normed, x, norm, epsilon); // (T, C)
        let dqkv = Matrix::new(dqkv.as_slice(), t, qkv);
        let dweight = &mut gradients[layout.qkv.clone()];
        gemm::<E, _, _, _>(dweight, dqkv.transposed(), Matrix::new(normed, t, c), Accumulate::Add); // ((H + 2K) D, C)
        gemm::<E, _, _, _>(dnormed, dqkv, step.matrix(&layout.qkv, qkv, c), Accumulate::Replace); // (T, C)
        let dnorm = &mut gradients[layout.attention_norm.clone()];
        rms_norm_backward(dx, dnorm, dnormed, x, norm, epsilon);
    }
}
