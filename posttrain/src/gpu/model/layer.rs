//! One layer forward and backward, in `crate::model`'s order.

use super::activations::{LayerActivations, Scratch};
use super::weights::Weights;
use super::{Lengths, Rope};
use crate::gpu::attention::{self, Saved, Shape};
use crate::gpu::batch::Lists;
use crate::gpu::buffer::{Buffer, In, Out};
use crate::gpu::card::{Card, Matrix};
use crate::gpu::kernels::{
    NormBackward, NormBackwardWeight, NormForward, Rotate, SwigluBackward, SwigluForward,
};
use crate::gpu::plan::NORM_ROWS;
use crate::model::LayerLayout;
use anyhow::Result;
use kernels::{AttentionShape, Element, Into};
use smollm::ModelConfig;
use std::ops::Range;

/// A norm's backward pass.
pub(super) struct Norm<'a> {
    /// What was normed (T, C).
    pub(super) x: In<'a, f32>,
    /// (C)
    pub(super) w: In<'a, f32>,
    /// (C)
    pub(super) dw: Out<'a, f32>,
    /// The rows of x that were normed (N); none for all.
    pub(super) rows: Option<In<'a, u32>>,
}

impl Norm<'_> {
    /// Adds to dx, its copy and dw, given dy (N, C).
    pub(super) fn backward<E: Element>(
        self,
        card: &Card,
        config: &ModelConfig,
        dy: In<'_, E>,
        dx: &mut Buffer<f32>,
        dx_copy: &mut Option<Buffer<E>>,
        partial: &mut Buffer<f32>,
    ) -> Result<()> {
        let (c, epsilon) = (config.hidden_size, config.rms_norm_eps);
        let count = dy.len() / c;
        let parts = count.div_ceil(NORM_ROWS);
        let Self { x, w, dw, rows } = self;
        let (stream, channels) = (x.len(), c as u32);
        NormBackward {
            dx: dx.first_mut(stream),
            dx_copy: dx_copy.as_mut().map(|copy| copy.first_mut(stream)),
            partial: partial.first_mut(parts * c),
            dy,
            x,
            w,
            rows,
            count: count as u32,
            channels,
            epsilon,
        }
        .launch(card)?;
        NormBackwardWeight { dw, partial: partial.first(parts * c), parts: parts as u32, channels }
            .launch(card)
    }
}

/// What one layer's passes read.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) card: &'a Card,
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

    /// normed = the norm of x, nothing added.
    pub(super) fn norm<E: Element>(
        &self,
        normed: &mut Buffer<E>,
        x: In<'_, f32>,
        w: &Range<usize>,
    ) -> Result<()> {
        let (channels, epsilon) = (self.config.hidden_size as u32, self.config.rms_norm_eps);
        let (y, w) = (normed.first_mut(x.len()), self.weights.vector(w));
        NormForward { y, sum: None, x, delta: None, w, rows: None, channels, epsilon }.launch(self.card)
    }

    /// Turns queries and keys in place, forward (1) or back (-1).
    pub(super) fn rotate<E: Element>(&self, x: Out<'_, E>, sign: f32) -> Result<()> {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape();
        let (row, heads) = ((heads + 2 * kv_heads) * head_dim, heads + kv_heads);
        let (cos, sin) = (self.rope.cos.read(), self.rope.sin.read());
        let positions = self.lists.positions.read();
        Rotate { x, positions, cos, sin, row, heads, head_dim, sign }.launch(self.card)
    }

    /// Adds to a weight's gradient.
    pub(super) fn weight_gradient<E: Element>(
        &self,
        gradients: &mut Buffer<f32>,
        range: &Range<usize>,
        dout: Matrix<'_, E>,
        input: Matrix<'_, E>,
    ) -> Result<()> {
        self.card.product(gradients.write().range(range.clone()), dout.transposed(), input, Into::Add)
    }
}

