//! Matrix products for training: any operand transposed, f32 or bf16 in, f32 sums, adding to what is there.
//!
//! B is packed into panels that a register tile walks with unit stride, all threads sharing it; then every
//! thread takes blocks of rows of C. An element of C sums over k in ascending order whatever the number of
//! threads, so a run is the same on one thread and on many. bf16 products use AVX-512's pairwise
//! multiply-add where the CPU has it; elsewhere the rounded values are multiplied in f32.

mod pack;
pub(crate) mod scratch;
mod tile;

use crate::element::Element;
use crate::{Path, path};
use rayon::prelude::*;
use std::ops::Range;
use tile::{Multiply, Product};

/// Most rows of C that one thread takes at a time: their slice of A fits the L2.
const BLOCK_ROWS: usize = 96;
/// Columns of B packed at once.
const BLOCK_COLUMNS: usize = 3072;
/// Steps of k between two visits to C: a panel of B then takes 64 KiB, half of a small L2.
const BLOCK_STEPS: usize = 256;
/// Multiply-adds below which one thread is quicker.
const PARALLEL_WORK: usize = 1 << 20;

/// A matrix in somebody's memory: element (i, j) lies at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, E> {
    pub(crate) data: &'a [E],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a, E> Matrix<'a, E> {
    /// A row-major matrix over the whole slice.
    ///
    /// # Panics
    /// If the slice is not rows x columns long.
    pub fn new(data: &'a [E], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "Matrix: {rows} x {columns} over {} elements", data.len());
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// `columns` neighbouring columns of a row-major matrix whose rows are `row_stride` long.
    ///
    /// # Panics
    /// If the last row does not fit the slice.
    pub fn strided(data: &'a [E], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || (rows - 1) * row_stride + columns <= data.len(),
            "Matrix: rows beyond the slice"
        );
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same memory read as its transpose.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Where a product goes: row-major, rows `row_stride` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<E> {
    pub(crate) data: *mut E,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
}

// SAFETY: a target is only ever split into blocks of rows that no two threads share.
unsafe impl<E: Send> Send for Target<E> {}
// SAFETY: as above.
unsafe impl<E: Send> Sync for Target<E> {}

impl<E> Target<E> {
    /// A whole row-major slice.
    pub(crate) fn new(data: &mut [E], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "gemm: the result is {rows} x {columns}");
        Self { data: data.as_mut_ptr(), rows, columns, row_stride: columns }
    }
}

/// Whether a product replaces the result or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// C = A B
    Replace,
    /// C = C + A B; C must be f32.
    Add,
}

/// C (M, N) = A (M, K) · B (K, N), or added to C. The products are bf16 where `P` is; the sums are f32.
///
/// # Panics
/// If the shapes do not fit, or a bf16 result is to be added to.
pub fn gemm<P: Element, A: Element, B: Element, C: Element>(
    c: &mut [C],
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    into: Into,
) {
    assert_eq!(a.columns, b.rows, "gemm: A has {} columns, B {} rows", a.columns, b.rows);
    let target = Target::new(c, a.rows, b.columns);
    // SAFETY: the target is the whole of an exclusive slice.
    unsafe { gemm_to::<P, A, B, C>(target, a, b, into) };
}

/// `gemm` into any rows and columns of a larger matrix.
///
/// # Safety
/// Nothing else may read or write the target's elements meanwhile, and they must all exist.
pub(crate) unsafe fn gemm_to<P: Element, A: Element, B: Element, C: Element>(
    c: Target<C>,
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    into: Into,
) {
    assert!(!(C::BF16 && into == Into::Add), "gemm: only an f32 result can be added to");
    assert!(c.rows == a.rows && c.columns == b.columns && a.columns == b.rows, "gemm: shapes");
    let product = Product { c, a, b, into };
    match (path(), P::BF16) {
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512, true) if let Some(pairs) = tile::Pairs::detect() => blocks(pairs, product),
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512, bf16) if let Some(simd) = crate::avx512::Avx512::detect() => {
            by_rounding(bf16, simd, product);
        }
        #[cfg(target_arch = "x86_64")]
        (Path::Avx2, bf16) if let Some(simd) = crate::avx2::Avx2::detect() => {
            by_rounding(bf16, simd, product);
        }
        (_, bf16) => by_rounding(bf16, crate::simd::Portable, product),
    }
}

fn by_rounding<S: crate::simd::Simd + tile::Enter, A: Element, B: Element, C: Element>(
    bf16: bool,
    simd: S,
    product: Product<'_, A, B, C>,
) {
    if bf16 {
        blocks(tile::Rounded(simd), product);
    } else {
        blocks(tile::Single(simd), product);
    }
}

/// The loops over blocks of columns, of k and of rows.
fn blocks<M: Multiply, A: Element, B: Element, C: Element>(multiply: M, product: Product<'_, A, B, C>) {
    let (rows, columns, depth) = (product.c.rows, product.c.columns, product.a.columns);
    if rows == 0 || columns == 0 {
        return;
    }
    if depth == 0 {
        return product.clear();
    }
    let parallel = rows * columns * depth >= PARALLEL_WORK;
    // A bf16 result has no room for sums between blocks of k: it takes all of k at once.
    let block_steps = if C::BF16 { depth } else { BLOCK_STEPS * M::STEP };
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    let parts = rows.div_ceil(BLOCK_ROWS).next_multiple_of(threads).min(rows.div_ceil(M::ROWS));
    let width = M::WIDTH;
    let mut panels = scratch::take::<M::Packed>();
    for column in (0..columns).step_by(BLOCK_COLUMNS) {
        let block_columns = BLOCK_COLUMNS.min(columns - column);
        for first in (0..depth).step_by(block_steps) {
            let block_depth = block_steps.min(depth - first);
            let steps = block_depth.div_ceil(M::STEP);
            panels.resize(block_columns.div_ceil(width) * width * steps, M::Packed::default());
            let pack_panel = |(index, panel): (usize, &mut [M::Packed])| {
                let columns = column + index * width..(column + (index + 1) * width).min(columns);
                let depth = first..first + block_depth;
                multiply.enter(pack::Columns::<M, B> { panel, b: product.b, depth, columns });
            };
            if parallel {
                panels.par_chunks_mut(width * steps).enumerate().for_each(pack_panel);
            } else {
                panels.chunks_mut(width * steps).enumerate().for_each(pack_panel);
            }
            let block = tile::Block { column, block_columns, first, block_depth, panels: &panels[..] };
            let row_block = |part| tile::rows(multiply, product, block, part_of(rows, M::ROWS, part, parts));
            if parallel {
                (0..parts).into_par_iter().for_each(row_block);
            } else {
                (0..parts).for_each(row_block);
            }
        }
    }
    scratch::give(panels);
}

/// The rows of one of `parts` parts of `rows` rows: as many tiles in each as in any other, or one more, so that no
/// thread waits long for another.
fn part_of(rows: usize, tile: usize, part: usize, parts: usize) -> Range<usize> {
    let bound = |part: usize| (rows.div_ceil(tile) * part / parts * tile).min(rows);
    bound(part)..bound(part + 1)
}
