//! Every operation of the card beside the CPU's, forward and backward, in odd shapes: what `gpu/check` runs on a card
//! and the tests run on the emulated one.

mod attention;
mod goldens;
mod operations;
mod whole;

pub use goldens::gradients as golden_gradients;
pub use whole::{models, shapes};

use super::buffer::{Buffer, In};
use super::card::Card;
use crate::random::Normal;
use anyhow::Result;
use kernels::Element;
use std::fmt;

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What was compared.
    pub what: String,
    /// How far apart, relative; NaN where a number is none.
    pub found: f64,
    /// The most that is right.
    pub limit: f64,
}

impl Finding {
    /// Whether it is within its limit; NaN is not.
    pub fn right(&self) -> bool {
        self.found <= self.limit
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.right() { "ok" } else { "WRONG" };
        write!(formatter, "{}\t{:.1e}\t{:.0e}\t{verdict}", self.what, self.found, self.limit)
    }
}

/// How large the shapes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// For tools that slow every access down a hundred times.
    Small,
    /// With rows and sequences longer than any block.
    Full,
}

/// Which operations. A fault leaves a card's process unusable, so `gpu/check` gives each part a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The optimizer and gradients that are f32 whatever the activations are.
    F32Only,
    /// Row by row, and products, of f32 activations.
    RowsF32,
    /// The same of bf16.
    RowsBf16,
    /// Attention of f32.
    AttentionF32,
    /// Attention of bf16: tensor cores.
    AttentionBf16,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::F32Only, Self::RowsF32, Self::RowsBf16, Self::AttentionF32, Self::AttentionBf16];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32Only => "f32-only",
            Self::RowsF32 => "rows-f32",
            Self::RowsBf16 => "rows-bf16",
            Self::AttentionF32 => "attention-f32",
            Self::AttentionBf16 => "attention-bf16",
        }
    }
}

/// The operations of a part.
///
/// # Errors
/// When the card fails; a wrong answer is a finding.
pub fn operations(card: &Card, part: Part, extent: Extent) -> Result<Vec<Finding>> {
    let mut findings = Findings { card, list: Vec::new() };
    match part {
        Part::F32Only => operations::f32_only(&mut findings, extent),
        Part::RowsF32 => operations::both::<f32>(&mut findings, extent),
        Part::RowsBf16 => operations::both::<half::bf16>(&mut findings, extent),
        Part::AttentionF32 => attention::compare::<f32>(&mut findings, extent),
        Part::AttentionBf16 => attention::compare::<half::bf16>(&mut findings, extent),
    }?;
    Ok(findings.list)
}

/// Keeps a finding and says it at once: a fault of the card that comes later does not take it along.
fn note(list: &mut Vec<Finding>, what: String, found: f64, limit: f64) {
    let finding = Finding { what, found, limit };
    eprintln!("{finding}");
    list.push(finding);
}

/// Findings as they come, and the card they come from.
struct Findings<'a> {
    card: &'a Card,
    list: Vec<Finding>,
}

impl Findings<'_> {
    /// Notes how far two results are apart, within the limit of their type.
    fn compare<E: Element>(&mut self, what: &str, found: &[E], expected: &[E]) {
        let type_name = if E::BF16 { "bf16" } else { "f32" };
        let limit = if E::BF16 { 1e-2 } else { 1e-4 };
        let found = relative(&widened(found), &widened(expected));
        note(&mut self.list, format!("{what}, {type_name}"), found, limit);
    }

    /// Notes whether two results have the same bits.
    fn same<E: Element>(&mut self, what: &str, found: &[E], expected: &[E]) {
        let bits = |values: &[E]| values.iter().map(|value| value.to_f32().to_bits()).collect::<Vec<_>>();
        let type_name = if E::BF16 { "bf16" } else { "f32" };
        let found = if bits(found) == bits(expected) { 0.0 } else { f64::NAN };
        note(&mut self.list, format!("{what}, {type_name}"), found, 0.0);
    }

    fn put<T: Copy>(&self, values: &[T]) -> Result<Buffer<T>> {
        self.card.copy_of("a comparison", values)
    }

    fn get<T: Copy + Default>(&self, from: In<'_, T>) -> Result<Vec<T>> {
        let mut values = vec![T::default(); from.len()];
        self.card.download(&mut values, from)?;
        Ok(values)
    }
}

/// |found - expected| / |expected|; both 0 are equal.
fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "comparison: lengths");
    let square = |value: f64| value * value;
    let apart: f64 = found.iter().zip(expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let whole: f64 = expected.iter().map(|value| square(f64::from(*value))).sum();
    if apart == 0.0 { 0.0 } else { (apart / whole).sqrt() }
}

fn widened<E: Element>(values: &[E]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

/// Normally distributed numbers of a seed.
fn drawn<E: Element>(seed: u64, count: usize) -> Vec<E> {
    let mut normal = Normal::new(seed);
    (0..count).map(|_| E::from_f32(normal.next() as f32)).collect()
}
