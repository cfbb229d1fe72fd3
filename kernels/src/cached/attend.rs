//! One layer's attention cut into tasks, and each task's way through its tiles of queries and blocks.

use super::tile::{Partial, QUERIES, Tile, attend_block};
use super::{BLOCK_POSITIONS, CacheBlock, CacheShape};
use crate::lanes::{Lanes, lanes_path, on_lanes};
use crate::threads::{each, threads};
use crate::{Path, path};

/// Tiles of queries that one task takes one after the other.
const TILES: usize = 8;

/// The tokens of one sequence in a call.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Its first row among the call's tokens.
    pub first_row: usize,
    /// How many rows it has.
    pub rows: usize,
    /// The position of its first row; row r sees positions `0..=first_position + r`.
    pub first_position: usize,
    /// Its blocks, which hold at least `first_position + rows` positions.
    pub blocks: &'a [&'a CacheBlock],
}

/// What attention of one layer reads.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    /// Rows that stand `stride` apart and begin with (H, D).
    pub rows: &'a [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
    /// What the blocks hold.
    pub shape: &'a CacheShape,
    /// The layer of the blocks.
    pub layer: usize,
    /// The sequences, each with some of the rows.
    pub spans: &'a [Span<'a>],
}

/// Attention of the tokens of several sequences in one layer: rows of `out` that stand `stride` apart become
/// (H, D). Scores are scaled by 1/sqrt(D).
///
/// # Panics
/// When a length does not fit these shapes, or a span has too few blocks.
pub fn attend(out: &mut [f32], stride: usize, queries: Queries<'_>) {
    attend_on(path(), out, stride, queries);
}

pub(crate) fn attend_on(path: Path, out: &mut [f32], stride: usize, queries: Queries<'_>) {
    let path = lanes_path(path);
    let Queries { shape, spans, .. } = queries;
    let width = shape.heads * shape.head_dim;
    assert!(shape.heads.is_multiple_of(shape.kv_heads), "attend: heads must be a multiple of kv_heads");
    assert!(queries.stride >= width && stride >= width, "attend: a row must hold {width} numbers");
    for span in spans {
        let end = span.first_row + span.rows;
        let positions = span.first_position + span.rows;
        assert!(span.blocks.len() * BLOCK_POSITIONS >= positions, "attend: too few blocks for {positions}");
        let there = end * queries.stride <= queries.rows.len() && end * stride <= out.len();
        assert!(there, "attend: no row {end}");
    }
    let call = Call { out: out.as_mut_ptr(), stride, queries };
    let few = spans.iter().map(|span| span.rows).sum::<usize>() * shape.kv_heads < 8 * threads();
    let deep = spans.iter().any(|span| span.first_position >= 4 * BLOCK_POSITIONS);
    if few && deep { by_blocks(path, &call) } else { by_queries(path, &call) }
}

/// What all tasks of a call read, and where they write: each its own queries' answers.
pub(super) struct Call<'a> {
    out: *mut f32,
    stride: usize,
    pub(super) queries: Queries<'a>,
}

// SAFETY: tasks write disjoint parts of `out`.
unsafe impl Sync for Call<'_> {}

impl Call<'_> {
    /// Query heads of one key head.
    pub(super) fn group(&self) -> usize {
        self.queries.shape.heads / self.queries.shape.kv_heads
    }
}

/// Each task takes some queries through all their blocks.
fn by_queries(path: Path, call: &Call<'_>) {
    let (group, kv_heads) = (call.group(), call.queries.shape.kv_heads);
    let chunk = TILES * QUERIES;
    let mut tasks: Vec<Tile<'_>> = Vec::new();
    for span in call.queries.spans {
        for first in (0..span.rows * group).step_by(chunk) {
            let count = chunk.min(span.rows * group - first);
            tasks.extend((0..kv_heads).map(|kv_head| Tile { span: *span, kv_head, first, count }));
        }
    }
    // The longest first, so that none is left over in the end.
    tasks.reverse();
    each(tasks.len(), |index| {
        let task = tasks[index];
        on_lanes!(path, attend_queries(call: &Call<'_>, task: Tile<'_>));
    });
}

