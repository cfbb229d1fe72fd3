//! Matrix products for training: operands in any layout, f32 or bf16, with f32 sums, replacing or added to the result.
//!
//! ```text
//!              N (blocks of 3,072 columns, split into panels of WIDTH)
//!         K  [ B ]   packed once for all threads, 256 steps of K at a time
//!       [ A ][ C ]   each thread takes blocks of up to 96 rows and multiplies them with every panel
//!        M
//! ```
//!
//! An element of C sums over k in one order on any number of threads, so a run gives the same bits on one thread and on
//! many: ascending, in blocks of 256 steps whose sums are added, or as one chain (`Accumulate::Chain`). bf16 products use
//! the pairwise multiply-add of AVX-512 if the CPU has it; otherwise the rounded values are multiplied in f32, in that
//! instruction's order: of a pair of k, the second one first.

#[cfg(target_arch = "x86_64")]
mod bf16_pairs;
mod matrix;
mod multiply;
mod pack;
pub(crate) mod scratch;
mod tile;

pub(crate) use matrix::Target;
pub use matrix::{Accumulate, Matrix};

use crate::element::Element;
use crate::isa::{Isa, isa};
use multiply::{Dispatch, F32Products, Multiply, RoundedProducts};
use rayon::prelude::*;
use std::ops::Range;
use tile::Product;

/// Most rows of C that one thread takes at a time: their slice of A fits in the L2 cache.
const BLOCK_ROWS: usize = 96;
/// Columns of B that are packed at once.
const BLOCK_COLUMNS: usize = 3072;
/// Steps of k between two updates of C. A panel of B then takes 64 KiB, half of a small L2 cache.
const BLOCK_STEPS: usize = 256;
/// Multiply-adds below which a product runs on one thread, which is faster.
const PARALLEL_WORK: usize = 1 << 20;

/// Computes C (M, N) = A (M, K) B (K, N), or adds the product to C. `P` is the element type of the products (f32 or
/// bf16); sums are f32.
///
/// # Panics
/// If the shapes do not match.
pub fn gemm<P: Element, A: Element, B: Element, C: Element>(
    c: &mut [C],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    accumulate: Accumulate,
) {
    assert_eq!(a.columns, b.rows, "gemm: A has {} columns, B {} rows; they must be equal", a.columns, b.rows);
    let target = Target::new(c, a.rows, b.columns);
    // SAFETY: the target is the whole of an exclusive slice.
    unsafe { gemm_to::<P, A, B, C>(target, a, b, accumulate) };
}

/// [`gemm`] into any rows and columns of a larger matrix.
///
/// # Safety
/// All elements of the target must exist, and nothing else may read or write them during the call.
pub(crate) unsafe fn gemm_to<P: Element, A: Element, B: Element, C: Element>(
    c: Target<C>,
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    accumulate: Accumulate,
) {
    assert!(
        c.rows == a.rows && c.columns == b.columns && a.columns == b.rows,
        "gemm: the shapes of A, B and C do not match"
    );
    let product = Product { c, a, b, accumulate };
    match (isa(), P::BF16) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, true) if let Some(pairs) = bf16_pairs::Bf16Pairs::detect() => {
            multiply_blocks(pairs, product);
        }
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, bf16) if let Some(simd) = crate::avx512::Avx512::detect() => {
            multiply_f32(bf16, simd, product);
        }
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, bf16) if let Some(simd) = crate::avx2::Avx2::detect() => {
            multiply_f32(bf16, simd, product);
        }
        (_, bf16) => multiply_f32(bf16, crate::simd::Portable, product),
    }
}

/// A product with f32 multipliers, of values that are rounded to bf16 first if `bf16` is set.
fn multiply_f32<S: Dispatch, A: Element, B: Element, C: Element>(
    bf16: bool,
    simd: S,
    product: Product<'_, A, B, C>,
) {
    if bf16 {
        multiply_blocks(RoundedProducts(simd), product);
    } else {
        multiply_blocks(F32Products(simd), product);
    }
}

/// The loops over blocks of columns, of k and of rows.
fn multiply_blocks<M: Multiply, A: Element, B: Element, C: Element>(
    multiply: M,
    product: Product<'_, A, B, C>,
) {
    let (rows, columns, depth) = (product.c.rows, product.c.columns, product.a.columns);
    if rows == 0 || columns == 0 {
        return;
    }
    if depth == 0 {
        return product.empty_sum();
    }
    let parallel = rows * columns * depth >= PARALLEL_WORK;
    // A bf16 result cannot hold partial sums between blocks of k, so it takes all of k at once.
    let block_steps = if C::BF16 { depth } else { BLOCK_STEPS * M::STEP };
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    let parts = rows.div_ceil(BLOCK_ROWS).next_multiple_of(threads).min(rows.div_ceil(M::ROWS));
    let width = M::WIDTH;
    let mut panels = scratch::take::<M::Packed>();
    for column in (0..columns).step_by(BLOCK_COLUMNS) {
        let block_columns = BLOCK_COLUMNS.min(columns - column);
        for first in (0..depth).step_by(block_steps) {
            let block_depth = first..depth.min(first + block_steps);
            let steps = block_depth.len().div_ceil(M::STEP);
            panels.resize(block_columns.div_ceil(width) * width * steps, M::Packed::default());
            let pack_panel = |(index, panel): (usize, &mut [M::Packed])| {
                let columns = column + index * width..(column + (index + 1) * width).min(columns);
                let depth = block_depth.clone();
                multiply.dispatch(pack::PackPanel::<M, B> { panel, b: product.b, depth, columns });
            };
            if parallel {
                panels.par_chunks_mut(width * steps).enumerate().for_each(pack_panel);
            } else {
                panels.chunks_mut(width * steps).enumerate().for_each(pack_panel);
            }
            let (columns, depth) = (block_columns, block_depth.len());
            let block = tile::Block { column, columns, first, depth, panels: &panels[..] };
            let row_block =
                |part| tile::multiply_rows(multiply, product, block, part_rows(rows, M::ROWS, part, parts));
            if parallel {
                (0..parts).into_par_iter().for_each(row_block);
            } else {
                (0..parts).for_each(row_block);
            }
        }
    }
    scratch::give(panels);
}

/// The rows of part `part` when `rows` rows are split into `parts` parts of whole tiles. The numbers of tiles of two
/// parts differ by at most one, so that threads finish at about the same time.
fn part_rows(rows: usize, tile: usize, part: usize, parts: usize) -> Range<usize> {
    let bound = |part: usize| (rows.div_ceil(tile) * part / parts * tile).min(rows);
    bound(part)..bound(part + 1)
}
