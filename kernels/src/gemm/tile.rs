//! The register tile: ROWS rows of A times one panel of B, with all sums in registers.
//!
//! ```text
//!                   panel of B, packed: WIDTH columns, VECTORS registers a step
//!                   k  [ v0 | v1 | v2 | v3 ]
//!     A             k' [ v0 | v1 | v2 | v3 ]
//!     row 0  k k' ..   [ sums of row 0     ]
//!     row 1  k k' ..   [ sums of row 1     ]     per step: load VECTORS vectors of B,
//!     ...              [ ...               ]     broadcast ROWS values of A,
//!     row 5  k k' ..   [ sums of row 5     ]     ROWS x VECTORS fused multiply-adds
//! ```
//!
//! 6 rows x 4 vectors (24 of 32 registers) on AVX-512, 4 rows x 1 vector elsewhere: with 12 sums on AVX2 the compiler
//! kept some of them on the stack, at half the speed.

use super::matrix::{Accumulate, Matrix, Target};
use super::multiply::{Job, Multiply};
use super::{pack, scratch};
use crate::element::Element;
use crate::simd::LANES;
use std::ops::Range;

/// A whole product: C = A B or C += A B.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, A, B, C> {
    pub(crate) c: Target<C>,
    pub(crate) a: Matrix<'a, A>,
    pub(crate) b: Matrix<'a, B>,
    pub(crate) accumulate: Accumulate,
}

impl<A, B, C: Element> Product<'_, A, B, C> {
    /// The result for K = 0: zeros, or C unchanged.
    pub(super) fn empty_sum(self) {
        if self.accumulate != Accumulate::Add {
            for row in 0..self.c.rows {
                let start = row * self.c.row_stride;
                // SAFETY: the row and its columns exist in the target, and no other thread accesses them.
                let out = unsafe { std::slice::from_raw_parts_mut(self.c.data.add(start), self.c.columns) };
                out.fill(C::default());
            }
        }
    }
}

/// The packed part of B that is multiplied at one time: some columns, some steps of k.
#[derive(Clone, Copy)]
pub(super) struct Block<'a, P> {
    /// First column.
    pub(super) column: usize,
    pub(super) columns: usize,
    /// First k.
    pub(super) first: usize,
    /// Number of k.
    pub(super) depth: usize,
    /// Panel after panel: (steps, WIDTH).
    pub(super) panels: &'a [P],
}

/// Multiplies some rows of A with all panels of the block.
pub(super) fn multiply_rows<M: Multiply, A: Element, B: Element, C: Element>(
    multiply: M,
    product: Product<'_, A, B, C>,
    block: Block<'_, M::Packed>,
    rows: Range<usize>,
) {
    let mut scratch = scratch::take::<M::Packed>();
    multiply.dispatch(MultiplyRows { multiply, product, block, rows, scratch: &mut scratch });
    scratch::give(scratch);
}

struct MultiplyRows<'a, M: Multiply, A, B, C> {
    multiply: M,
    product: Product<'a, A, B, C>,
    block: Block<'a, M::Packed>,
    rows: Range<usize>,
    scratch: &'a mut Vec<M::Packed>,
}

impl<M: Multiply, A: Element, B: Element, C: Element> Job for MultiplyRows<'_, M, A, B, C> {
    #[inline(always)]
    fn run(self) {
        let Self { multiply, product, block, rows, scratch } = self;
        match M::ROWS {
            6 => multiply_tiles::<M, A, B, C, 6, 4>(multiply, product, block, rows, scratch),
            _ => multiply_tiles::<M, A, B, C, 4, 1>(multiply, product, block, rows, scratch),
        }
    }
}

/// Packed numbers of A as the tile reads them: tile t, row r, step s is at `start + t * tile + r * row + s * step`.
struct Slice<P> {
    start: *const P,
    tile: usize,
    row: usize,
    step: usize,
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "rows and vectors index registers, several arrays at once")]
fn multiply_tiles<
    M: Multiply,
    A: Element,
    B: Element,
    C: Element,
    const ROWS: usize,
    const VECTORS: usize,
>(
    multiply: M,
    product: Product<'_, A, B, C>,
    block: Block<'_, M::Packed>,
    rows: Range<usize>,
    scratch: &mut Vec<M::Packed>,
) {
    let steps = block.depth.div_ceil(M::STEP);
    let slice = slice_of_a::<M, A>(product.a, rows.clone(), &block, steps, ROWS, scratch);
    let width = VECTORS * LANES;
    let continues = product.accumulate == Accumulate::Chain && block.first > 0;
    let replace = match product.accumulate {
        Accumulate::Replace => block.first == 0,
        Accumulate::Chain => true,
        Accumulate::Add => false,
    };
    for (index, panel) in block.panels.chunks_exact(width * steps).enumerate() {
        let column = index * width;
        let columns = width.min(block.columns - column);
        for (tile, row) in rows.clone().step_by(ROWS).enumerate() {
            let count = ROWS.min(rows.end - row);
            // Rows beyond the last one repeat it; their sums are not stored.
            let offsets: [usize; ROWS] =
                std::array::from_fn(|row| tile * slice.tile + row.min(count - 1) * slice.row);
            let first = row * product.c.row_stride + block.column + column;
            let mut sums = if continues {
                // SAFETY: these rows and columns exist in the target, and no other thread accesses them.
                unsafe { load_tile::<M, C, ROWS, VECTORS>(multiply, product.c, first, [count, columns]) }
            } else {
                [[multiply.zero(); VECTORS]; ROWS]
            };
            for step in 0..steps {
                let mut operands = [multiply.splat(M::Packed::default()); VECTORS];
                for vector in 0..VECTORS {
                    // SAFETY: the panel holds `steps` steps of `width` packed numbers.
                    operands[vector] =
                        unsafe { multiply.load(panel.as_ptr().add(step * width + vector * LANES)) };
                }
                for row in 0..ROWS {
                    // SAFETY: the slice holds `steps` steps of every row. Packed pairs may be aligned to two bytes
                    // only.
                    let value = unsafe { slice.start.add(offsets[row] + step * slice.step).read_unaligned() };
                    let value = multiply.splat(value);
                    for vector in 0..VECTORS {
                        sums[row][vector] = multiply.multiply_add(value, operands[vector], sums[row][vector]);
                    }
                }
            }
            // Both loops count to constants, so that the sums stay in registers.
            for row_of_tile in 0..ROWS {
                for vector in 0..VECTORS {
                    let from = vector * LANES;
                    if row_of_tile >= count || from >= columns {
                        break;
                    }
                    let index = first + row_of_tile * product.c.row_stride + from;
                    let length = LANES.min(columns - from);
                    // SAFETY: the row and its columns exist in the target, and no other thread accesses them.
                    let out = unsafe { std::slice::from_raw_parts_mut(product.c.data.add(index), length) };
                    store(multiply, out, sums[row_of_tile][vector], replace);
                }
            }
        }
    }
}

