//! Operations on every number of a buffer, in parallel: the residual connection, and rounding of what is kept.

use crate::element::{Element, vectorized};
use rayon::prelude::*;

/// Numbers that a thread takes at a time.
const NUMBERS: usize = 1 << 14;

/// Adds y to x in place.
///
/// # Panics
/// If the lengths differ.
pub fn residual_add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "residual_add: x and y must have the same length");
    x.par_chunks_mut(NUMBERS).zip(y.par_chunks(NUMBERS)).for_each(|(x, y)| add(x, y));
}

/// Sets every number of `out` to the nearest one of its type.
///
/// # Panics
/// If the lengths differ.
pub fn round<E: Element>(out: &mut [E], x: &[f32]) {
    assert_eq!(out.len(), x.len(), "round: out and x must have the same length");
    out.par_chunks_mut(NUMBERS).zip(x.par_chunks(NUMBERS)).for_each(|(out, x)| nearest(out, x));
}

vectorized! {
    fn add(x: &mut [f32], y: &[f32]) {
        x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
    }

    fn nearest<E>(out: &mut [E], x: &[f32]) {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = E::from_f32(*x));
    }
}
