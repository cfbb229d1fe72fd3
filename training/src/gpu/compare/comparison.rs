//! One comparison of a GPU's result with the CPU's, and what collects them.

use crate::backend::Backend;
use crate::gpu::buffer::{Buffer, In};
use crate::gpu::device::Gpu;
use anyhow::Result;
use kernels::Element;
use random::{Normal, mix};
use std::fmt;

/// The purpose of device memory, in errors.
pub(super) const PURPOSE: &str = "the operands of a comparison";

/// A relative difference, and its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was compared.
    pub what: String,
    /// The relative difference; NaN where a value is NaN.
    pub difference: f64,
    /// The largest difference that is accepted.
    pub limit: f64,
}

impl Comparison {
    /// Returns whether the difference is within its limit; NaN is not.
    pub fn passes(&self) -> bool {
        self.difference <= self.limit
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passes() { "ok" } else { "WRONG" };
        write!(formatter, "{}\t{:.1e}\t{:.0e}\t{verdict}", self.what, self.difference, self.limit)
    }
}

/// Adds a comparison and prints it at once, so that a later fault of the GPU does not lose it.
pub(super) fn record(list: &mut Vec<Comparison>, what: String, difference: f64, limit: f64) {
    let comparison = Comparison { what, difference, limit };
    eprintln!("{comparison}");
    list.push(comparison);
}

/// Comparisons as they are made, and the GPU they are made with.
pub(super) struct Comparisons<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) list: Vec<Comparison>,
}

impl Comparisons<'_> {
    /// Compares two results, within the limit of their data type.
    pub(super) fn compare<E: Element>(&mut self, what: &str, actual: &[E], expected: &[E]) {
        let limit = if E::BF16 { 1e-2 } else { 1e-4 };
        let difference = relative(&widened(actual), &widened(expected));
        record(&mut self.list, format!("{what}, {}", type_name::<E>()), difference, limit);
    }

    /// Compares the bits of two results.
    pub(super) fn compare_bits<E: Element>(&mut self, what: &str, actual: &[E], expected: &[E]) {
        let bits = |values: &[E]| values.iter().map(|value| value.to_f32().to_bits()).collect::<Vec<_>>();
        let difference = if bits(actual) == bits(expected) { 0.0 } else { f64::NAN };
        record(&mut self.list, format!("{what}, {}", type_name::<E>()), difference, 0.0);
    }

    pub(super) fn upload<T: Copy>(&self, values: &[T]) -> Result<Buffer<T>> {
        self.gpu.copy_of(PURPOSE, values)
    }

    pub(super) fn allocate<T>(&self, len: usize) -> Result<Buffer<T>> {
        self.gpu.allocate(PURPOSE, len)
    }

    pub(super) fn download<T: Copy + Default>(&self, from: In<'_, T>) -> Result<Vec<T>> {
        let mut values = vec![T::default(); from.len()];
        self.gpu.download(&mut values, from)?;
        Ok(values)
    }
}

pub(super) fn type_name<E: Element>() -> &'static str {
    if E::BF16 { "bf16" } else { "f32" }
}

/// Returns |actual - expected| / |expected|; 0 where they are equal.
pub(super) fn relative(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "comparison: lengths");
    let square = |value: f64| value * value;
    let apart: f64 = actual.iter().zip(expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let whole: f64 = expected.iter().map(|value| square(f64::from(*value))).sum();
    if apart == 0.0 { 0.0 } else { (apart / whole).sqrt() }
}

pub(super) fn widened<E: Element>(values: &[E]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

pub(super) fn narrowed<E: Element>(values: &[f32]) -> Vec<E> {
    values.iter().map(|value| E::from_f32(*value)).collect()
}

/// Returns normally distributed values that follow from a seed.
pub(super) fn normal<E: Element>(seed: u64, count: usize) -> Vec<E> {
    let mut normal = Normal::new(seed);
    (0..count).map(|_| E::from_f32(normal.next() as f32)).collect()
}

/// Returns token ids below `vocabulary`.
pub(super) fn ids(tokens: usize, vocabulary: usize) -> Vec<u32> {
    (0..tokens as u64).map(|token| (mix(3, token) % vocabulary as u64) as u32).collect()
}

/// Returns the sums of gradients.
pub(super) fn gradients_of(trainer: &mut impl Backend) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    trainer.edit_gradients(&mut |gradients| {
        values = gradients.to_vec();
        Ok(())
    })?;
    Ok(values)
}
