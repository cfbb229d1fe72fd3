//! The attention itself: tiles of queries against blocks of keys and values.

use super::{BLOCK_POSITIONS, CacheBlock, CacheShape};
use crate::elementwise::exp;
use crate::format::CacheFormat;
use crate::lanes::{Lanes, on_lanes};
use crate::simd::LANES;
use crate::threads::{each, threads};
use crate::{Path, path};

/// Queries of one key head computed together: 6 by 4 vectors fill the registers of AVX-512.
const QUERIES: usize = 6;
/// Vectors of positions in a block.
const GROUPS: usize = BLOCK_POSITIONS / LANES;
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

/// Attention of the tokens of several sequences in one layer.
///
/// `queries` are rows that stand `stride` apart and begin with (H, D); `out` rows that stand `out_stride`
/// apart and become (H, D). Scores are scaled by 1/sqrt(D).
///
/// # Panics
/// When a length does not fit these shapes, or a span has too few blocks.
pub fn attend(
    out: &mut [f32],
    out_stride: usize,
    queries: &[f32],
    stride: usize,
    shape: &CacheShape,
    layer: usize,
    spans: &[Span<'_>],
) {
    attend_on(path(), out, out_stride, queries, stride, shape, layer, spans);
}

#[allow(clippy::too_many_arguments, reason = "the operation has this many operands")]
pub(crate) fn attend_on(
    path: Path,
    out: &mut [f32],
    out_stride: usize,
    queries: &[f32],
    stride: usize,
    shape: &CacheShape,
    layer: usize,
    spans: &[Span<'_>],
) {
    let width = shape.heads * shape.head_dim;
    assert!(shape.heads.is_multiple_of(shape.kv_heads), "attend: heads must be a multiple of kv_heads");
    assert!(stride >= width && out_stride >= width, "attend: a row must hold {width} numbers");
    for span in spans {
        let end = span.first_row + span.rows;
        let positions = span.first_position + span.rows;
        assert!(span.blocks.len() * BLOCK_POSITIONS >= positions, "attend: too few blocks for {positions}");
        assert!(end * stride <= queries.len() && end * out_stride <= out.len(), "attend: no row {end}");
    }
    let call = Call { out: out.as_mut_ptr(), out_stride, queries, stride, shape, layer };
    let few = spans.iter().map(|span| span.rows).sum::<usize>() * shape.kv_heads < 8 * threads();
    let deep = spans.iter().any(|span| span.first_position >= 4 * BLOCK_POSITIONS);
    if few && deep { by_blocks(path, &call, spans) } else { by_queries(path, &call, spans) }
}

/// What all tasks of a call read, and where they write: each its own queries' answers.
struct Call<'a> {
    out: *mut f32,
    out_stride: usize,
    queries: &'a [f32],
    stride: usize,
    shape: &'a CacheShape,
    layer: usize,
}

// SAFETY: tasks write disjoint parts of `out`.
unsafe impl Sync for Call<'_> {}

/// Some queries of one key head: rows (token, head of the group) in order, at most `QUERIES` of them.
#[derive(Clone, Copy)]
struct Tile<'a> {
    span: Span<'a>,
    kv_head: usize,
    first: usize,
    count: usize,
}

impl Tile<'_> {
    /// The row of the call and the head of a query.
    fn place(&self, query: usize, group: usize) -> (usize, usize) {
        let index = self.first + query;
        (self.span.first_row + index / group, self.kv_head * group + index % group)
    }

    /// How many positions a query sees.
    fn visible(&self, query: usize, group: usize) -> usize {
        self.span.first_position + (self.first + query) / group + 1
    }
}

