//! Attention of a tile of queries over one block of keys and values.
//!
//! ```text
//! scores (N, 64)   N queries x 4 vectors of 16 positions, summed over d in registers
//! weights (N, 64)  softmax over the positions that the query attends to
//! values (N, D)    N queries x up to 4 vectors of dimensions, summed over positions in registers
//! ```

use super::block::{BLOCK_POSITIONS, CacheShape};
use super::call::{Queries, Tile};
use super::partial::{Partial, QUERIES};
use crate::elementwise::exp;
use crate::format::CacheFormat;
use crate::lanes::Lanes;
use crate::memory::prefetch;
use crate::simd::LANES;
use std::ops::Range;

/// Vectors of positions in a block.
const GROUPS: usize = BLOCK_POSITIONS / LANES;

/// Computes attention of a tile of at most `QUERIES` queries over one block.
#[inline(always)]
pub(super) fn attend_block<L: Lanes>(
    lanes: L,
    call: Queries<'_>,
    tile: Tile<'_>,
    block: usize,
    part: &mut Partial,
) {
    match call.shape.format {
        CacheFormat::F32 => attend_stored::<L, StoredF32>(lanes, call, tile, block, part),
        CacheFormat::F16 => attend_stored::<L, StoredF16>(lanes, call, tile, block, part),
        CacheFormat::Bf16 => attend_stored::<L, StoredBf16>(lanes, call, tile, block, part),
    }
}

/// [`attend_block`] for one storage format.
#[inline(always)]
fn attend_stored<L: Lanes, F: Stored>(
    lanes: L,
    call: Queries<'_>,
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

/// How stored numbers are loaded.
trait Stored {
    const BYTES: usize;
    /// # Safety
    /// Sixteen numbers must be readable at `from`.
    unsafe fn load<L: Lanes>(lanes: L, from: *const u8) -> L::Vector;
}

struct StoredF32;
struct StoredF16;
struct StoredBf16;

impl Stored for StoredF32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<L: Lanes>(lanes: L, from: *const u8) -> L::Vector {
        // SAFETY: the caller guarantees it.
        unsafe { lanes.load_f32(from) }
    }
}

impl Stored for StoredF16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(lanes: L, from: *const u8) -> L::Vector {
        // SAFETY: the caller guarantees it.
        unsafe { lanes.load_f16(from) }
    }
}

impl Stored for StoredBf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<L: Lanes>(lanes: L, from: *const u8) -> L::Vector {
        // SAFETY: the caller guarantees it.
        unsafe { lanes.load_bf16(from) }
    }
}

/// [`attend_block`] for N queries.
#[inline(always)]
fn attend_tile<L: Lanes, F: Stored, const N: usize>(
    lanes: L,
    call: Queries<'_>,
    tile: Tile<'_>,
    block: usize,
    part: &mut Partial,
) {
    let Queries { rows, stride, shape, layer, .. } = call;
    let group = shape.heads / shape.kv_heads;
    let first_position = block * BLOCK_POSITIONS;
    let start = shape.key_offset(layer, tile.kv_head);
    let keys = tile.span.blocks[block].memory.pointer().wrapping_add(start);
    let values = keys.wrapping_add(shape.head_bytes());
    // Prefetch the keys of the next block explicitly: these streams are too short for the hardware prefetcher.
    let next = tile.span.blocks.get(block + 1).map_or(keys, |next| next.memory.pointer().wrapping_add(start));
    let queries: [&[f32]; N] = std::array::from_fn(|query| {
        let (row, head) = tile.row_and_head(query, group);
        &rows[row * stride + head * shape.head_dim..][..shape.head_dim]
    });
    let visible: [usize; N] = std::array::from_fn(|query| {
        tile.visible(query, group).saturating_sub(first_position).min(BLOCK_POSITIONS)
    });
    let hidden: [usize; N] = std::array::from_fn(|query| {
        let first = tile.visible(query, group).saturating_sub(call.window);
        first.saturating_sub(first_position).min(BLOCK_POSITIONS)
    });
    let mut weights = [[0.0f32; BLOCK_POSITIONS]; N];
    // With 16 registers, the sums of two queries by two vectors are the most that stay in them.
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
    let scale = 1.0 / (shape.head_dim as f32).sqrt();
    for query in 0..N {
        (part.largest[query], part.total[query]) =
            softmax(lanes, &mut weights[query], scores[query], hidden[query]..visible[query], scale);
    }
    let positions = visible.iter().copied().max().unwrap_or(0);
    let mut vector = 0;
    let vectors = shape.padded_dim() / LANES;
    // SAFETY: the block holds this head's values.
    unsafe {
        while four_fit && vector + 4 <= vectors {
            weigh_values::<L, F, N, 4>(lanes, [values, next], shape, &weights, positions, vector, part);
            vector += 4;
        }
        while vector + 2 <= vectors {
            weigh_values::<L, F, N, 2>(lanes, [values, next], shape, &weights, positions, vector, part);
            vector += 2;
        }
        while vector < vectors {
            weigh_values::<L, F, N, 1>(lanes, [values, next], shape, &weights, positions, vector, part);
            vector += 1;
        }
    }
}

