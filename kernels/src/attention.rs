//! Causal grouped-query attention over one sequence's cached keys and values.
//!
//! Query heads that share a key head, and a few neighbouring tokens, are computed together so that keys and
//! values are read once for all of them; each query's answer is the same as alone.

use rayon::prelude::*;

use crate::dot::dots;
use crate::elementwise::exp;
use crate::matmul::PARALLEL_WORK;
use crate::simd::{LANES, Simd, on_path};
use crate::{Path, path};

/// Queries computed together: 6 queries by 4 vectors of values fill the registers of AVX-512.
const QUERIES: usize = 6;

/// The heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// H, query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// K, key and value heads; query head h reads key head h / (H / K).
    pub kv_heads: usize,
    /// D, elements of a head.
    pub head_dim: usize,
}

/// Attention of T queries of one sequence, at positions `first_position..first_position + T`.
///
/// out and q are (T, H, D); keys and values (positions, K, D) with at least `first_position + T` positions.
/// Query t sees positions `0..=first_position + t`. Scores are scaled by 1/sqrt(D).
///
/// # Panics
/// If the lengths do not fit these shapes, or H is not a multiple of K.
pub fn attend(
    out: &mut [f32],
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    shape: AttentionShape,
    first_position: usize,
) {
    attend_on(path(), out, Inputs { q, keys, values, shape, first_position });
}

/// What every block of queries reads; fields as in `attend`.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) keys: &'a [f32],
    pub(crate) values: &'a [f32],
    pub(crate) shape: AttentionShape,
    pub(crate) first_position: usize,
}

pub(crate) fn attend_on(path: Path, out: &mut [f32], inputs: Inputs<'_>) {
    let AttentionShape { heads, kv_heads, head_dim } = inputs.shape;
    assert!(
        kv_heads > 0 && head_dim > 0 && heads > 0 && heads.is_multiple_of(kv_heads),
        "attend: {heads} heads must be a multiple of {kv_heads} kv_heads, head_dim {head_dim} not 0"
    );
    let (row, kv_row) = (heads * head_dim, kv_heads * head_dim);
    assert!(inputs.q.len().is_multiple_of(row), "attend: q must be tokens x heads x head_dim");
    assert_eq!(out.len(), inputs.q.len(), "attend: out must be as long as q");
    let positions = inputs.first_position + inputs.q.len() / row;
    assert!(inputs.keys.len() >= positions * kv_row, "attend: keys must hold {positions} positions");
    assert!(inputs.values.len() >= positions * kv_row, "attend: values must hold {positions} positions");

    let run = |scores: &mut Vec<f32>, block: Block<'_>| {
        on_path!(path, attend_block(block: Block<'_>, inputs: Inputs<'_>, scores: &mut Vec<f32>));
    };
    let work = 2 * out.len() * positions;
    let blocks = blocks(out, inputs.shape);
    if blocks.len() < 2 || work < PARALLEL_WORK {
        let mut scores = Vec::new();
        blocks.into_iter().for_each(|block| run(&mut scores, block));
    } else {
        blocks.into_par_iter().for_each_init(Vec::new, run);
    }
}

/// Neighbouring tokens' queries of one key head.
struct Block<'a> {
    first_token: usize,
    kv_head: usize,
    /// The (D) answers of the queries, heads of a token first.
    out: Vec<&'a mut [f32]>,
}

/// Cuts the output into blocks of about `QUERIES` queries.
fn blocks(out: &mut [f32], shape: AttentionShape) -> Vec<Block<'_>> {
    let AttentionShape { heads, kv_heads, head_dim } = shape;
    let group = heads / kv_heads;
    let tokens = (QUERIES / group).max(1);
    let mut blocks = Vec::new();
    for (index, rows) in out.chunks_mut(tokens * heads * head_dim).enumerate() {
        let first = blocks.len();
        blocks.extend((0..kv_heads).map(|kv_head| Block {
            first_token: index * tokens,
            kv_head,
            out: Vec::with_capacity(tokens * group),
        }));
        for (position, query) in rows.chunks_mut(head_dim).enumerate() {
            blocks[first + position % heads / group].out.push(query);
        }
    }
    blocks
}

