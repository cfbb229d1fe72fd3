//! Packing of operands for the tile: panels of B, and slices of A that the tile cannot read in place.
//!
//! The "outer" dimension is the one that is not summed over: columns of B, rows of A. A panel interleaves WIDTH of
//! them:
//!
//! ```text
//! step 0: [ outer 0 | outer 1 | ... | outer WIDTH-1 ]   each entry one packed number (1 or 2 values of k)
//! step 1: [ outer 0 | outer 1 | ... | outer WIDTH-1 ]
//! ```

use super::matrix::Matrix;
use super::multiply::{Job, Multiply};
use crate::element::Element;
use std::ops::Range;

/// Packs one panel of B (steps, WIDTH), with zeros for columns beyond the last.
pub(super) struct PackPanel<'a, M: Multiply, E> {
    pub(super) panel: &'a mut [M::Packed],
    pub(super) b: Matrix<'a, E>,
    pub(super) depth: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl<M: Multiply, E: Element> Job for PackPanel<'_, M, E> {
    #[inline(always)]
    fn run(self) {
        pack_panels::<M, E>(self.panel, M::WIDTH, self.b.transposed(), self.columns, self.depth);
    }
}

/// Packs rows of A (rows, steps); the steps of a row are contiguous.
#[inline(always)]
pub(super) fn pack_rows<M: Multiply, E: Element>(
    out: &mut [M::Packed],
    a: Matrix<'_, E>,
    rows: Range<usize>,
    depth: Range<usize>,
) {
    let steps = depth.len().div_ceil(M::STEP);
    for (row_out, row) in out.chunks_exact_mut(steps).zip(rows) {
        let row = &a.data[row * a.row_stride + depth.start..][..depth.len()];
        let pairs = row.chunks_exact(M::STEP);
        if let [last] = pairs.remainder() {
            row_out[steps - 1] = M::pack(*last, E::default());
        }
        for (out, pair) in row_out.iter_mut().zip(pairs) {
            *out = M::pack(pair[0], pair[M::STEP - 1]);
        }
    }
    swap_pairs::<M>(out, 1, steps);
}

/// Swaps the steps of every pair, where the products want that, in panels of so many steps.
#[inline(always)]
fn swap_pairs<M: Multiply>(panels: &mut [M::Packed], width: usize, steps: usize) {
    if !M::SWAPS_PAIRS {
        return;
    }
    for panel in panels.chunks_exact_mut(width * steps) {
        for pair in panel.chunks_exact_mut(2 * width) {
            let (first, second) = pair.split_at_mut(width);
            first.swap_with_slice(second);
        }
    }
}

/// Packs the `outer` rows of `source` into panels (steps, width), with zeros for rows beyond the last.
#[inline(always)]
pub(super) fn pack_panels<M: Multiply, E: Element>(
    out: &mut [M::Packed],
    width: usize,
    source: Matrix<'_, E>,
    outer: Range<usize>,
    depth: Range<usize>,
) {
    let steps = depth.len().div_ceil(M::STEP);
    let (panels, mut outer) = (out, outer);
    let mut out = &mut *panels;
    if source.row_stride == 1 {
        // Constant widths; several narrow panels at a time, so that each cache line is fetched once for all of them.
        let packed = match width {
            4 => pack_contiguous::<M, E, 4, 4>(out, source, outer.clone(), depth.clone()),
            6 => pack_contiguous::<M, E, 6, 2>(out, source, outer.clone(), depth.clone()),
            16 => pack_contiguous::<M, E, 16, 1>(out, source, outer.clone(), depth.clone()),
            _ => pack_contiguous::<M, E, 64, 1>(out, source, outer.clone(), depth.clone()),
        };
        (out, outer.start) = (&mut out[packed * steps..], outer.start + packed);
    }
    for (panel, first) in out.chunks_exact_mut(width * steps).zip(outer.clone().step_by(width)) {
        let count = width.min(outer.end - first);
        if count < width {
            panel.fill(M::Packed::default());
        }
        let outer = first..first + count;
        if source.row_stride == 1 {
            pack_rest::<M, E>(panel, width, source, outer, depth.clone());
        } else {
            transpose::<M, E>(panel, width, source, outer, depth.clone());
        }
    }
    swap_pairs::<M>(panels, width, steps);
}

/// Packs outer elements that are contiguous in memory, in groups of `TOGETHER` whole panels of `WIDTH`. Returns how
/// many outer elements were packed.
#[inline(always)]
fn pack_contiguous<M: Multiply, E: Element, const WIDTH: usize, const TOGETHER: usize>(
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
                panel[step] = std::array::from_fn(|lane| M::pack(one[from + lane], two[from + lane]));
            }
        }
        if whole < steps {
            let last = at(depth.end - 1);
            for (index, panel) in panels.iter_mut().enumerate() {
                let from = index * WIDTH;
                panel[whole] = std::array::from_fn(|lane| M::pack(last[from + lane], E::default()));
            }
        }
    }
    groups * wide
}

/// Packs one panel, whole or partial, of outer elements that are contiguous in memory.
#[inline(always)]
fn pack_rest<M: Multiply, E: Element>(
    panel: &mut [M::Packed],
    width: usize,
    source: Matrix<'_, E>,
    outer: Range<usize>,
    depth: Range<usize>,
) {
    for (out, k) in panel.chunks_exact_mut(width).zip(depth.clone().step_by(M::STEP)) {
        let at = |k: usize| &source.data[outer.start + k * source.column_stride..][..outer.len()];
        let second = k + M::STEP - 1;
        for (index, (out, first)) in out.iter_mut().zip(at(k)).enumerate() {
            let second = if second < depth.end { at(second)[index] } else { E::default() };
            *out = M::pack(*first, second);
        }
    }
}

/// Packs one panel of outer elements whose steps are contiguous in memory: some steps at a time, so that the cache
/// lines written stay in L1.
#[inline(always)]
fn transpose<M: Multiply, E: Element>(
    panel: &mut [M::Packed],
    width: usize,
    source: Matrix<'_, E>,
    outer: Range<usize>,
    depth: Range<usize>,
) {
    /// Steps at a time: 16 steps of 64 columns take 4 KiB.
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
