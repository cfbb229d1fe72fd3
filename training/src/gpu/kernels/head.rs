//! Kernels that process logits: log-probabilities, and the gradient in their place.

use super::launch::{kernel, line};
use crate::gpu::buffer::{In, Out};
use crate::gpu::driver::Geometry;
use kernels::Element;

/// Threads of a block, which processes one row of logits.
const CROSS_ENTROPY_THREADS: u32 = 512;

/// Returns the geometry of a kernel of logits (N, V), of `logits` elements with the gaps between rows, and N targets.
/// `per_row` are the lengths of the operands that have one element a row.
fn block_per_row(
    kernel: &str,
    targets: In<'_, u32>,
    per_row: &[usize],
    logits: usize,
    [vocabulary, stride]: [u32; 2],
) -> Geometry {
    let n = targets.len();
    let fit = per_row.iter().all(|len| *len == n) && logits == n * stride as usize && vocabulary <= stride;
    assert!(fit, "{kernel}: lengths");
    line(n, CROSS_ENTROPY_THREADS, 512)
}

kernel! {
    /// For each row of logits (N, V), rows `stride` apart: the target's log-probability, whether it is the highest, and the entropy.
    "cross_entropy_forward" CrossEntropyForward<E> {
        log_probability: Out<'a, f32>,
        best: Out<'a, u32>,
        entropy: Out<'a, f32>,
        logits: In<'a, E>,
        targets: In<'a, u32>,
        vocabulary: u32,
        stride: u32,
    }
}

impl<E: Element> CrossEntropyForward<'_, E> {
    fn geometry(&self) -> Geometry {
        let per_row = [self.log_probability.len(), self.best.len(), self.entropy.len()];
        block_per_row(
            "cross_entropy_forward",
            self.targets,
            &per_row,
            self.logits.len(),
            [self.vocabulary, self.stride],
        )
    }
}

kernel! {
    /// As `CrossEntropyForward`; the gradient of -Σ weight · log-probability replaces the logits.
    "cross_entropy_gradient" CrossEntropyGradient<E> {
        log_probability: Out<'a, f32>,
        best: Out<'a, u32>,
        entropy: Out<'a, f32>,
        logits: Out<'a, E>,
        targets: In<'a, u32>,
        weights: In<'a, f32>,
        vocabulary: u32,
        stride: u32,
    }
}

impl<E: Element> CrossEntropyGradient<'_, E> {
    fn geometry(&self) -> Geometry {
        let per_row = [self.log_probability.len(), self.best.len(), self.entropy.len(), self.weights.len()];
        block_per_row(
            "cross_entropy_gradient",
            self.targets,
            &per_row,
            self.logits.len(),
            [self.vocabulary, self.stride],
        )
    }
}

kernel! {
    /// As `CrossEntropyGradient` for f32 logits. The gradient is bf16 and fills the first half of each row: N rows of V
    /// elements, twice the stride apart.
    "cross_entropy_gradient_f32_bf16" CrossEntropyGradientHalved {
        log_probability: Out<'a, f32>,
        best: Out<'a, u32>,
        entropy: Out<'a, f32>,
        logits: Out<'a, f32>,
        targets: In<'a, u32>,
        weights: In<'a, f32>,
        vocabulary: u32,
        stride: u32,
    }
}

impl CrossEntropyGradientHalved<'_> {
    fn geometry(&self) -> Geometry {
        let per_row = [self.log_probability.len(), self.best.len(), self.entropy.len(), self.weights.len()];
        block_per_row(
            "cross_entropy_gradient_f32_bf16",
            self.targets,
            &per_row,
            self.logits.len(),
            [self.vocabulary, self.stride],
        )
    }
}