#[inline(always)]
fn attend_block<S: Simd>(simd: S, block: Block<'_>, inputs: Inputs<'_>, scores: &mut Vec<f32>) {
    let AttentionShape { heads, kv_heads, head_dim } = inputs.shape;
    let Block { first_token, kv_head, mut out } = block;
    let group = heads / kv_heads;
    let first_visible = inputs.first_position + first_token + 1;
    let stride = (first_visible + (out.len() - 1) / group).next_multiple_of(LANES);
    scores.clear();
    scores.resize(out.len() * stride, f32::NEG_INFINITY);

    let kv = |rows| Heads { rows, row: kv_heads * head_dim, head: kv_head * head_dim, head_dim };
    let (keys, values) = (kv(inputs.keys), kv(inputs.values));
    let width = if S::WIDE { QUERIES } else { 3 };
    for (tile, (out, scores)) in out.chunks_mut(width).zip(scores.chunks_mut(width * stride)).enumerate() {
        let mut queries: [&[f32]; QUERIES] = [&[]; QUERIES];
        let mut visible = [0; QUERIES];
        for query in 0..out.len() {
            let index = tile * width + query;
            let head = (first_token + index / group) * heads + kv_head * group + index % group;
            queries[query] = &inputs.q[head * head_dim..][..head_dim];
            visible[query] = first_visible + index / group;
        }
        let visible = &visible[..out.len()];
        match out.len() {
            1 => attend_tile::<S, 1>(simd, out, &queries, visible, scores, keys, values),
            2 => attend_tile::<S, 2>(simd, out, &queries, visible, scores, keys, values),
            3 => attend_tile::<S, 3>(simd, out, &queries, visible, scores, keys, values),
            4 => attend_tile::<S, 4>(simd, out, &queries, visible, scores, keys, values),
            5 => attend_tile::<S, 5>(simd, out, &queries, visible, scores, keys, values),
            _ => attend_tile::<S, 6>(simd, out, &queries, visible, scores, keys, values),
        }
    }
}

/// One key or value head: rows of `head_dim` that stand `row` apart.
#[derive(Clone, Copy)]
struct Heads<'a> {
    rows: &'a [f32],
    row: usize,
    head: usize,
    head_dim: usize,
}

impl<'a> Heads<'a> {
    #[inline(always)]
    fn at(self, position: usize) -> &'a [f32] {
        &self.rows[position * self.row + self.head..][..self.head_dim]
    }
}

/// N queries against all they see. `scores` is (N, positions rounded up to 16) and filled with -infinity.
#[inline(always)]
fn attend_tile<S: Simd, const N: usize>(
    simd: S,
    out: &mut [&mut [f32]],
    queries: &[&[f32]; QUERIES],
    visible: &[usize],
    scores: &mut [f32],
    keys: Heads<'_>,
    values: Heads<'_>,
) {
    let queries: [&[f32]; N] = std::array::from_fn(|query| queries[query]);
    let stride = scores.len() / N;
    score(simd, &queries, visible, scores, keys);
    for (query, scores) in scores.chunks_exact_mut(stride).enumerate() {
        // What others of the tile see and this query does not.
        scores[visible[query]..].fill(f32::NEG_INFINITY);
        softmax(simd, scores);
        out[query].fill(0.0);
    }
    // Positions that all see in one pass, then the later ones query by query.
    let common = visible[0];
    let weights: [&[f32]; N] = std::array::from_fn(|query| &scores[query * stride..][..common]);
    add_weighted::<S, N>(simd, out, weights, 0, values);
    for query in 0..N {
        let weights = &scores[query * stride..][common..visible[query]];
        add_weighted::<S, 1>(simd, &mut out[query..=query], [weights], common, values);
    }
}

/// Scaled dot products of the queries with every key that any of them sees.
#[inline(always)]
fn score<S: Simd, const N: usize>(
    simd: S,
    queries: &[&[f32]; N],
    visible: &[usize],
    scores: &mut [f32],
    keys: Heads<'_>,
) {
    let stride = scores.len() / N;
    let scale = 1.0 / (keys.head_dim as f32).sqrt();
    let end = visible[N - 1];
    let whole = end / 4 * 4;
    for position in (0..whole).step_by(4) {
        let rows: [&[f32]; 4] = std::array::from_fn(|row| keys.at(position + row));
        let totals = dots(simd, rows, *queries);
        for query in 0..N {
            let scores = &mut scores[query * stride + position..][..4];
            for row in 0..4 {
                scores[row] = totals[query][row] * scale;
            }
        }
    }
    for position in whole..end {
        let totals = dots(simd, [keys.at(position)], *queries);
        for query in 0..N {
            scores[query * stride + position] = totals[query][0] * scale;
        }
    }
}

