//! A bias: it is written before a product is added to it, and its gradient is the sum of the rows of the product's.

use super::rows::ROWS;
use crate::element::{Element, vectorized};
use rayon::prelude::*;

/// Sets every row of y (T, O) to the bias (O).
///
/// # Panics
/// If y is not whole rows.
pub fn bias_forward<E: Element>(y: &mut [E], bias: &[f32]) {
    assert!(
        y.len().is_multiple_of(bias.len()),
        "bias: the length of y is not a multiple of that of the bias"
    );
    let row: Vec<E> = bias.iter().map(|value| E::from_f32(*value)).collect();
    y.par_chunks_mut(row.len()).for_each(|y| y.copy_from_slice(&row));
}

/// Adds the sum of the rows of dy (T, O) to dbias (O). Blocks of rows are added in order, on any number of threads.
///
/// # Panics
/// If dy is not whole rows.
pub fn bias_backward<E: Element>(dbias: &mut [f32], dy: &[E]) {
    let outputs = dbias.len();
    assert!(dy.len().is_multiple_of(outputs), "bias: the length of dy is not a multiple of that of dbias");
    let block_sum = |dy: &[E]| {
        let mut sum = vec![0.0; outputs];
        add_rows(&mut sum, dy);
        sum
    };
    let partial: Vec<Vec<f32>> = dy.par_chunks(ROWS * outputs).map(block_sum).collect();
    for partial in partial {
        dbias.iter_mut().zip(partial).for_each(|(dbias, partial)| *dbias += partial);
    }
}

vectorized! {
    fn add_rows<E>(sum: &mut [f32], dy: &[E]) {
        for dy in dy.chunks_exact(sum.len()) {
            sum.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy.to_f32());
        }
    }
}
