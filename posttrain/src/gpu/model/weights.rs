//! A model's weights on a card.

use crate::gpu::buffer::{Buffer, In};
use crate::gpu::card::{Card, Matrix};
use crate::gpu::kernels::CastToBf16;
use anyhow::Result;
use half::bf16;
use kernels::Element;
use std::ops::Range;

/// A model's weights on the device: f32, and a bf16 copy where that is what products read.
#[derive(Debug)]
pub struct Weights {
    /// All weights in `Layout`'s order.
    pub masters: Buffer<f32>,
    /// The same, rounded; none where activations are f32.
    pub copy: Option<Buffer<bf16>>,
}

impl Weights {
    /// Copies weights to the card.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn new<E: Element>(card: &Card, values: &[f32]) -> Result<Self> {
        let masters = card.copy_of("the weights", values)?;
        let mut copy = None;
        if E::BF16 {
            let mut rounded = card.allocate("the weights", values.len())?;
            let length = values.len() as u64;
            CastToBf16 { out: rounded.write(), r#in: masters.read(), length }.launch(card)?;
            copy = Some(rounded);
        }
        Ok(Self { masters, copy })
    }

    pub(super) fn matrix<E: Element>(
        &self,
        range: &Range<usize>,
        rows: usize,
        columns: usize,
    ) -> Matrix<'_, E> {
        let numbers = match &self.copy {
            Some(copy) => copy.read().range(range.clone()).cast(),
            None => self.masters.read().range(range.clone()).cast(),
        };
        Matrix::new(numbers, rows, columns)
    }

    pub(super) fn vector(&self, range: &Range<usize>) -> In<'_, f32> {
        self.masters.read().range(range.clone())
    }
}
