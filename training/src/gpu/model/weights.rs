//! A model's weights on a GPU.

use crate::gpu::buffer::{Buffer, In};
use crate::gpu::device::Gpu;
use crate::gpu::kernels::CastToBf16;
use crate::gpu::matrix::Matrix;
use anyhow::Result;
use half::bf16;
use kernels::Element;
use std::ops::Range;

/// A model's weights in f32, and a bf16 copy where products read bf16.
pub(in super::super) struct Weights {
    /// All weights in `Layout`'s order.
    pub(in super::super) masters: Buffer<f32>,
    /// The same, rounded; none where activations are f32.
    pub(in super::super) copy: Option<Buffer<bf16>>,
}

impl Weights {
    /// Copies weights to the GPU.
    ///
    /// # Errors
    /// When they do not fit.
    pub(in super::super) fn new<E: Element>(gpu: &Gpu, values: &[f32]) -> Result<Self> {
        let purpose = "the weights";
        let masters = gpu.allocate(purpose, values.len())?;
        let copy = if E::BF16 { Some(gpu.allocate(purpose, values.len())?) } else { None };
        let mut weights = Self { masters, copy };
        weights.upload(gpu, values)?;
        Ok(weights)
    }

    /// Replaces the weights by these.
    ///
    /// # Errors
    /// The driver's.
    pub(in super::super) fn upload(&mut self, gpu: &Gpu, values: &[f32]) -> Result<()> {
        gpu.upload(self.masters.write(), values)?;
        if let Some(copy) = &mut self.copy {
            let length = values.len() as u64;
            CastToBf16 { out: copy.write(), r#in: self.masters.read(), length }.launch(gpu)?;
        }
        Ok(())
    }

    pub(super) fn matrix<E: Element>(
        &self,
        range: &Range<usize>,
        rows: usize,
        columns: usize,
    ) -> Matrix<'_, E> {
        let elements = match &self.copy {
            Some(copy) => copy.read().range(range.clone()).cast(),
            None => self.masters.read().range(range.clone()).cast(),
        };
        Matrix::new(elements, rows, columns)
    }

    pub(super) fn vector(&self, range: &Range<usize>) -> In<'_, f32> {
        self.masters.read().range(range.clone())
    }
}