/// Each task takes some queries through all their blocks.
fn by_queries(path: Path, call: &Call<'_>, spans: &[Span<'_>]) {
    let group = call.shape.heads / call.shape.kv_heads;
    let chunk = TILES * QUERIES;
    let mut tasks: Vec<Tile<'_>> = Vec::new();
    for span in spans {
        for first in (0..span.rows * group).step_by(chunk) {
            let count = chunk.min(span.rows * group - first);
            tasks.extend((0..call.shape.kv_heads).map(|kv_head| Tile { span: *span, kv_head, first, count }));
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
    let group = call.shape.heads / call.shape.kv_heads;
    let mut state = Partial::new(call.shape);
    let mut part = Partial::new(call.shape);
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
fn by_blocks(path: Path, call: &Call<'_>, spans: &[Span<'_>]) {
    let width = if path == Path::Avx512 { QUERIES } else { 2 };
    let group = call.shape.heads / call.shape.kv_heads;
    let mut tasks: Vec<(Tile<'_>, usize)> = Vec::new();
    for span in spans {
        let blocks = (span.first_position + span.rows).div_ceil(BLOCK_POSITIONS);
        for kv_head in 0..call.shape.kv_heads {
            for first in (0..span.rows * group).step_by(width) {
                let tile = Tile { span: *span, kv_head, first, count: width.min(span.rows * group - first) };
                tasks.extend((0..blocks).map(|block| (tile, block)));
            }
        }
    }
    let mut parts: Vec<Partial> = tasks.iter().map(|_| Partial::new(call.shape)).collect();
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
        let mut state = Partial::new(call.shape);
        state.clear();
        for part in &parts[start..end] {
            let state = &mut state;
            on_lanes!(path, merge_parts(state: &mut Partial, part: &Partial, tile: Tile<'_>));
        }
        write_out(call, tile, &state);
        start = end;
    }
}

impl Tile<'_> {
    fn key(&self) -> (usize, usize, usize) {
        (self.span.first_row, self.kv_head, self.first)
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

/// A tile's attention over some of its positions: softmax weights relative to the largest score.
struct Partial {
    largest: [f32; QUERIES],
    total: [f32; QUERIES],
    /// (QUERIES, padded D)
    values: Vec<f32>,
    dim: usize,
}

impl Partial {
    fn new(shape: &CacheShape) -> Self {
        let dim = shape.padded_dim();
        Self { largest: [0.0; QUERIES], total: [0.0; QUERIES], values: vec![0.0; QUERIES * dim], dim }
    }

    fn clear(&mut self) {
        self.largest = [f32::NEG_INFINITY; QUERIES];
        self.total = [0.0; QUERIES];
        self.values.fill(0.0);
    }

    /// Takes in the next block. A query that sees nothing of it keeps its bits: it is scaled by e^0 = 1,
    /// and e^-inf = 0 of zeros is added.
    #[inline(always)]
    fn merge<L: Lanes>(&mut self, lanes: L, next: &Self, queries: usize) {
        for query in 0..queries {
            let (old, new) = (self.largest[query], next.largest[query]);
            let largest = if new > old { new } else { old };
            let mut factors = [0.0; LANES];
            let mut distances = [0.0; LANES];
            (distances[0], distances[1]) = (old - largest, new - largest);
            lanes.store(&mut factors, exp(lanes, lanes.load(&distances)));
            let (keep, take) = (factors[0], factors[1]);
            self.largest[query] = largest;
            self.total[query] = next.total[query].mul_add(take, self.total[query] * keep);
            let row = query * self.dim..(query + 1) * self.dim;
            let own = self.values[row.clone()].as_chunks_mut::<LANES>().0;
            let others = next.values[row].as_chunks::<LANES>().0;
            for (own, other) in own.iter_mut().zip(others) {
                let kept = lanes.multiply(lanes.load(own), lanes.splat(keep));
                lanes.store(own, lanes.multiply_add(lanes.load(other), lanes.splat(take), kept));
            }
        }
    }
}

fn write_out(call: &Call<'_>, tile: Tile<'_>, state: &Partial) {
    let (group, head_dim) = (call.shape.heads / call.shape.kv_heads, call.shape.head_dim);
    for query in 0..tile.count {
        let (row, head) = tile.place(query, group);
        let start = row * call.out_stride + head * head_dim;
        // SAFETY: `attend` has checked that the row is there; no other task writes this head of it.
        let out = unsafe { std::slice::from_raw_parts_mut(call.out.add(start), head_dim) };
        for (out, value) in out.iter_mut().zip(&state.values[query * state.dim..]) {
            *out = value / state.total[query];
        }
    }
}

#[inline(always)]
fn attend_block<L: Lanes>(lanes: L, call: &Call<'_>, tile: Tile<'_>, block: usize, part: &mut Partial) {
    match call.shape.format {
        CacheFormat::F32 => attend_stored::<L, Floats>(lanes, call, tile, block, part),
        CacheFormat::F16 => attend_stored::<L, Halves>(lanes, call, tile, block, part),
        CacheFormat::Bf16 => attend_stored::<L, Brains>(lanes, call, tile, block, part),
    }
}

#[inline(always)]
fn attend_stored<L: Lanes, F: Stored>(
    lanes: L,
    call: &Call<'_>,
    tile: Tile<'_>,
    block: usize,
    part: &mut Partial,
) {
    match tile.count {
        1 => attend_tile::<L, F, 1>(lanes, call, tile, block, part),
        2 => attend_tile::<L, F, 2>(lanes, call, tile, block, part),
        3 if L::WIDE => attend_tile::<L, F, 3>(lanes, call, tile, block, part),
        4 if L::WIDE => attend_tile::<L, F, 4>(lanes, call, tile, block, part),
        5 if L::WIDE => attend_tile::<L, F, 5>(lanes, call, tile, block, part),
        _ => attend_tile::<L, F, QUERIES>(lanes, call, tile, block, part),
    }
}

/// How a stored number is read.
trait Stored {
    const BYTES: usize;
    /// # Safety
    /// Sixteen numbers can be read at `from`.
    unsafe fn load<L: Lanes>(lanes: L, from: *const u8) -> L::Vector;
}

struct Floats;
struct Halves;
struct Brains;

impl Stored for Floats {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<L: Lanes>(lanes: L, from: *const u8) -> L::Vector {
        // SAFETY: said by the caller.
        unsafe { lanes.load_floats(from) }
    }
}

impl Stored for Halves {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(lanes: L, from: *const u8) -> L::Vector {
        // SAFETY: said by the caller.
        unsafe { lanes.load_halves(from) }
    }
}

impl Stored for Brains {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(lanes: L, from: *const u8) -> L::Vector {
        // SAFETY: said by the caller.
        unsafe { lanes.load_brains(from) }
    }
}

/// N queries against the 64 positions of one block.
#[inline(always)]
fn attend_tile<L: Lanes, F: Stored, const N: usize>(
    lanes: L,
    call: &Call<'_>,
    tile: Tile<'_>,
    block: usize,
    part: &mut Partial,
) {
    let shape = call.shape;
    let group = shape.heads / shape.kv_heads;
    let first_position = block * BLOCK_POSITIONS;
    let start = shape.key_part(call.layer, tile.kv_head);
    let keys = tile.span.blocks[block].memory.pointer().wrapping_add(start);
    let values = keys.wrapping_add(shape.part_bytes());
    let queries: [&[f32]; N] = std::array::from_fn(|query| {
        let (row, head) = tile.place(query, group);
        &call.queries[row * call.stride + head * shape.head_dim..][..shape.head_dim]
    });
    let seen: [usize; N] = std::array::from_fn(|query| {
        tile.visible(query, group).saturating_sub(first_position).min(BLOCK_POSITIONS)
    });
    let mut weights = [[0.0f32; BLOCK_POSITIONS]; N];
    // SAFETY: the block holds this head's keys.
    let scores = unsafe { scores::<L, F, N>(lanes, keys, shape, &queries) };
    for query in 0..N {
        let (largest, total) = soften(
            lanes,
            &mut weights[query],
            scores[query],
            seen[query],
            1.0 / (shape.head_dim as f32).sqrt(),
        );
        part.largest[query] = largest;
        part.total[query] = total;
    }
    let most = seen.iter().copied().max().unwrap_or(0);
    let mut vector = 0;
    let vectors = shape.padded_dim() / LANES;
    // SAFETY: the block holds this head's values.
    unsafe {
        while vector + 4 <= vectors {
            mix::<L, F, N, 4>(lanes, values, shape, &weights, most, vector, part);
            vector += 4;
        }
        while vector < vectors {
            mix::<L, F, N, 1>(lanes, values, shape, &weights, most, vector, part);
            vector += 1;
        }
    }
}

/// # Safety
/// `keys` are a block's keys of one head.
#[inline(always)]
unsafe fn scores<L: Lanes, F: Stored, const N: usize>(
    lanes: L,
    keys: *const u8,
    shape: &CacheShape,
    queries: &[&[f32]; N],
) -> [[L::Vector; GROUPS]; N] {
    let mut sums = [[lanes.splat(0.0); GROUPS]; N];
    let stride = shape.padded_dim() * LANES * F::BYTES;
    for d in 0..shape.head_dim {
        // SAFETY: said by the caller.
        let key: [L::Vector; GROUPS] =
            std::array::from_fn(|g| unsafe { F::load(lanes, keys.add(g * stride + d * LANES * F::BYTES)) });
        for query in 0..N {
            // SAFETY: every query is `head_dim` long.
            let x = lanes.splat(unsafe { *queries[query].get_unchecked(d) });
            for g in 0..GROUPS {
                sums[query][g] = lanes.multiply_add(key[g], x, sums[query][g]);
            }
        }
    }
    sums
}

/// From scores to softmax weights of one query over a block: their largest score and their sum. Positions
/// from `seen` on weigh nothing.
#[inline(always)]
fn soften<L: Lanes>(
    lanes: L,
    weights: &mut [f32; BLOCK_POSITIONS],
    scores: [L::Vector; GROUPS],
    seen: usize,
    scale: f32,
) -> (f32, f32) {
    const INDEX: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let lowest = lanes.splat(f32::NEG_INFINITY);
    let scores: [L::Vector; GROUPS] = std::array::from_fn(|g| {
        let limit = lanes.splat(seen as f32 - (g * LANES) as f32);
        lanes.select_less(lanes.load(&INDEX), limit, lanes.multiply(scores[g], lanes.splat(scale)), lowest)
    });
    let mut highest = [0.0; LANES];
    let both = |a: usize, b: usize| lanes.maximum(scores[a], scores[b]);
    lanes.store(&mut highest, lanes.maximum(both(0, 1), both(2, 3)));
    let largest = highest.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let shift = lanes.splat(if largest == f32::NEG_INFINITY { 0.0 } else { largest });
    let mut sum = lanes.splat(0.0);
    for (score, weights) in scores.iter().zip(weights.as_chunks_mut::<LANES>().0) {
        let weight = exp(lanes, lanes.subtract(*score, shift));
        lanes.store(weights, weight);
        sum = lanes.add(sum, weight);
    }
    (largest, lanes.sum(sum))
}

/// The weighted sum of V vectors of values from `vector` on, over the first `most` positions.
///
/// # Safety
/// `values` are a block's values of one head.
#[inline(always)]
unsafe fn mix<L: Lanes, F: Stored, const N: usize, const V: usize>(
    lanes: L,
    values: *const u8,
    shape: &CacheShape,
    weights: &[[f32; BLOCK_POSITIONS]; N],
    most: usize,
    vector: usize,
    part: &mut Partial,
) {
    let mut sums = [[lanes.splat(0.0); V]; N];
    let stride = shape.padded_dim() * F::BYTES;
    for position in 0..most {
        let at = position * stride + vector * LANES * F::BYTES;
        // SAFETY: said by the caller.
        let value: [L::Vector; V] =
            std::array::from_fn(|v| unsafe { F::load(lanes, values.add(at + v * LANES * F::BYTES)) });
        for query in 0..N {
            // SAFETY: `most` is at most a block's positions.
            let weight = lanes.splat(unsafe { *weights[query].get_unchecked(position) });
            for v in 0..V {
                sums[query][v] = lanes.multiply_add(value[v], weight, sums[query][v]);
            }
        }
    }
    for (query, sums) in sums.iter().enumerate() {
        let row = &mut part.values[query * part.dim + vector * LANES..][..V * LANES];
        for (out, sum) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
            lanes.store(out, *sum);
        }
    }
}
