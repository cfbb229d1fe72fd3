//! The first half of a layer: attention, and what it adds to the residual stream.

use super::{LayerActivations, Scratch, Step, Widths, branch_gradient};
use crate::adapter::Product;
use crate::cpu::linear::{Gradients, LowRankScratch};
use kernels::training::{
    Direction, NormedHeads, attention_backward, attention_forward, bias_backward, bias_forward,
    head_norm_backward, head_norm_forward, rms_norm_add, rms_norm_backward, rms_norm_forward,
};
use kernels::{Accumulate, Element};
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

impl<E: Element> LayerActivations<E> {
    /// Computes `attention_out` from the residual stream x (T, C).
    pub(super) fn forward_attention<W: Element>(
        &mut self,
        step: Step<'_, W>,
        x: &[f32],
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, batch, .. } = step;
        let Scratch { normed, low_rank, .. } = scratch;

        rms_norm_forward(normed, x, &step.norm(&layout.attention_norm), config.rms_norm_eps); // (T, C)
        let accumulate = match &layout.biases {
            None => Accumulate::Replace,
            Some(biases) => {
                let biases: Vec<f32> =
                    step.weights.numbers(biases).iter().map(|bias| bias.to_f32()).collect();
                bias_forward(&mut self.qkv, &biases);
                Accumulate::Add
            }
        };
        let linear = step.linear(Product::QueryKeyValue);
        linear.forward(&mut self.qkv, normed, accumulate, low_rank); // (T, (H + 2K) D)
        self.norm_heads(step);
        step.rotate(&mut self.qkv, Direction::Forward);
        let (out, log_sums) = (&mut self.attention_out, &mut self.log_sums);
        attention_forward(out, log_sums, &self.qkv, step.shape(), &batch.starts, step.window()); // (T, H D)
    }

    /// Norms queries and keys where the family does, and keeps what they were.
    fn norm_heads<W: Element>(&mut self, step: Step<'_, W>) {
        if step.layout.head_norms.is_none() {
            return;
        }
        let Widths { queries_keys, qkv: row, .. } = Widths::new(step.config);
        let rows = self.unnormed.par_chunks_exact_mut(queries_keys).zip(self.qkv.par_chunks_exact(row));
        rows.for_each(|(kept, qkv)| kept.copy_from_slice(&qkv[..queries_keys]));
        step.for_normed_heads(|_, heads| head_norm_forward(&mut self.qkv, row, heads));
    }

    /// The residual stream after attention: x (T, C) and what attention adds.
    pub(super) fn compute_middle<W: Element>(
        &mut self,
        step: Step<'_, W>,
        x: &[f32],
        low_rank: &mut LowRankScratch,
    ) {
        self.middle.resize(x.len(), 0.0);
        self.middle.copy_from_slice(x);
        let linear = step.linear(Product::Output);
        match &step.layout.post_norms {
            None => linear.forward(&mut self.middle, &self.attention_out, Accumulate::Add, low_rank), // (T, C)
            Some([norm, _]) => {
                let branch = &mut self.attention_branch;
                linear.forward(branch, &self.attention_out, Accumulate::Replace, low_rank); // (T, C)
                rms_norm_add(&mut self.middle, branch, &step.norm(norm), step.config.rms_norm_eps);
            }
        }
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
