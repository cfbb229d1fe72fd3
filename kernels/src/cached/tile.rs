//! A tile of queries against one block of keys and values, and how blocks are merged.

use super::attend::{Call, Queries, Span};
use super::{BLOCK_POSITIONS, CacheShape};
use crate::elementwise::exp;
use crate::format::CacheFormat;
use crate::lanes::Lanes;
use crate::memory::prefetch;
use crate::simd::LANES;

/// Queries of one key head computed together: 6 by 4 vectors fill the registers of AVX-512.
pub(super) const QUERIES: usize = 6;
/// Vectors of positions in a block.
const GROUPS: usize = BLOCK_POSITIONS / LANES;

/// Some queries of one key head: rows (token, head of the group) in order, at most `QUERIES` of them.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) span: Span<'a>,
    pub(super) kv_head: usize,
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Tile<'_> {
    /// The row of the call and the head of a query.
    pub(super) fn place(&self, query: usize, group: usize) -> (usize, usize) {
        let index = self.first + query;
        (self.span.first_row + index / group, self.kv_head * group + index % group)
    }

    /// How many positions a query sees.
    pub(super) fn visible(&self, query: usize, group: usize) -> usize {
        self.span.first_position + (self.first + query) / group + 1
    }

    /// The same for every block of the same tile.
    pub(super) fn key(&self) -> (usize, usize, usize) {
        (self.span.first_row, self.kv_head, self.first)
    }
}

/// A tile's attention over some of its positions: softmax weights relative to the largest score.
pub(super) struct Partial {
    largest: [f32; QUERIES],
    pub(super) total: [f32; QUERIES],
    /// (QUERIES, padded D)
    pub(super) values: Vec<f32>,
    pub(super) dim: usize,
}

impl Partial {
    pub(super) fn new(shape: &CacheShape) -> Self {
        let dim = shape.padded_dim();
        Self { largest: [0.0; QUERIES], total: [0.0; QUERIES], values: vec![0.0; QUERIES * dim], dim }
    }

    pub(super) fn clear(&mut self) {
        self.largest = [f32::NEG_INFINITY; QUERIES];
        self.total = [0.0; QUERIES];
        self.values.fill(0.0);
    }

    /// Takes in the next block. A query that sees nothing of it keeps its bits: it is scaled by e^0 = 1,
    /// and e^-inf = 0 of zeros is added.
    #[inline(always)]
    pub(super) fn merge<L: Lanes>(&mut self, lanes: L, next: &Self, queries: usize) {
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

#[inline(always)]
pub(super) fn attend_block<L: Lanes>(
    lanes: L,
    call: &Call<'_>,
    tile: Tile<'_>,
    block: usize,
    part: &mut Partial,
) {
    match call.queries.shape.format {
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
    let Queries { rows, stride, shape, layer, .. } = call.queries;
    let group = shape.heads / shape.kv_heads;
    let first_position = block * BLOCK_POSITIONS;
    let start = shape.key_part(layer, tile.kv_head);
    let keys = tile.span.blocks[block].memory.pointer().wrapping_add(start);
    let values = keys.wrapping_add(shape.part_bytes());
    // While one part is computed with, the next is asked for: too short a stream for the processor to see.
    let next = tile.span.blocks.get(block + 1).map_or(keys, |next| next.memory.pointer().wrapping_add(start));
    let queries: [&[f32]; N] = std::array::from_fn(|query| {
        let (row, head) = tile.place(query, group);
        &rows[row * stride + head * shape.head_dim..][..shape.head_dim]
    });
    let seen: [usize; N] = std::array::from_fn(|query| {
        tile.visible(query, group).saturating_sub(first_position).min(BLOCK_POSITIONS)
    });
    let mut weights = [[0.0f32; BLOCK_POSITIONS]; N];
    // Where registers are few, the sums of two queries by two vectors are as many as stay in them.
    let four_fit = L::WIDE || N == 1;
    let mut scores = [[lanes.splat(0.0); GROUPS]; N];
    // SAFETY: the block holds this head's keys.
    unsafe {
        if four_fit {
            score::<L, F, N, GROUPS>(lanes, [keys, values], shape, &queries, 0, &mut scores);
        } else {
            for first in (0..GROUPS).step_by(2) {
                score::<L, F, N, 2>(lanes, [keys, values], shape, &queries, first, &mut scores);
            }
        }
    }
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
        while four_fit && vector + 4 <= vectors {
            mix::<L, F, N, 4>(lanes, [values, next], shape, &weights, most, vector, part);
            vector += 4;
        }
        while vector + 2 <= vectors {
            mix::<L, F, N, 2>(lanes, [values, next], shape, &weights, most, vector, part);
            vector += 2;
        }
        while vector < vectors {
            mix::<L, F, N, 1>(lanes, [values, next], shape, &weights, most, vector, part);
            vector += 1;
        }
    }
}

/// The products of queries and keys of G vectors of positions from `first` on; meanwhile what lies `ahead` is asked
/// for.
///
/// # Safety
/// `keys` are a block's keys of one head.
#[inline(always)]
unsafe fn score<L: Lanes, F: Stored, const N: usize, const G: usize>(
    lanes: L,
    [keys, ahead]: [*const u8; 2],
    shape: &CacheShape,
    queries: &[&[f32]; N],
    first: usize,
    scores: &mut [[L::Vector; GROUPS]; N],
) {
    let mut sums = [[lanes.splat(0.0); G]; N];
    let stride = shape.padded_dim() * LANES * F::BYTES;
    for d in 0..shape.head_dim {
        for g in 0..G / 2 * F::BYTES / 2 {
            let line = (first * shape.head_dim + d * G) / 2 * F::BYTES / 2 + g;
            prefetch(ahead.wrapping_add(line * 64));
        }
        // SAFETY: said by the caller.
        let key: [L::Vector; G] = std::array::from_fn(|g| unsafe {
            F::load(lanes, keys.add((first + g) * stride + d * LANES * F::BYTES))
        });
        for query in 0..N {
            // SAFETY: every query is `head_dim` long.
            let x = lanes.splat(unsafe { *queries[query].get_unchecked(d) });
            for g in 0..G {
                sums[query][g] = lanes.multiply_add(key[g], x, sums[query][g]);
            }
        }
    }
    for query in 0..N {
        scores[query][first..first + G].copy_from_slice(&sums[query]);
    }
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
    let mut scores = scores;
    // A loop, not a closure: one that is not inlined may not use the instructions.
    for (g, score) in scores.iter_mut().enumerate() {
        let limit = lanes.splat(seen as f32 - (g * LANES) as f32);
        let scaled = lanes.multiply(*score, lanes.splat(scale));
        *score = lanes.select_less(lanes.load(&INDEX), limit, scaled, lowest);
    }
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

/// The weighted sum of V vectors of values from `vector` on, over the first `most` positions; meanwhile what
/// lies `ahead` is asked for.
///
/// # Safety
/// `values` are a block's values of one head.
#[inline(always)]
unsafe fn mix<L: Lanes, F: Stored, const N: usize, const V: usize>(
    lanes: L,
    [values, ahead]: [*const u8; 2],
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
        for line in (0..V * LANES * F::BYTES).step_by(64) {
            prefetch(ahead.wrapping_add(at + line));
        }
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
