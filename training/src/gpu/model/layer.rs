//! One layer forward and backward on a GPU, in the order of `cpu::layer`.

use super::activations::{LayerActivations, Norms, Scratch};
use super::norm::Norm;
use super::rope::Rope;
use super::weights::Weights;
use crate::gpu::attention::{self, Angles, BackwardScratch, Saved, Shape};
use crate::gpu::batch::Lists;
use crate::gpu::buffer::{Buffer, In, Out};
use crate::gpu::device::Gpu;
use crate::gpu::kernels::{NormForward, Rotate, SwigluBackward, SwigluForward};
use crate::gpu::matrix::Matrix;
use crate::memory::Sizes;
use crate::parameters::LayerLayout;
use anyhow::Result;
use checkpoint::ModelConfig;
use kernels::{Accumulate, AttentionShape, Element};
use std::ops::Range;

/// The lengths of a batch, and the sizes of its buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// T
    pub(super) tokens: usize,
    /// N
    pub(super) trained: usize,
    pub(super) sizes: Sizes,
}

/// What the passes of one layer read.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) config: &'a ModelConfig,
    pub(super) layout: &'a LayerLayout,
    pub(super) weights: &'a Weights,
    pub(super) lists: &'a Lists,
    pub(super) rope: &'a Rope,
    pub(super) lengths: Lengths,
}

impl Step<'_> {
    pub(super) fn shape(&self) -> Shape {
        let ModelConfig { heads, kv_heads, head_dim, .. } = *self.config;
        Shape::new(self.lengths.tokens, AttentionShape { heads, kv_heads, head_dim })
    }

    /// normed = the norm of x.
    pub(super) fn norm<E: Element>(
        &self,
        normed: &mut Buffer<E>,
        x: In<'_, f32>,
        w: &Range<usize>,
    ) -> Result<()> {
        let (channels, epsilon) = (self.config.hidden_size as u32, self.config.rms_norm_eps);
        let (y, w) = (normed.first_mut(x.len()), self.weights.vector(w));
        NormForward { y, sum: None, x, delta: None, w, rows: None, channels, epsilon }.launch(self.gpu)
    }

    fn angles(&self) -> Angles<'_> {
        let (cos, sin) = (self.rope.cos.read(), self.rope.sin.read());
        Angles { positions: self.lists.positions.read(), cos, sin }
    }

    /// Rotates queries and keys in place.
    pub(super) fn rotate<E: Element>(&self, x: Out<'_, E>) -> Result<()> {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape();
        let (row, heads) = ((heads + 2 * kv_heads) * head_dim, heads + kv_heads);
        let Angles { positions, cos, sin } = self.angles();
        Rotate { x, positions, cos, sin, row, heads, head_dim, sign: 1.0 }.launch(self.gpu)
    }

    /// Adds to a weight's gradient.
    pub(super) fn weight_gradient<E: Element>(
        &self,
        gradients: &mut Buffer<f32>,
        range: &Range<usize>,
        dout: Matrix<'_, E>,
        input: Matrix<'_, E>,
    ) -> Result<()> {
        self.gpu.product(gradients.write().range(range.clone()), dout.transposed(), input, Accumulate::Add)
    }
}

/// Returns the gradient of the residual stream as products read it (T, C): dx, or its rounded copy.
pub(super) fn dout<'a, E: Element>(
    dx: &'a Buffer<f32>,
    dx_copy: &'a Option<Buffer<E>>,
    tokens: usize,
    channels: usize,
) -> Matrix<'a, E> {
    let elements = match dx_copy {
        Some(copy) => copy.first(tokens * channels),
        None => dx.first(tokens * channels).cast(),
    };
    Matrix::new(elements, tokens, channels)
}

impl<E: Element> LayerActivations<E> {
    /// Computes the layer from `norms.attention`, the normed x. Its feed-forward output goes to `scratch.branch`, to be
    /// added to `middle`. A recomputation (not `whole`) stops before the gate.
    pub(super) fn forward(
        &mut self,
        step: &Step<'_>,
        x: &Buffer<f32>,
        whole: bool,
        norms: &mut Norms<E>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { gpu, config, layout, weights, lists, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let hd = config.heads * config.head_dim;
        let qkv = hd + 2 * config.kv_heads * config.head_dim;
        let weight = |range, rows, columns| weights.matrix::<E>(range, rows, columns).transposed();
        let Scratch { branch, gated, .. } = scratch;

        let input = Matrix::new(norms.attention.first(sizes.stream), t, c);
        gpu.product(self.qkv.first_mut(sizes.qkv), input, weight(&layout.qkv, qkv, c), Accumulate::Replace)?; // (T, (H + 2K) D)
        step.rotate(self.qkv.first_mut(sizes.qkv))?;
        attention::forward(
            gpu,
            self.attention_out.first_mut(sizes.attention_out),
            self.log_sums.first_mut(sizes.log_sums),
            self.qkv.first(sizes.qkv),
            lists.by_query.read(),
            step.shape(),
        )?; // (T, H D)
        let input = Matrix::new(self.attention_out.first(sizes.attention_out), t, hd);
        gpu.product(branch.first_mut(sizes.stream), input, weight(&layout.out, c, hd), Accumulate::Replace)?; // (T, C)
        NormForward {
            y: norms.feed_forward.first_mut(sizes.stream),
            sum: Some(self.middle.first_mut(sizes.stream)),
            x: x.first(sizes.stream),
            delta: Some(branch.first(sizes.stream)),
            w: weights.vector(&layout.feed_forward_norm),
            rows: None,
            channels: c as u32,
            epsilon: config.rms_norm_eps,
        }
        .launch(gpu)?; // (T, C)
        let input = Matrix::new(norms.feed_forward.first(sizes.stream), t, c);
        let gate_up = self.gate_up.first_mut(sizes.gate_up);
        gpu.product(gate_up, input, weight(&layout.gate_up, 2 * f, c), Accumulate::Replace)?; // (T, 2F)
        if !whole {
            return Ok(());
        }
        let (out, gate_up) = (gated.first_mut(sizes.gated), self.gate_up.first(sizes.gate_up));
        SwigluForward { out, gate_up, tokens: t as u32, features: f as u32 }.launch(gpu)?; // (T, F)
        let input = Matrix::new(gated.first(sizes.gated), t, f);
        gpu.product(branch.first_mut(sizes.stream), input, weight(&layout.down, c, f), Accumulate::Replace) // (T, C)
    }

    /// Turns `scratch.dx`, the gradient of the layer's output, into that of its input.
    pub(super) fn backward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        x: &Buffer<f32>,
        norms: &Norms<E>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let stream = step.lengths.sizes.stream;
        self.backward_feed_forward(step, gradients, norms.feed_forward.first(stream), scratch)?;
        self.backward_attention(step, gradients, x.first(stream), norms.attention.first(stream), scratch)
    }

