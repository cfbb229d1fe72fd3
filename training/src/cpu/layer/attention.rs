//! The first half of a layer: attention, and what it adds to the residual stream.

use super::{LayerActivations, Scratch, Step, Widths, branch_gradient, keep, wide_of};
use crate::adapter::Product;
use crate::cpu::linear::Gradients;
use kernels::Element;
use kernels::training::{
    Direction, NormedHeads, attention_backward, attention_forward, bias_backward, bias_forward,
    head_norm_backward, head_norm_forward, rms_norm_add, rms_norm_backward, rms_norm_forward,
};
use rayon::prelude::*;
use std::ops::Range;

impl<W: Element> Step<'_, W> {
    /// Calls `run` for the queries' heads and for the keys', with the range of their norm's weights.
    fn for_normed_heads(&self, mut run: impl FnMut(&Range<usize>, NormedHeads<'_>)) {
        let Some([queries, keys]) = &self.layout.head_norms else { return };
        let (heads, kv_heads, epsilon) = (self.config.heads, self.config.kv_heads, self.config.rms_norm_eps);
        for (range, first, count) in [(queries, 0, heads), (keys, heads, kv_heads)] {
            run(range, NormedHeads { first, count, weight: &self.norm(range), epsilon });
        }
    }
}

/// Norms queries and keys of qkv (T, (H + 2K) D) where the family does, and keeps what they were.
fn norm_heads<E: Element, W: Element>(step: Step<'_, W>, qkv: &mut [f32], unnormed: &mut [E]) {
    if step.layout.head_norms.is_none() {
        return;
    }
    let Widths { queries_keys, qkv: row, .. } = Widths::new(step.config);
    unnormed.par_chunks_exact_mut(queries_keys).zip(qkv.par_chunks_exact(row)).for_each(|(kept, qkv)| {
        kept.iter_mut().zip(qkv).for_each(|(kept, value)| *kept = E::from_f32(*value));
    });
    step.for_normed_heads(|_, heads| head_norm_forward(qkv, row, heads));
}

impl<E: Element> LayerActivations<E> {
    /// Computes `attention_out` from the residual stream x (T, C).
    pub(super) fn forward_attention<W: Element>(
        &mut self,
        step: Step<'_, W>,
        x: &[f32],
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, batch, .. } = step;
        let Scratch { normed, low_rank, wide, .. } = scratch;
        let Self { qkv: kept, unnormed, attention_out, log_sums, .. } = self;

        rms_norm_forward(normed, x, &step.norm(&layout.attention_norm), config.rms_norm_eps); // (T, C)
        let qkv = wide_of(kept, wide);
        step.linear(Product::QueryKeyValue).forward(qkv, normed, None, low_rank); // (T, (H + 2K) D)
        if let Some(biases) = &layout.biases {
            let biases: Vec<f32> = step.weights.numbers(biases).iter().map(|bias| bias.to_f32()).collect();
            bias_forward(qkv, &biases);
        }
        norm_heads(step, qkv, unnormed);
        step.rotate(qkv, Direction::Forward);
        attention_forward(attention_out, log_sums, qkv, step.shape(), &batch.starts, step.window()); // (T, H D)
        keep(kept, wide);
    }

    /// The residual stream after attention: x (T, C) and what attention adds.
    pub(super) fn compute_middle<W: Element>(
        &mut self,
        step: Step<'_, W>,
        x: &[f32],
        scratch: &mut Scratch<E>,
    ) {
        let Scratch { low_rank, wide, .. } = scratch;
        let Self { middle, attention_out, attention_branch: kept, .. } = self;
        middle.resize(x.len(), 0.0);
        let linear = step.linear(Product::Output);
        let Some([norm, _]) = &step.layout.post_norms else {
            return linear.forward(middle, attention_out, Some(x), low_rank); // (T, C)
        };
        let branch = wide_of(kept, wide);
        linear.forward(branch, attention_out, None, low_rank); // (T, C)
        middle.copy_from_slice(x);
        rms_norm_add(middle, branch, &step.norm(norm), step.config.rms_norm_eps);
        keep(kept, wide);
    }

    /// Turns `scratch.dx`, the gradient of `middle`, into that of x (T, C).
    pub(super) fn backward_attention<W: Element>(
        &mut self,
        step: Step<'_, W>,
        gradients: &mut Gradients<'_>,
        x: &[f32],
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, batch, .. } = step;
        let Scratch { normed, dnormed, dattention_out, dqkv, dx, low_rank, .. } = scratch;

        let post_norm = layout.post_norms.as_ref().map(|[norm, _]| (self.attention_branch.as_slice(), norm));
        let dbranch = branch_gradient(step, gradients, post_norm, dx, dnormed); // (T, C)
        let linear = step.linear(Product::Output);
        linear.backward(dattention_out, dbranch, &self.attention_out, gradients, low_rank); // (T, H D)
        let (out, log_sums, starts) = (&self.attention_out, &self.log_sums, &batch.starts);
        let (shape, window) = (step.shape(), step.window());
        attention_backward(dqkv, dattention_out, out, log_sums, &self.qkv, shape, starts, window);
        step.rotate(dqkv, Direction::Backward); // (T, (H + 2K) D)
        let Widths { queries_keys, qkv: row, .. } = Widths::new(config);
        step.for_normed_heads(|range, heads| {
            let dnorm = gradients.of_weights(range);
            head_norm_backward(dqkv, dnorm, &self.unnormed, (row, queries_keys), heads);
        });
        if let Some(dbiases) = layout.biases.as_ref().and_then(|biases| gradients.of_weights(biases)) {
            bias_backward(dbiases, dqkv);
        }
        let norm = step.norm(&layout.attention_norm);
        rms_norm_forward(normed, x, &norm, config.rms_norm_eps); // (T, C)
        step.linear(Product::QueryKeyValue).backward(dnormed, dqkv, normed, gradients, low_rank); // (T, C)
        let dnorm = gradients.of_weights(&layout.attention_norm);
        rms_norm_backward(dx, dnorm, dnormed, x, &norm, config.rms_norm_eps);
    }
}
