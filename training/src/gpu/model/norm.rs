//! The backward pass of a norm on a GPU.

use crate::gpu::buffer::{Buffer, In, Out};
use crate::gpu::device::Gpu;
use crate::gpu::kernels::{NormBackward, NormBackwardWeight};
use crate::memory::norm_block_rows;
use anyhow::Result;
use checkpoint::ModelConfig;
use kernels::Element;

/// The operands of a norm's backward pass.
pub(super) struct Norm<'a> {
    /// The norm's input (T, C).
    pub(super) x: In<'a, f32>,
    /// (C)
    pub(super) w: In<'a, f32>,
    /// (C)
    pub(super) dw: Out<'a, f32>,
    /// The rows of x that the norm read (N); none for all.
    pub(super) rows: Option<In<'a, u32>>,
}

impl Norm<'_> {
    /// Adds to dx, its copy and dw, given dy (N, C).
    pub(super) fn backward<E: Element>(
        self,
        gpu: &Gpu,
        config: &ModelConfig,
        dy: In<'_, E>,
        dx: &mut Buffer<f32>,
        dx_copy: &mut Option<Buffer<E>>,
        partial: &mut Buffer<f32>,
    ) -> Result<()> {
        let (c, epsilon) = (config.hidden_size, config.rms_norm_eps);
        let count = dy.len() / c;
        let block_rows = norm_block_rows(count);
        let parts = count.div_ceil(block_rows);
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
            block_rows: block_rows as u32,
            channels,
            epsilon,
        }
        .launch(gpu)?;
        NormBackwardWeight { dw, partial: partial.first(parts * c), parts: parts as u32, channels }
            .launch(gpu)
    }
}