#[inline(always)]
fn attend_queries<L: Lanes>(lanes: L, call: &Call<'_>, task: Tile<'_>) {
    let width = if L::WIDE { QUERIES } else { 2 };
    let group = call.group();
    let mut state = Partial::new(call.queries.shape);
    let mut part = Partial::new(call.queries.shape);
    for first in (0..task.count).step_by(width) {
        let tile = Tile { first: task.first + first, count: width.min(task.count - first), ..task };
        let blocks = tile.visible(tile.count - 1, group).div_ceil(BLOCK_POSITIONS);
        state.clear();
        for block in 0..blocks {
            attend_block(lanes, call, tile, block, &mut part);
            state.merge(lanes, &part, tile.count);
        }
        write_out(call, tile, &state);
    }
}

/// Each task takes a few queries through some of their blocks; then the blocks are merged in order.
fn by_blocks(path: Path, call: &Call<'_>) {
    let width = if path == Path::Avx512 { QUERIES } else { 2 };
    let group = call.group();
    let mut tasks: Vec<(Tile<'_>, usize)> = Vec::new();
    for span in call.queries.spans {
        let blocks = (span.first_position + span.rows).div_ceil(BLOCK_POSITIONS);
        for kv_head in 0..call.queries.shape.kv_heads {
            for first in (0..span.rows * group).step_by(width) {
                let tile = Tile { span: *span, kv_head, first, count: width.min(span.rows * group - first) };
                tasks.extend((0..blocks).map(|block| (tile, block)));
            }
        }
    }
    let mut parts: Vec<Partial> = tasks.iter().map(|_| Partial::new(call.queries.shape)).collect();
    let shared = Parts(parts.as_mut_ptr());
    let chunks = tasks.len().min(4 * threads());
    each(chunks, |chunk| {
        let range = tasks.len() * chunk / chunks..tasks.len() * (chunk + 1) / chunks;
        for (index, &(tile, block)) in range.clone().zip(&tasks[range]) {
            // SAFETY: every index belongs to one chunk.
            let part = unsafe { shared.part(index) };
            on_lanes!(path, attend_block(call: &Call<'_>, tile: Tile<'_>, block: usize, part: &mut Partial));
        }
    });
    let mut start = 0;
    while start < tasks.len() {
        let tile = tasks[start].0;
        let same = tasks[start..].iter().take_while(|(other, _)| other.key() == tile.key());
        let end = start + same.count();
        let mut state = Partial::new(call.queries.shape);
        state.clear();
        for part in &parts[start..end] {
            let state = &mut state;
            on_lanes!(path, merge_parts(state: &mut Partial, part: &Partial, tile: Tile<'_>));
        }
        write_out(call, tile, &state);
        start = end;
    }
}

struct Parts(*mut Partial);

impl Parts {
    /// # Safety
    /// No other task uses this index.
    #[allow(clippy::mut_from_ref, reason = "each index belongs to one task")]
    unsafe fn part(&self, index: usize) -> &mut Partial {
        // SAFETY: said by the caller.
        unsafe { &mut *self.0.add(index) }
    }
}

// SAFETY: tasks use disjoint indices.
unsafe impl Sync for Parts {}

#[inline(always)]
fn merge_parts<L: Lanes>(lanes: L, state: &mut Partial, part: &Partial, tile: Tile<'_>) {
    state.merge(lanes, part, tile.count);
}

fn write_out(call: &Call<'_>, tile: Tile<'_>, state: &Partial) {
    let (group, head_dim) = (call.group(), call.queries.shape.head_dim);
    for query in 0..tile.count {
        let (row, head) = tile.place(query, group);
        let start = row * call.stride + head * head_dim;
        // SAFETY: `attend` has checked that the row is there; no other task writes this head of it.
        let out = unsafe { std::slice::from_raw_parts_mut(call.out.add(start), head_dim) };
        for (out, value) in out.iter_mut().zip(&state.values[query * state.dim..]) {
            *out = value / state.total[query];
        }
    }
}