/// The gradient of the residual stream as products read it (T, C): dx, or its copy where that is rounded.
pub(super) fn dout<'a, E: Element>(
    dx: &'a Buffer<f32>,
    dx_copy: &'a Option<Buffer<E>>,
    tokens: usize,
    channels: usize,
) -> Matrix<'a, E> {
    let numbers = match dx_copy {
        Some(copy) => copy.first(tokens * channels),
        None => dx.first(tokens * channels).cast(),
    };
    Matrix::new(numbers, tokens, channels)
}

impl<E: Element> LayerActivations<E> {
    /// From `scratch.normed`, the normed x, to `scratch.branch`, what the feed-forward adds to `middle`; a recomputation
    /// (not `whole`) stops before the gate.
    pub(super) fn forward(
        &mut self,
        step: &Step<'_>,
        x: &Buffer<f32>,
        whole: bool,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { card, config, layout, weights, lists, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let hd = config.heads * config.head_dim;
        let qkv = hd + 2 * config.kv_heads * config.head_dim;
        let weight = |range, rows, columns| weights.matrix::<E>(range, rows, columns).transposed();
        let Scratch { normed, branch, gated, .. } = scratch;

        let input = Matrix::new(normed.first(sizes.stream), t, c);
        card.product(self.qkv.first_mut(sizes.qkv), input, weight(&layout.qkv, qkv, c), Into::Replace)?; // (T, (H + 2K) D)
        step.rotate(self.qkv.first_mut(sizes.qkv), 1.0)?;
        attention::forward(
            card,
            self.mixed.first_mut(sizes.mixed),
            self.log_sums.first_mut(sizes.log_sums),
            self.qkv.first(sizes.qkv),
            lists.by_query.read(),
            step.shape(),
        )?; // (T, H D)
        let mixed = Matrix::new(self.mixed.first(sizes.mixed), t, hd);
        card.product(branch.first_mut(sizes.stream), mixed, weight(&layout.out, c, hd), Into::Replace)?; // (T, C)
        NormForward {
            y: normed.first_mut(sizes.stream),
            sum: Some(self.middle.first_mut(sizes.stream)),
            x: x.first(sizes.stream),
            delta: Some(branch.first(sizes.stream)),
            w: weights.vector(&layout.feed_forward_norm),
            rows: None,
            channels: c as u32,
            epsilon: config.rms_norm_eps,
        }
        .launch(card)?; // (T, C)
        let input = Matrix::new(normed.first(sizes.stream), t, c);
        let gate_up = self.gate_up.first_mut(sizes.gate_up);
        card.product(gate_up, input, weight(&layout.gate_up, 2 * f, c), Into::Replace)?; // (T, 2F)
        if !whole {
            return Ok(());
        }
        let (out, gate_up) = (gated.first_mut(sizes.gated), self.gate_up.first(sizes.gate_up));
        SwigluForward { out, gate_up, tokens: t as u32, features: f as u32 }.launch(card)?; // (T, F)
        let input = Matrix::new(gated.first(sizes.gated), t, f);
        card.product(branch.first_mut(sizes.stream), input, weight(&layout.down, c, f), Into::Replace) // (T, C)
    }

    /// Turns `scratch.dx`, the gradient after the layer, into that before it.
    pub(super) fn backward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        x: &Buffer<f32>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        self.backward_feed_forward(step, gradients, scratch)?;
        self.backward_attention(step, gradients, x.first(step.lengths.sizes.stream), scratch)
    }

