//! Attention of one layer: the split of a call into parallel tasks, and the loop of a task over tiles and blocks.

use super::block::BLOCK_POSITIONS;
use super::call::{Call, Queries, Span, Tile};
use super::partial::{Partial, QUERIES};
use super::tile::attend_block;
use crate::disjoint::Disjoint;
use crate::isa::{Isa, isa};
use crate::lanes::{Lanes, lanes_isa, on_lanes};
use crate::threads::{parallel_for, threads};

/// Tiles of queries per task.
const TILES: usize = 8;

/// Attention of the tokens of several sequences in one layer. The rows of `out`, one every `stride` numbers, become
/// (H, D). Scores are scaled by 1/sqrt(D). Row r of a span attends to its newest `window` positions.
///
/// # Panics
/// If a length does not match these shapes, or a span has too few blocks.
pub fn attend(out: &mut [f32], stride: usize, queries: Queries<'_>) {
    attend_on(isa(), out, stride, queries);
}

pub(crate) fn attend_on(isa: Isa, out: &mut [f32], stride: usize, queries: Queries<'_>) {
    let isa = lanes_isa(isa);
    let Queries { shape, spans, .. } = queries;
    let width = shape.heads * shape.head_dim;
    assert!(
        shape.heads.is_multiple_of(shape.kv_heads),
        "attend: heads ({}) is not a multiple of kv_heads ({})",
        shape.heads,
        shape.kv_heads
    );
    assert!(queries.stride >= width && stride >= width, "attend: a row is shorter than its {width} numbers");
    for span in spans {
        let end = span.first_row + span.rows;
        let positions = span.first_position + span.rows;
        assert!(
            span.blocks.len() * BLOCK_POSITIONS >= positions,
            "attend: too few blocks for {positions} positions"
        );
        let exists = end * queries.stride <= queries.rows.len() && end * stride <= out.len();
        assert!(exists, "attend: a span ends at row {end}, beyond the queries or the output");
    }
    let call = Call { out: out.as_mut_ptr(), stride, queries };
    let few = spans.iter().map(|span| span.rows).sum::<usize>() * shape.kv_heads < 8 * threads();
    let deep = spans.iter().any(|span| span.first_position >= 4 * BLOCK_POSITIONS);
    if few && deep { split_by_block(isa, &call) } else { split_by_query(isa, &call) }
}

/// Each task computes some queries over all their blocks.
fn split_by_query(isa: Isa, call: &Call<'_>) {
    let (group, kv_heads) = (call.queries.group(), call.queries.shape.kv_heads);
    let chunk = TILES * QUERIES;
    let mut tasks: Vec<Tile<'_>> = Vec::new();
    for span in call.queries.spans {
        for first in (0..span.rows * group).step_by(chunk) {
            let count = chunk.min(span.rows * group - first);
            tasks.extend((0..kv_heads).map(|kv_head| Tile { span: *span, kv_head, first, count }));
        }
    }
    // Longest first, so that no long task runs alone at the end.
    tasks.reverse();
    parallel_for(tasks.len(), |index| {
        let task = tasks[index];
        on_lanes!(isa, attend_queries(call: &Call<'_>, task: Tile<'_>));
    });
}

#[inline(always)]
fn attend_queries<L: Lanes>(lanes: L, call: &Call<'_>, task: Tile<'_>) {
    attend_tiles(lanes, call.queries, task, &|tile, state| write_out(call, tile, state));
}

/// Calls `write` with the tiles of a task and their attention over all their blocks.
#[inline(always)]
fn attend_tiles<L: Lanes>(
    lanes: L,
    queries: Queries<'_>,
    task: Tile<'_>,
    write: &dyn Fn(Tile<'_>, &Partial),
) {
    let width = if L::WIDE { QUERIES } else { 2 };
    let group = queries.group();
    let mut state = Partial::new(queries.shape);
    let mut part = Partial::new(queries.shape);
    for first in (0..task.count).step_by(width) {
        let tile = Tile { first: task.first + first, count: width.min(task.count - first), ..task };
        let blocks = tile.visible(tile.count - 1, group).div_ceil(BLOCK_POSITIONS);
        state.clear();
        for block in tile.first_block(group, queries.window)..blocks {
            attend_block(lanes, queries, tile, block, &mut part);
            state.merge(lanes, &part, tile.count);
        }
        write(tile, &state);
    }
}

/// The attention of one query: a row and a head of the call.
pub(crate) struct Attended<'a> {
    pub(crate) row: usize,
    pub(crate) head: usize,
    /// Weighted sums of values (D), not divided by `total`.
    pub(crate) values: &'a [f32],
    /// Sum of the softmax weights relative to the largest score.
    pub(crate) total: f32,
    /// The largest score.
    pub(crate) largest: f32,
}

