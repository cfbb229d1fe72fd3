//! Operands rearranged for the tile: panels of B, and slices of A where they cannot be read as they lie.

use super::Matrix;
use super::tile::{Job, Multiply};
use crate::element::Element;
use std::ops::Range;

/// One panel of B: for every step of k, WIDTH columns side by side, zeros where there are none.
pub(super) struct Columns<'a, M: Multiply, E> {
    pub(super) panel: &'a mut [M::Packed],
    pub(super) b: Matrix<'a, E>,
    pub(super) depth: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl<M: Multiply, E: Element> Job for Columns<'_, M, E> {
    #[inline(always)]
    fn run(self) {
        outer_by_step::<M, E>(self.panel, M::WIDTH, self.b.transposed(), self.columns, self.depth);
    }
}

/// Rows of A so that row r's steps lie side by side: `out[r * steps + step]`.
#[inline(always)]
pub(super) fn rows_by_row<M: Multiply, E: Element>(
    out: &mut [M::Packed],
    a: Matrix<'_, E>,
    rows: Range<usize>,
    depth: Range<usize>,
) {
    let steps = depth.len().div_ceil(M::STEP);
    for (out, row) in out.chunks_exact_mut(steps).zip(rows) {
        let row = &a.data[row * a.row_stride + depth.start..][..depth.len()];
        let pairs = row.chunks_exact(M::STEP);
        if let [last] = pairs.remainder() {
            out[steps - 1] = M::pack(*last, E::default());
        }
        for (out, pair) in out.iter_mut().zip(pairs) {
            *out = M::pack(pair[0], pair[M::STEP - 1]);
        }
    }
}

/// Panels of `width` rows of `source`: for every step, the rows side by side, zeros where there are none.
#[inline(always)]
pub(super) fn outer_by_step<M: Multiply, E: Element>(
    out: &mut [M::Packed],
    width: usize,
    source: Matrix<'_, E>,
    outer: Range<usize>,
    depth: Range<usize>,
) {
    let steps = depth.len().div_ceil(M::STEP);
    for (panel, first) in out.chunks_exact_mut(width * steps).zip(outer.clone().step_by(width)) {
        let count = width.min(outer.end - first);
        if count < width {
            panel.fill(M::Packed::default());
        }
        if source.row_stride == 1 {
            side_by_side::<M, E>(panel, width, source, first..first + count, depth.clone());
        } else {
            transpose::<M, E>(panel, width, source, first..first + count, depth.clone());
        }
    }
}

/// Outer elements lie side by side in memory already.
#[inline(always)]
fn side_by_side<M: Multiply, E: Element>(
    panel: &mut [M::Packed],
    width: usize,
    source: Matrix<'_, E>,
    outer: Range<usize>,
    depth: Range<usize>,
) {
    for (step, out) in panel.chunks_exact_mut(width).enumerate() {
        let k = depth.start + step * M::STEP;
        let at = |k: usize| &source.data[outer.start + k * source.column_stride..][..outer.len()];
        let out = &mut out[..outer.len()];
        if k + M::STEP <= depth.end {
            for ((out, first), second) in out.iter_mut().zip(at(k)).zip(at(k + M::STEP - 1)) {
                *out = M::pack(*first, *second);
            }
        } else {
            for (out, first) in out.iter_mut().zip(at(k)) {
                *out = M::pack(*first, E::default());
            }
        }
    }
}

/// Steps lie side by side in memory: a few steps at a time, so that the lines written stay in L1.
#[inline(always)]
fn transpose<M: Multiply, E: Element>(
    panel: &mut [M::Packed],
    width: usize,
    source: Matrix<'_, E>,
    outer: Range<usize>,
    depth: Range<usize>,
) {
    /// Steps at a time: 16 steps of 64 columns are 4 KiB.
    const TOGETHER: usize = 16;
    let whole = depth.len() / M::STEP;
    for first in (0..whole).step_by(TOGETHER) {
        let count = TOGETHER.min(whole - first);
        let panel = &mut panel[first * width..][..count * width];
        for (index, row) in outer.clone().enumerate() {
            let start = row * source.row_stride + depth.start + first * M::STEP;
            let row = &source.data[start..][..count * M::STEP];
            if count == TOGETHER {
                let row = &row[..TOGETHER * M::STEP];
                for step in 0..TOGETHER {
                    panel[step * width + index] = M::pack(row[step * M::STEP], row[(step + 1) * M::STEP - 1]);
                }
            } else {
                for step in 0..count {
                    panel[step * width + index] = M::pack(row[step * M::STEP], row[(step + 1) * M::STEP - 1]);
                }
            }
        }
    }
    if whole * M::STEP < depth.len() {
        for (index, row) in outer.enumerate() {
            let last = source.data[row * source.row_stride + depth.end - 1];
            panel[whole * width + index] = M::pack(last, E::default());
        }
    }
}
