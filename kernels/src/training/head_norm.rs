//! RMS norm of single heads of packed queries, keys and values, in place: what some families do to queries and keys before
//! they are rotated. Its gradient needs the heads as they were before.

use super::norm::{scale_of, through_scale};
use super::rows::ROWS;
use crate::element::{Element, vectorized};
use rayon::prelude::*;
use std::ops::Range;

/// Heads that are normed alike: some of those in each row, with the same weights.
#[derive(Clone, Copy, Debug)]
pub struct NormedHeads<'a> {
    /// Number of the first one in a row.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// Weights of an element of a head (D).
    pub weight: &'a [f32],
    /// Added to the mean square.
    pub epsilon: f32,
}

impl NormedHeads<'_> {
    /// Returns their columns in a row.
    fn columns(&self) -> Range<usize> {
        let width = self.weight.len();
        self.first * width..(self.first + self.count) * width
    }

    fn check(&self, elements: usize, row: usize) {
        assert!(
            elements.is_multiple_of(row) && self.columns().end <= row,
            "head_norm: the heads {}.. do not fit in rows of {row} numbers",
            self.first
        );
    }
}

/// Norms the heads in every row of x (T, row).
///
/// # Panics
/// If x is not whole rows, or a row is shorter than its heads.
pub fn head_norm_forward<E: Element>(x: &mut [E], row: usize, heads: NormedHeads<'_>) {
    heads.check(x.len(), row);
    x.par_chunks_mut(ROWS * row).for_each(|x| forward(x, row, heads));
}

/// Replaces the gradient of the normed heads, in every row of dx (T, row), by that of the heads before the norm, and adds the
/// gradient of the weights to dw (D), unless they are frozen. Rows of x (T, kept) begin with the heads before the norm.
///
/// dw sums over blocks of rows in order, on any number of threads.
///
/// # Panics
/// If the lengths do not match.
pub fn head_norm_backward<E: Element>(
    dx: &mut [E],
    dw: Option<&mut [f32]>,
    x: &[E],
    (row, kept): (usize, usize),
    heads: NormedHeads<'_>,
) {
    heads.check(dx.len(), row);
    heads.check(x.len(), kept);
    assert_eq!(dx.len() / row, x.len() / kept, "head_norm_backward: dx and x must have as many rows");
    let blocks = dx.par_chunks_mut(ROWS * row).zip(x.par_chunks(ROWS * kept));
    let Some(dw) = dw else {
        return blocks.for_each(|(dx, x)| backward(dx, &mut [], x, row, kept, heads));
    };
    let block_sum = |(dx, x): (&mut [E], &[E])| {
        let mut dw = vec![0.0; heads.weight.len()];
        backward(dx, &mut dw, x, row, kept, heads);
        dw
    };
    let partial: Vec<Vec<f32>> = blocks.map(block_sum).collect();
    for partial in partial {
        dw.iter_mut().zip(partial).for_each(|(dw, partial)| *dw += partial);
    }
}

vectorized! {
    fn forward<E>(x: &mut [E], row: usize, heads: NormedHeads<'_>) {
        for row in x.chunks_exact_mut(row) {
            for head in row[heads.columns()].chunks_exact_mut(heads.weight.len()) {
                let scale = scale_of(head, heads.epsilon);
                for (x, w) in head.iter_mut().zip(heads.weight) {
                    *x = E::from_f32(w * (x.to_f32() * scale));
                }
            }
        }
    }

    fn backward<E>(dx: &mut [E], dw: &mut [f32], x: &[E], row: usize, kept: usize, heads: NormedHeads<'_>) {
        let (columns, width) = (heads.columns(), heads.weight.len());
        for (dx, x) in dx.chunks_exact_mut(row).zip(x.chunks_exact(kept)) {
            let heads_of_row = dx[columns.clone()].chunks_exact_mut(width);
            for (dx, x) in heads_of_row.zip(x[columns.clone()].chunks_exact(width)) {
                let scale = scale_of(x, heads.epsilon);
                let through_scale = through_scale(dx, x, heads.weight, scale);
                // Empty where the weights are frozen.
                for ((dw, dy), x) in dw.iter_mut().zip(&*dx).zip(x) {
                    *dw += dy.to_f32() * x.to_f32() * scale;
                }
                for ((dx, x), w) in dx.iter_mut().zip(x).zip(heads.weight) {
                    *dx = E::from_f32(dx.to_f32() * w * scale - x.to_f32() * through_scale);
                }
            }
        }
    }
}