/// Attention of the queries of one key head in one span, on the calling thread: what [`attend`] computes, to the bit, with
/// what the backward pass of training needs besides.
pub(crate) fn attend_head(
    queries: Queries<'_>,
    span: Span<'_>,
    kv_head: usize,
    write: &dyn Fn(Attended<'_>),
) {
    let (group, head_dim) = (queries.group(), queries.shape.head_dim);
    let task = Tile { span, kv_head, first: 0, count: span.rows * group };
    let write_tile = |tile: Tile<'_>, state: &Partial| {
        for query in 0..tile.count {
            let (row, head) = tile.row_and_head(query, group);
            let values = &state.values[query * state.padded_dim..][..head_dim];
            let (total, largest) = (state.total[query], state.largest[query]);
            write(Attended { row, head, values, total, largest });
        }
    };
    let write: &dyn Fn(Tile<'_>, &Partial) = &write_tile;
    on_lanes!(
        lanes_isa(isa()),
        attend_tiles(queries: Queries<'_>, task: Tile<'_>, write: &dyn Fn(Tile<'_>, &Partial))
    );
}

/// Each task computes some pairs of a tile and a block; then the blocks of each tile are merged in order.
fn split_by_block(isa: Isa, call: &Call<'_>) {
    let width = if isa == Isa::Avx512 { QUERIES } else { 2 };
    let group = call.queries.group();
    let mut tasks: Vec<(Tile<'_>, usize)> = Vec::new();
    for span in call.queries.spans {
        let blocks = (span.first_position + span.rows).div_ceil(BLOCK_POSITIONS);
        for kv_head in 0..call.queries.shape.kv_heads {
            for first in (0..span.rows * group).step_by(width) {
                let tile = Tile { span: *span, kv_head, first, count: width.min(span.rows * group - first) };
                let first_block = tile.first_block(group, call.queries.window);
                tasks.extend((first_block..blocks).map(|block| (tile, block)));
            }
        }
    }
    let mut parts: Vec<Partial> = tasks.iter().map(|_| Partial::new(call.queries.shape)).collect();
    let shared = Disjoint::new(&mut parts);
    let chunks = tasks.len().min(4 * threads());
    parallel_for(chunks, |chunk| {
        let range = tasks.len() * chunk / chunks..tasks.len() * (chunk + 1) / chunks;
        for (index, &(tile, block)) in range.clone().zip(&tasks[range]) {
            // SAFETY: every index belongs to one chunk.
            let part = unsafe { &mut shared.part(index, 1)[0] };
            let queries = call.queries;
            on_lanes!(
                isa,
                attend_block(queries: Queries<'_>, tile: Tile<'_>, block: usize, part: &mut Partial)
            );
        }
    });
    let mut start = 0;
    while start < tasks.len() {
        let tile = tasks[start].0;
        let blocks = tasks[start..].iter().take_while(|(other, _)| other.key() == tile.key());
        let end = start + blocks.count();
        let mut state = Partial::new(call.queries.shape);
        state.clear();
        for part in &parts[start..end] {
            let state = &mut state;
            let queries = tile.count;
            on_lanes!(isa, merge(state: &mut Partial, part: &Partial, queries: usize));
        }
        write_out(call, tile, &state);
        start = end;
    }
}

#[inline(always)]
fn merge<L: Lanes>(lanes: L, state: &mut Partial, part: &Partial, queries: usize) {
    state.merge(lanes, part, queries);
}

/// Divides the weighted sums by the sums of the weights and writes them to the output.
fn write_out(call: &Call<'_>, tile: Tile<'_>, state: &Partial) {
    let (group, head_dim) = (call.queries.group(), call.queries.shape.head_dim);
    for query in 0..tile.count {
        let (row, head) = tile.row_and_head(query, group);
        let start = row * call.stride + head * head_dim;
        // SAFETY: `attend` has checked that the row exists; no other task writes this head of it.
        let out = unsafe { std::slice::from_raw_parts_mut(call.out.add(start), head_dim) };
        for (out, value) in out.iter_mut().zip(&state.values[query * state.padded_dim..]) {
            *out = value / state.total[query];
        }
    }
}
