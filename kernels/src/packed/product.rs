//! The product of activations and packed weights. Each weight is read from memory once for all tokens.
//!
//! A task takes some pairs of tiles (2 x 16 outputs); `pairs` multiplies them.

use super::activations::Activations;
use super::formats::multiply_section;
use super::matrix::{PAIR, PackedMatrix};
use super::pairs::{Epilogue, Job, Output};
use crate::simd::LANES;
use crate::threads::{parallel_for, threads};

/// Computes out (T, N) = x (T, K) * matrix (N, K)^T, with one row of `out` every `stride` numbers.
///
/// # Panics
/// If x was filled for another format, `out` is not T rows of `stride` numbers, or `stride` is smaller than the number
/// of outputs rounded up to 16.
pub fn multiply(out: &mut [f32], stride: usize, x: &Activations, matrix: &PackedMatrix, epilogue: Epilogue) {
    let is_gated = matches!(epilogue, Epilogue::Gate | Epilogue::GeluGate);
    let outputs = if is_gated { matrix.rows / 2 } else { matrix.rows };
    assert_eq!(
        x.format(),
        matrix.format().activations(),
        "multiply: x was filled for weights of another format"
    );
    assert_eq!(out.len(), x.tokens() * stride, "multiply: the length of out is not tokens x stride");
    assert!(
        stride >= outputs.next_multiple_of(LANES),
        "multiply: a stride of {stride} is too small for {outputs} outputs rounded up to {LANES}"
    );
    if x.tokens() == 0 {
        return;
    }
    let pairs = matrix.rows.div_ceil(PAIR * LANES);
    let tasks = pairs.min(threads() * if x.tokens() <= 12 { 4 } else { 8 });
    let out = Output(out.as_mut_ptr());
    let isa = x.isa();
    parallel_for(tasks, |task| {
        let (first, last) = (pairs * task / tasks, pairs * (task + 1) / tasks);
        for section in &matrix.sections {
            let (first, last) = (first.max(section.pairs.0), last.min(section.pairs.1));
            if first < last {
                let job = Job { out: &out, stride, x, matrix, section, epilogue };
                multiply_section(isa, &job, first, last);
            }
        }
    });
}