/// The products of queries and keys, for G vectors of positions from vector `first` on. Prefetches the memory at
/// `ahead`.
///
/// # Safety
/// `keys` must be the keys of one head in a block.
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
        // SAFETY: the caller guarantees it.
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

/// Turns the scores of one query over a block into softmax weights relative to the largest score; returns that score
/// and the sum of the weights. Positions that are not `visible` get weight 0.
#[inline(always)]
fn softmax<L: Lanes>(
    lanes: L,
    weights: &mut [f32; BLOCK_POSITIONS],
    scores: [L::Vector; GROUPS],
    visible: Range<usize>,
    scale: f32,
) -> (f32, f32) {
    const INDEX: [f32; LANES] = [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
    let lowest = lanes.splat(f32::NEG_INFINITY);
    let mut scores = scores;
    // A loop, not a closure: a closure that is not inlined may not use the instructions.
    for (g, score) in scores.iter_mut().enumerate() {
        let limit = lanes.splat(visible.end as f32 - (g * LANES) as f32);
        let scaled = lanes.multiply(*score, lanes.splat(scale));
        *score = lanes.select_less(lanes.load(&INDEX), limit, scaled, lowest);
        if visible.start > 0 {
            let limit = lanes.splat(visible.start as f32 - (g * LANES) as f32);
            *score = lanes.select_less(lanes.load(&INDEX), limit, lowest, *score);
        }
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

/// The weighted sums over the first `positions` values, for V vectors of dimensions from vector `vector` on. Prefetches
/// the memory at `ahead`.
///
/// # Safety
/// `values` must be the values of one head in a block.
#[inline(always)]
unsafe fn weigh_values<L: Lanes, F: Stored, const N: usize, const V: usize>(
    lanes: L,
    [values, ahead]: [*const u8; 2],
    shape: &CacheShape,
    weights: &[[f32; BLOCK_POSITIONS]; N],
    positions: usize,
    vector: usize,
    part: &mut Partial,
) {
    let mut sums = [[lanes.splat(0.0); V]; N];
    let stride = shape.padded_dim() * F::BYTES;
    for position in 0..positions {
        let at = position * stride + vector * LANES * F::BYTES;
        for line in (0..V * LANES * F::BYTES).step_by(64) {
            prefetch(ahead.wrapping_add(at + line));
        }
        // SAFETY: the caller guarantees it.
        let value: [L::Vector; V] =
            std::array::from_fn(|v| unsafe { F::load(lanes, values.add(at + v * LANES * F::BYTES)) });
        for query in 0..N {
            // SAFETY: `positions` is at most the positions of a block.
            let weight = lanes.splat(unsafe { *weights[query].get_unchecked(position) });
            for v in 0..V {
                sums[query][v] = lanes.multiply_add(value[v], weight, sums[query][v]);
            }
        }
    }
    for (query, sums) in sums.iter().enumerate() {
        let row = &mut part.values[query * part.padded_dim + vector * LANES..][..V * LANES];
        for (out, sum) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
            lanes.store(out, *sum);
        }
    }
}
