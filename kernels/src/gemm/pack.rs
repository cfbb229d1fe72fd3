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
    let (mut out, mut outer) = (out, outer);
    if source.row_stride == 1 {
        // By constants for the widths there are; several narrow panels at a time, so that a line of memory is fetched
        // once for them all.
        let done = match width {
            4 => side_by_side::<M, E, 4, 4>(out, source, outer.clone(), depth.clone()),
            6 => side_by_side::<M, E, 6, 2>(out, source, outer.clone(), depth.clone()),
            16 => side_by_side::<M, E, 16, 1>(out, source, outer.clone(), depth.clone()),
            _ => side_by_side::<M, E, 64, 1>(out, source, outer.clone(), depth.clone()),
        };
        (out, outer.start) = (&mut out[done * steps..], outer.start + done);
    }
    for (panel, first) in out.chunks_exact_mut(width * steps).zip(outer.clone().step_by(width)) {
        let count = width.min(outer.end - first);
        if count < width {
            panel.fill(M::Packed::default());
        }
        let outer = first..first + count;
        if source.row_stride == 1 {
            few_side_by_side::<M, E>(panel, width, source, outer, depth.clone());
        } else {
            transpose::<M, E>(panel, width, source, outer, depth.clone());
        }
    }
}

/// Outer elements lie side by side in memory already: packs as many times `TOGETHER` panels of `WIDTH` as there are.
/// Returns how many outer elements that were.
#[inline(always)]
fn side_by_side<M: Multiply, E: Element, const WIDTH: usize, const TOGETHER: usize>(
    out: &mut [M::Packed],
    source: Matrix<'_, E>,
    outer: Range<usize>,
    depth: Range<usize>,
) -> usize {
    let (whole, steps) = (depth.len() / M::STEP, depth.len().div_ceil(M::STEP));
    let wide = WIDTH * TOGETHER;
    let groups = outer.len() / wide;
    for (group, out) in out.chunks_exact_mut(wide * steps).take(groups).enumerate() {
        let first = outer.start + group * wide;
        let at = |k: usize| &source.data[first + k * source.column_stride..][..wide];
        let mut panels = out.chunks_exact_mut(WIDTH * steps);
        let mut panels: [&mut [[M::Packed; WIDTH]]; TOGETHER] =
            std::array::from_fn(|_| panels.next().unwrap_or_default().as_chunks_mut().0);
        for step in 0..whole {
            let k = depth.start + step * M::STEP;
            let (one, two) = (at(k), at(k + M::STEP - 1));
            for (index, panel) in panels.iter_mut().enumerate() {
                let from = index * WIDTH;
                panel[step] = std::array::from_fn(|place| M::pack(one[from + place], two[from + place]));
            }
        }
        if whole < steps {
            let last = at(depth.end - 1);
            for (index, panel) in panels.iter_mut().enumerate() {
                let from = index * WIDTH;
                panel[whole] = std::array::from_fn(|place| M::pack(last[from + place], E::default()));
            }
        }
    }
    groups * wide
}

/// What is left: one panel, whole or not.
#[inline(always)]
fn few_side_by_side<M: Multiply, E: Element>(
    panel: &mut [M::Packed],
    width: usize,
    source: Matrix<'_, E>,
    outer: Range<usize>,
    depth: Range<usize>,
) {
    for (out, k) in panel.chunks_exact_mut(width).zip(depth.clone().step_by(M::STEP)) {
        let at = |k: usize| &source.data[outer.start + k * source.column_stride..][..outer.len()];
        let second = k + M::STEP - 1;
        for (place, (out, first)) in out.iter_mut().zip(at(k)).enumerate() {
            let second = if second < depth.end { at(second)[place] } else { E::default() };
            *out = M::pack(*first, second);
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
