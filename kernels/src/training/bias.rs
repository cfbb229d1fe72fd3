//! A bias: it is added to every row of a product, and its gradient is the sum of the rows of the product's.

use super::rows::ROWS;
use crate::element::{Element, vectorized};
use rayon::prelude::*;

/// Adds the bias (O) to every row of y (T, O).
///
/// # Panics
/// If y is not whole rows.
pub fn bias_forward(y: &mut [f32], bias: &[f32]) {
    assert!(
        y.len().is_multiple_of(bias.len()),
        "bias: the length of y is not a multiple of that of the bias"
    );
    y.par_chunks_mut(ROWS * bias.len()).for_each(|y| add_bias(y, bias));
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
    fn add_bias(y: &mut [f32], bias: &[f32]) {
        for y in y.chunks_exact_mut(bias.len()) {
            y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }

    fn add_rows<E>(sum: &mut [f32], dy: &[E]) {
        for dy in dy.chunks_exact(sum.len()) {
            sum.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy.to_f32());
        }
    }
}