/// Scores to weights that add up to 1; the length is a multiple of 16, unseen positions are -infinity.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32]) {
    let chunks = scores.as_chunks_mut::<LANES>().0;
    let mut maxima = simd.splat(f32::NEG_INFINITY);
    for chunk in &*chunks {
        maxima = simd.maximum(simd.load(chunk), maxima);
    }
    let mut lanes = [0.0; LANES];
    simd.store(&mut lanes, maxima);
    let mut maximum = f32::NEG_INFINITY;
    for lane in lanes {
        maximum = if lane > maximum { lane } else { maximum };
    }
    let maximum = simd.splat(maximum);
    let mut sums = simd.splat(0.0);
    for chunk in &mut *chunks {
        let weights = exp(simd, simd.subtract(simd.load(chunk), maximum));
        simd.store(chunk, weights);
        sums = simd.add(sums, weights);
    }
    let scale = simd.splat(1.0 / simd.sum(sums));
    for chunk in chunks {
        simd.store(chunk, simd.multiply(simd.load(chunk), scale));
    }
}

/// out[n] += weights[n] · values over positions from `first` on, ascending, one multiply-add a position.
#[inline(always)]
fn add_weighted<S: Simd, const N: usize>(
    simd: S,
    out: &mut [&mut [f32]],
    weights: [&[f32]; N],
    first: usize,
    values: Heads<'_>,
) {
    let mut done = 0;
    while S::WIDE && done + 4 * LANES <= values.head_dim {
        add_weighted_chunks::<S, N, 4>(simd, out, weights, first, values, done);
        done += 4 * LANES;
    }
    while done + LANES <= values.head_dim {
        add_weighted_chunks::<S, N, 1>(simd, out, weights, first, values, done);
        done += LANES;
    }
    for dimension in done..values.head_dim {
        for (out, weights) in out.iter_mut().zip(weights) {
            for (position, weight) in weights.iter().enumerate() {
                let value = values.at(first + position)[dimension];
                out[dimension] = weight.mul_add(value, out[dimension]);
            }
        }
    }
}

/// `add_weighted` for CHUNKS vectors of dimensions from `done` on.
#[inline(always)]
fn add_weighted_chunks<S: Simd, const N: usize, const CHUNKS: usize>(
    simd: S,
    out: &mut [&mut [f32]],
    weights: [&[f32]; N],
    first: usize,
    values: Heads<'_>,
    done: usize,
) {
    let count = weights[0].len();
    let weights = weights.map(|weights| &weights[..count]);
    let mut sums = [[simd.splat(0.0); CHUNKS]; N];
    for n in 0..N {
        let chunks = &out[n][done..].as_chunks::<LANES>().0[..CHUNKS];
        for chunk in 0..CHUNKS {
            sums[n][chunk] = simd.load(&chunks[chunk]);
        }
    }
    let mut vectors = [simd.splat(0.0); CHUNKS];
    #[allow(clippy::needless_range_loop, reason = "one position indexes N rows of weights and the values")]
    for position in 0..count {
        let chunks = &values.at(first + position)[done..].as_chunks::<LANES>().0[..CHUNKS];
        for chunk in 0..CHUNKS {
            vectors[chunk] = simd.load(&chunks[chunk]);
        }
        for n in 0..N {
            let weight = simd.splat(weights[n][position]);
            for chunk in 0..CHUNKS {
                sums[n][chunk] = simd.multiply_add(weight, vectors[chunk], sums[n][chunk]);
            }
        }
    }
    for n in 0..N {
        let chunks = &mut out[n][done..].as_chunks_mut::<LANES>().0[..CHUNKS];
        for chunk in 0..CHUNKS {
            simd.store(&mut chunks[chunk], sums[n][chunk]);
        }
    }
}
