//! Kernels of the optimizer: the norm of the gradients, AdamW, and copies of the weights.

use super::launch::{check_lengths, kernel, line, strides};
use crate::gpu::buffer::{In, Out};
use crate::gpu::driver::Geometry;

/// Number of partial sums of the gradient norm.
pub(crate) const NORM_PARTS: usize = 1024;

kernel! {
    /// partial (1024) = sums of the squared gradients.
    "squared_norm" SquaredNorm {
        partial: Out<'a, f64>,
        gradients: In<'a, f32>,
        length: u64,
    }
}

impl SquaredNorm<'_> {
    fn geometry(&self) -> Geometry {
        check_lengths!(
            "squared_norm",
            self.partial.len() == NORM_PARTS,
            self.gradients.len() as u64 == self.length,
        );
        line(NORM_PARTS, 256, 64)
    }
}

kernel! {
    /// norm (1) = √Σ partial (1024).
    "gradient_norm" GradientNorm {
        norm: Out<'a, f32>,
        partial: In<'a, f64>,
    }
}

impl GradientNorm<'_> {
    fn geometry(&self) -> Geometry {
        check_lengths!("gradient_norm", self.norm.len() == 1, self.partial.len() == NORM_PARTS);
        line(1, 1024, 256)
    }
}

kernel! {
    /// One step of AdamW over all chunks, after clipping by `norm`. Changes nothing where the norm is not finite.
    "adamw" AdamW {
        weights: Out<'a, f32>,
        copy: Option<Out<'a, half::bf16>>,
        mean: Out<'a, f32>,
        square: Out<'a, f32>,
        gradients: In<'a, f32>,
        firsts: In<'a, u64>,
        counts: In<'a, u32>,
        decayed: In<'a, u32>,
        norm: In<'a, f32>,
        learning_rate: f32,
        beta1: f32,
        beta2: f32,
        epsilon: f32,
        weight_decay: f32,
        rate: f32,
        root: f32,
        max_norm: f32,
    }
}

impl AdamW<'_> {
    fn geometry(&self) -> Geometry {
        let (length, chunks) = (self.weights.len(), self.firsts.len());
        check_lengths!(
            "adamw",
            [self.mean.len(), self.square.len(), self.gradients.len()] == [length; 3],
            self.copy.as_ref().is_none_or(|copy| copy.len() == length),
            [self.counts.len(), self.decayed.len()] == [chunks; 2],
            self.norm.len() == 1,
        );
        line(chunks, 256, 0)
    }
}

kernel! {
    /// out = in, rounded to bf16.
    "cast_f32_bf16" CastToBf16 {
        out: Out<'a, half::bf16>,
        r#in: In<'a, f32>,
        length: u64,
    }
}

impl CastToBf16<'_> {
    fn geometry(&self) -> Geometry {
        check_lengths!(
            "cast_f32_bf16",
            self.out.len() as u64 == self.length,
            self.r#in.len() as u64 == self.length,
        );
        strides(self.out.len(), 65_536)
    }
}

kernel! {
    /// Every element of out = value.
    "fill_f32" Fill {
        out: Out<'a, f32>,
        value: f32,
        length: u64,
    }
}

impl Fill<'_> {
    fn geometry(&self) -> Geometry {
        check_lengths!("fill_f32", self.out.len() as u64 == self.length);
        strides(self.out.len(), 65_536)
    }
}
