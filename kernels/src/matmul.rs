//! Matrix product of activations with a weight matrix, from one row (decoding) to thousands (prefill).
//!
//! The weight matrix is halved until a block of its rows fits the L2 cache; the halves go to different
//! threads. A block then meets all batch rows, a few at a time in L1, in tiles that fill the registers.

use crate::dot::dots;
use crate::simd::{Simd, on_path};
use crate::{Path, path};

/// Weights of one block: half of the 1 MiB L2 of a server core would do; a quarter leaves room for the rest.
const BLOCK_BYTES: usize = 256 * 1024;

/// Multiply-adds below which waking another thread (about 10 microseconds) costs more than it saves:
/// one row against 2 MB of weights takes a core about 60.
pub(crate) const PARALLEL_WORK: usize = 512 * 1024;

/// out (B, O) = x (B, I) · w (O, I)ᵀ, all row-major; B is `x.len() / inputs`.
///
/// Fastest where rows of `x` and `w` start at multiples of 64 bytes.
///
/// # Panics
/// If the lengths do not fit these shapes, or `inputs` or `outputs` is 0.
pub fn matmul(out: &mut [f32], x: &[f32], w: &[f32], inputs: usize, outputs: usize) {
    matmul_on(path(), out, x, w, inputs, outputs);
}

pub(crate) fn matmul_on(path: Path, out: &mut [f32], x: &[f32], w: &[f32], inputs: usize, outputs: usize) {
    assert!(inputs > 0 && outputs > 0, "matmul: {inputs} inputs and {outputs} outputs, not 0");
    assert!(x.len().is_multiple_of(inputs), "matmul: x is {} long, rows are {inputs}", x.len());
    assert_eq!(w.len(), outputs * inputs, "matmul: w must be outputs x inputs");
    let batch = x.len() / inputs;
    assert_eq!(out.len(), batch * outputs, "matmul: out must be batch x outputs");

    let threads = if batch * w.len() < PARALLEL_WORK { 1 } else { rayon::current_num_threads() };
    let block_rows = (BLOCK_BYTES / size_of::<f32>() / inputs).min(outputs.div_ceil(threads));
    let product = Product { path, x, inputs, block_rows: block_rows.max(8), parallel: threads > 1 };
    product.split(out.chunks_exact_mut(outputs).collect(), w);
}

/// What stays the same from block to block.
struct Product<'a> {
    path: Path,
    x: &'a [f32],
    inputs: usize,
    block_rows: usize,
    parallel: bool,
}

impl Product<'_> {
    /// Halves the weight rows, and with them every row of the output, down to one block.
    fn split(&self, mut out: Vec<&mut [f32]>, w: &[f32]) {
        let rows = w.len() / self.inputs;
        if rows <= self.block_rows {
            let (out, x, inputs) = (out.as_mut_slice(), self.x, self.inputs);
            on_path!(self.path, block(out: &mut [&mut [f32]], x: &[f32], w: &[f32], inputs: usize));
            return;
        }
        // Whole tiles on the left; `block_rows` is at least 8, so the right is not empty.
        let middle = (rows / 2).next_multiple_of(8);
        let (left, right): (Vec<_>, Vec<_>) = out.into_iter().map(|row| row.split_at_mut(middle)).unzip();
        let (left_w, right_w) = w.split_at(middle * self.inputs);
        if self.parallel {
            rayon::join(|| self.split(left, left_w), || self.split(right, right_w));
        } else {
            self.split(left, left_w);
            self.split(right, right_w);
        }
    }
}

/// One block: `out[b]` is the part of output row b that the rows of `w` make.
#[inline(always)]
fn block<S: Simd>(simd: S, out: &mut [&mut [f32]], x: &[f32], w: &[f32], inputs: usize) {
    // 24 sums fill the 32 registers of AVX-512, 6 pairs the 16 of AVX2; with few batch rows, more weight
    // rows at once keep enough multiply-adds in flight.
    let width = if S::WIDE { 6 } else { 3 };
    for (out, x) in out.chunks_mut(width).zip(x.chunks(width * inputs)) {
        match (S::WIDE, out.len()) {
            (true, 1) => strip::<S, 8, 1>(simd, out, x, w, inputs),
            (true, 2) => strip::<S, 8, 2>(simd, out, x, w, inputs),
            (true, 3) => strip::<S, 8, 3>(simd, out, x, w, inputs),
            (true, 4) => strip::<S, 4, 4>(simd, out, x, w, inputs),
            (true, 5) => strip::<S, 4, 5>(simd, out, x, w, inputs),
            (true, _) => strip::<S, 4, 6>(simd, out, x, w, inputs),
            (false, 1) => strip::<S, 4, 1>(simd, out, x, w, inputs),
            (false, 2) => strip::<S, 2, 2>(simd, out, x, w, inputs),
            (false, _) => strip::<S, 2, 3>(simd, out, x, w, inputs),
        }
    }
}

/// COLUMNS batch rows against all weight rows of the block, ROWS at a time.
#[inline(always)]
fn strip<S: Simd, const ROWS: usize, const COLUMNS: usize>(
    simd: S,
    out: &mut [&mut [f32]],
    x: &[f32],
    w: &[f32],
    inputs: usize,
) {
    let columns: [&[f32]; COLUMNS] = std::array::from_fn(|column| &x[column * inputs..][..inputs]);
    let mut tiles = w.chunks_exact(ROWS * inputs);
    let mut first_row = 0;
    for tile in &mut tiles {
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &tile[row * inputs..][..inputs]);
        let totals = dots(simd, rows, columns);
        for column in 0..COLUMNS {
            out[column][first_row..][..ROWS].copy_from_slice(&totals[column]);
        }
        first_row += ROWS;
    }
    for (row, weights) in tiles.remainder().chunks_exact(inputs).enumerate() {
        let totals = dots(simd, [weights], columns);
        for column in 0..COLUMNS {
            out[column][first_row + row] = totals[column][0];
        }
    }
}
