//! The second half of a layer: the gated feed-forward network, and what it adds to the residual stream.

use super::{LayerActivations, Scratch, Step, branch_gradient, keep, wide_of};
use crate::adapter::Product;
use crate::cpu::linear::Gradients;
use checkpoint::{Activation, ModelConfig};
use kernels::Element;
use kernels::training::{
    geglu_backward, geglu_forward, rms_norm_add, rms_norm_backward, rms_norm_forward, swiglu_backward,
    swiglu_forward,
};

/// out (T, F) from gate_up (T, 2F).
fn gate_forward<E: Element, X: Element>(out: &mut [E], gate_up: &[X], config: &ModelConfig) {
    match config.architecture.activation {
        Activation::Silu => swiglu_forward(out, gate_up, config.intermediate_size),
        Activation::GeluTanh => geglu_forward(out, gate_up, config.intermediate_size),
    }
}

/// Replaces gate_up (T, 2F) by its gradient.
fn gate_backward<E: Element>(gate_up: &mut [E], dout: &[E], config: &ModelConfig) {
    match config.architecture.activation {
        Activation::Silu => swiglu_backward(gate_up, dout, config.intermediate_size),
        Activation::GeluTanh => geglu_backward(gate_up, dout, config.intermediate_size),
    }
}

impl<E: Element> LayerActivations<E> {
    /// Computes gate and up from `middle`, and the layer's output to `next`, which a recomputation does not need.
    pub(super) fn forward_feed_forward<W: Element>(
        &mut self,
        step: Step<'_, W>,
        next: Option<&mut Vec<f32>>,
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, .. } = step;
        let Scratch { normed, gated, low_rank, wide, .. } = scratch;
        let Self { middle, gate_up: kept, feed_forward_branch: kept_branch, .. } = self;

        let norm = step.norm(&layout.feed_forward_norm);
        rms_norm_forward(normed, middle, &norm, config.rms_norm_eps); // (T, C)
        let gate_up = wide_of(kept, wide);
        step.linear(Product::GateUp).forward(gate_up, normed, None, low_rank); // (T, 2F)
        if next.is_some() || layout.post_norms.is_some() {
            gate_forward(gated, gate_up, config); // (T, F)
        }
        keep(kept, wide);
        let linear = step.linear(Product::Down);
        let Some([_, norm]) = &layout.post_norms else {
            let Some(next) = next else { return };
            return linear.forward(next, gated, Some(middle.as_slice()), low_rank); // (T, C)
        };
        // Its norm's backward pass needs it, in a recomputation as well.
        let branch = wide_of(kept_branch, wide);
        linear.forward(branch, gated, None, low_rank); // (T, C)
        if let Some(next) = next {
            next.copy_from_slice(middle);
            rms_norm_add(next, branch, &step.norm(norm), config.rms_norm_eps);
        }
        keep(kept_branch, wide);
    }

    /// Turns `scratch.dx`, the gradient of the layer's output, into that of `middle` (T, C).
    pub(super) fn backward_feed_forward<W: Element>(
        &mut self,
        step: Step<'_, W>,
        gradients: &mut Gradients<'_>,
        scratch: &mut Scratch<E>,
    ) {
        let Step { config, layout, .. } = step;
        let Scratch { normed, gated, dnormed, dgated, dx, low_rank, .. } = scratch;

        let post_norm =
            layout.post_norms.as_ref().map(|[_, norm]| (self.feed_forward_branch.as_slice(), norm));
        let dbranch = branch_gradient(step, gradients, post_norm, dx, dnormed); // (T, C)
        gate_forward(gated, &self.gate_up, config); // (T, F)
        step.linear(Product::Down).backward(dgated, dbranch, gated, gradients, low_rank); // (T, F)
        gate_backward(&mut self.gate_up, dgated, config); // (T, 2F)
        let norm = step.norm(&layout.feed_forward_norm);
        rms_norm_forward(normed, &self.middle, &norm, config.rms_norm_eps); // (T, C)
        step.linear(Product::GateUp).backward(dnormed, &self.gate_up, normed, gradients, low_rank); // (T, C)
        let dnorm = gradients.of_weights(&layout.feed_forward_norm);
        rms_norm_backward(dx, dnorm, dnormed, &self.middle, &norm, config.rms_norm_eps);
    }
}