    fn backward_feed_forward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        normed: In<'_, E>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { gpu, config, layout, weights, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let Scratch { branch, gated, dx, dx_copy, partial, .. } = scratch;

        let dgated = gated.first_mut(sizes.gated);
        gpu.product(
            dgated,
            dout(dx, dx_copy, t, c),
            weights.matrix(&layout.down, c, f),
            Accumulate::Replace,
        )?; // (T, F)
        SwigluBackward {
            gate_up: self.gate_up.first_mut(sizes.gate_up),
            dout: gated.first_mut(sizes.gated),
            tokens: t as u32,
            features: f as u32,
        }
        .launch(gpu)?; // (T, 2F); gated (T, F) is the output of the forward pass again
        let input = Matrix::new(gated.first(sizes.gated), t, f);
        step.weight_gradient(gradients, &layout.down, dout(dx, dx_copy, t, c), input)?; // (C, F)
        let dgate_up = Matrix::new(self.gate_up.first(sizes.gate_up), t, 2 * f);
        step.weight_gradient(gradients, &layout.gate_up, dgate_up, Matrix::new(normed, t, c))?; // (2F, C)
        let dnormed = branch.first_mut(sizes.stream);
        gpu.product(dnormed, dgate_up, weights.matrix(&layout.gate_up, 2 * f, c), Accumulate::Replace)?; // (T, C)
        let norm = Norm {
            x: self.middle.first(sizes.stream),
            w: weights.vector(&layout.feed_forward_norm),
            dw: gradients.write().range(layout.feed_forward_norm.clone()),
            rows: None,
        };
        norm.backward(gpu, config, branch.first(sizes.stream), dx, dx_copy, partial)
    }

    fn backward_attention(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        x: In<'_, f32>,
        normed: In<'_, E>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { gpu, config, layout, weights, lists, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, hd) = (config.hidden_size, config.heads * config.head_dim);
        let qkv = hd + 2 * config.kv_heads * config.head_dim;
        let Scratch { branch, dattention_out, dqkv, dx, dx_copy, delta, key_partial, partial, .. } = scratch;

        let input = Matrix::new(self.attention_out.first(sizes.attention_out), t, hd);
        step.weight_gradient(gradients, &layout.out, dout(dx, dx_copy, t, c), input)?; // (C, H D)
        let out = weights.matrix(&layout.out, c, hd);
        gpu.product(
            dattention_out.first_mut(sizes.attention_out),
            dout(dx, dx_copy, t, c),
            out,
            Accumulate::Replace,
        )?; // (T, H D)
        let saved = Saved {
            dout: dattention_out.first(sizes.attention_out),
            out: self.attention_out.first(sizes.attention_out),
            log_sums: self.log_sums.first(sizes.log_sums),
            qkv: self.qkv.first(sizes.qkv),
            by_query: lists.by_query.read(),
            by_key: lists.by_key.read(),
            angles: step.angles(),
        };
        let sums =
            BackwardScratch { delta: delta.first_mut(sizes.log_sums), key_partial: key_partial.write() };
        attention::backward(gpu, dqkv.first_mut(sizes.qkv), sums, saved, step.shape())?; // (T, (H + 2K) D)
        let dqkv = Matrix::new(dqkv.first(sizes.qkv), t, qkv);
        step.weight_gradient(gradients, &layout.qkv, dqkv, Matrix::new(normed, t, c))?; // ((H + 2K) D, C)
        let dnormed = branch.first_mut(sizes.stream);
        gpu.product(dnormed, dqkv, weights.matrix(&layout.qkv, qkv, c), Accumulate::Replace)?; // (T, C)
        let norm = Norm {
            x,
            w: weights.vector(&layout.attention_norm),
            dw: gradients.write().range(layout.attention_norm.clone()),
            rows: None,
        };
        norm.backward(gpu, config, branch.first(sizes.stream), dx, dx_copy, partial)
    }
}