/// Reads the sums so far of a tile from C, which is f32 where a chain has several blocks: so many rows and columns from the
/// element `first` on.
///
/// # Safety
/// The rows and columns must exist in the target, and no other thread may access them.
#[inline(always)]
unsafe fn load_tile<M: Multiply, C: Element, const ROWS: usize, const VECTORS: usize>(
    multiply: M,
    c: Target<C>,
    first: usize,
    [rows, columns]: [usize; 2],
) -> [[M::Sums; VECTORS]; ROWS] {
    let mut sums = [[multiply.zero(); VECTORS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate().take(rows) {
        for (vector, sum) in sums.iter_mut().enumerate() {
            let from = vector * LANES;
            if from >= columns {
                break;
            }
            let length = LANES.min(columns - from);
            let at = first + row * c.row_stride + from;
            // SAFETY: the caller guarantees it.
            let values = unsafe { std::slice::from_raw_parts(c.data.add(at), length) };
            *sum = match C::as_f32(values).map(<&[f32; LANES]>::try_from) {
                Some(Ok(whole)) => multiply.load_sums(whole),
                _ => {
                    let mut line = [0.0; LANES];
                    line.iter_mut().zip(values).for_each(|(line, value)| *line = value.to_f32());
                    multiply.load_sums(&line)
                }
            };
        }
    }
    sums
}

/// Writes one vector of sums to C, or adds it.
#[inline(always)]
fn store<M: Multiply, C: Element>(multiply: M, out: &mut [C], sums: M::Sums, replace: bool) {
    if !C::BF16 && out.len() == LANES {
        // SAFETY: sixteen elements that are not bf16 are sixteen f32.
        let out = unsafe { &mut *out.as_mut_ptr().cast::<[f32; LANES]>() };
        let sums = if replace { sums } else { multiply.add(multiply.load_sums(out), sums) };
        return multiply.store(out, sums);
    }
    let mut line = [0.0; LANES];
    multiply.store(&mut line, sums);
    let set = |(out, value): (&mut C, &f32)| *out = C::from_f32(*value);
    let add = |(out, value): (&mut C, &f32)| *out = C::from_f32(out.to_f32() + value);
    // An array of constant length, so that the compiler vectorizes the rounding to bf16.
    match (<&mut [C; LANES]>::try_from(&mut *out), replace) {
        (Ok(out), true) => out.iter_mut().zip(&line).for_each(set),
        (Err(_), true) => out.iter_mut().zip(&line).for_each(set),
        (Ok(out), false) => out.iter_mut().zip(&line).for_each(add),
        (Err(_), false) => out.iter_mut().zip(&line).for_each(add),
    }
}

/// Returns A in place if the tile can read it so, otherwise packed into `scratch`.
#[inline(always)]
fn slice_of_a<M: Multiply, A: Element>(
    a: Matrix<'_, A>,
    rows: Range<usize>,
    block: &Block<'_, M::Packed>,
    steps: usize,
    tile_rows: usize,
    scratch: &mut Vec<M::Packed>,
) -> Slice<M::Packed> {
    let depth = block.first..block.first + block.depth;
    if a.column_stride == 1 {
        let aligned = a.row_stride.is_multiple_of(M::STEP) && depth.len().is_multiple_of(M::STEP);
        let first = &a.data[rows.start * a.row_stride + depth.start..];
        if let Some(start) = M::as_packed(first).filter(|_| aligned) {
            let row = a.row_stride / M::STEP;
            return Slice { start, tile: tile_rows * row, row, step: 1 };
        }
        scratch.resize(rows.len() * steps, M::Packed::default());
        pack::pack_rows::<M, A>(scratch, a, rows, depth);
        return Slice { start: scratch.as_ptr(), tile: tile_rows * steps, row: steps, step: 1 };
    }
    scratch.resize(rows.len().div_ceil(tile_rows) * tile_rows * steps, M::Packed::default());
    pack::pack_panels::<M, A>(scratch, tile_rows, a, rows, depth);
    Slice { start: scratch.as_ptr(), tile: tile_rows * steps, row: 1, step: tile_rows }
}