    pub(super) fn backward_feed_forward(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { card, config, layout, weights, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, f) = (config.hidden_size, config.intermediate_size);
        let Scratch { normed, branch, gated, dx, dx_copy, partial, .. } = scratch;

        let dgated = gated.first_mut(sizes.gated);
        card.product(dgated, dout(dx, dx_copy, t, c), weights.matrix(&layout.down, c, f), Into::Replace)?; // (T, F)
        SwigluBackward {
            gate_up: self.gate_up.first_mut(sizes.gate_up),
            dout: gated.first_mut(sizes.gated),
            tokens: t as u32,
            features: f as u32,
        }
        .launch(card)?; // (T, 2F); gated (T, F) is the forward pass's again
        let input = Matrix::new(gated.first(sizes.gated), t, f);
        step.weight_gradient(gradients, &layout.down, dout(dx, dx_copy, t, c), input)?; // (C, F)
        let middle = self.middle.first(sizes.stream);
        step.norm(normed, middle, &layout.feed_forward_norm)?; // (T, C)
        let dgate_up = Matrix::new(self.gate_up.first(sizes.gate_up), t, 2 * f);
        let input = Matrix::new(normed.first(sizes.stream), t, c);
        step.weight_gradient(gradients, &layout.gate_up, dgate_up, input)?; // (2F, C)
        let dnormed = branch.first_mut(sizes.stream);
        card.product(dnormed, dgate_up, weights.matrix(&layout.gate_up, 2 * f, c), Into::Replace)?; // (T, C)
        let norm = Norm {
            x: middle,
            w: weights.vector(&layout.feed_forward_norm),
            dw: gradients.write().range(layout.feed_forward_norm.clone()),
            rows: None,
        };
        norm.backward(card, config, branch.first(sizes.stream), dx, dx_copy, partial)
    }

    pub(super) fn backward_attention(
        &mut self,
        step: &Step<'_>,
        gradients: &mut Buffer<f32>,
        x: In<'_, f32>,
        scratch: &mut Scratch<E>,
    ) -> Result<()> {
        let Step { card, config, layout, weights, lists, lengths, .. } = *step;
        let Lengths { tokens: t, sizes, .. } = lengths;
        let (c, hd) = (config.hidden_size, config.heads * config.head_dim);
        let qkv = hd + 2 * config.kv_heads * config.head_dim;
        let Scratch { normed, branch, dmixed, dqkv, dx, dx_copy, delta, partial, .. } = scratch;

        let mixed = Matrix::new(self.mixed.first(sizes.mixed), t, hd);
        step.weight_gradient(gradients, &layout.out, dout(dx, dx_copy, t, c), mixed)?; // (C, H D)
        let out = weights.matrix(&layout.out, c, hd);
        card.product(dmixed.first_mut(sizes.mixed), dout(dx, dx_copy, t, c), out, Into::Replace)?; // (T, H D)
        let saved = Saved {
            dout: dmixed.first(sizes.mixed),
            out: self.mixed.first(sizes.mixed),
            log_sums: self.log_sums.first(sizes.log_sums),
            qkv: self.qkv.first(sizes.qkv),
            by_query: lists.by_query.read(),
            by_key: lists.by_key.read(),
        };
        let delta = delta.first_mut(sizes.log_sums);
        attention::backward(card, dqkv.first_mut(sizes.qkv), delta, saved, step.shape())?;
        step.rotate(dqkv.first_mut(sizes.qkv), -1.0)?; // (T, (H + 2K) D)
        step.norm(normed, x, &layout.attention_norm)?; // (T, C)
        let dqkv = Matrix::new(dqkv.first(sizes.qkv), t, qkv);
        let input = Matrix::new(normed.first(sizes.stream), t, c);
        step.weight_gradient(gradients, &layout.qkv, dqkv, input)?; // ((H + 2K) D, C)
        let dnormed = branch.first_mut(sizes.stream);
        card.product(dnormed, dqkv, weights.matrix(&layout.qkv, qkv, c), Into::Replace)?; // (T, C)
        let norm = Norm {
            x,
            w: weights.vector(&layout.attention_norm),
            dw: gradients.write().range(layout.attention_norm.clone()),
            rows: None,
        };
        norm.backward(card, config, branch.first(sizes.stream), dx, dx_copy, partial)
    }
}
