//! Causal grouped-query attention over packed sequences, forward and backward: no token sees another
//! sequence. Scores exist for one block of queries at a time and are made again in the backward pass from
//! the saved log-sum of each row.

use crate::element::{Element, exp, maximum_of, sum_of, vectorized};
use crate::gemm::{Into, Matrix, Target, gemm_to, scratch};
use rayon::prelude::*;
use std::ops::Range;

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

/// Rows of scores that exist at once, those of all query heads that read one key head: against 1,024 keys they take
/// 768 KiB, and every key is packed once for all of them.
const ROWS: usize = 192;
/// Fewest queries of a block.
const FEWEST_QUERIES: usize = 32;

/// What the tasks of one call share.
struct Call<'a, E> {
    /// (T, (H + 2K) D): queries, keys, values of a token side by side.
    qkv: &'a [E],
    shape: AttentionShape,
    starts: &'a [usize],
}

impl<'a, E: Element> Call<'a, E> {
    fn row(&self) -> usize {
        (self.shape.heads + 2 * self.shape.kv_heads) * self.shape.head_dim
    }

    /// `count` tokens of one head of queries, keys or values, counted through the row.
    fn head(&self, head: usize, first: usize, count: usize) -> Matrix<'a, E> {
        let from = first * self.row() + head * self.shape.head_dim;
        Matrix::strided(&self.qkv[from..], count, self.shape.head_dim, self.row())
    }

    fn check(&self) {
        let AttentionShape { heads, kv_heads, head_dim } = self.shape;
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads) && head_dim > 0, "attention: heads");
        assert!(
            self.starts.is_sorted() && self.starts.first() == Some(&0),
            "attention: starts must ascend from 0"
        );
        let tokens = *self.starts.last().expect("starts holds at least the total");
        assert_eq!(self.qkv.len(), tokens * self.row(), "attention: qkv must be tokens x row");
    }

    /// Query heads that read one key head.
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    fn blocks(&self, sequence: usize) -> impl Iterator<Item = (usize, usize)> {
        let (start, end) = (self.starts[sequence], self.starts[sequence + 1]);
        let queries = (ROWS / self.group()).max(FEWEST_QUERIES);
        (start..end).step_by(queries).map(move |first| (first, queries.min(end - first)))
    }
}

/// The group's columns of a block, one head below the other: to (group count, D) from tokens whose rows are `row` long.
fn gather<E: Copy>(
    to: &mut Vec<E>,
    from: &[E],
    row: usize,
    (first, count): (usize, usize),
    heads: Range<usize>,
    head_dim: usize,
) {
    to.clear();
    for head in heads {
        for token in first..first + count {
            to.extend_from_slice(&from[token * row + head * head_dim..][..head_dim]);
        }
    }
}

/// The way back.
///
/// # Safety
/// The block's rows and the heads' columns must exist in the target and be nobody else's meanwhile.
unsafe fn scatter<E: Element>(
    to: Target<E>,
    from: &[f32],
    (first, count): (usize, usize),
    heads: Range<usize>,
    head_dim: usize,
) {
    let mut from = from.chunks_exact(head_dim);
    for head in heads {
        for token in first..first + count {
            let place = token * to.row_stride + head * head_dim;
            // SAFETY: as the caller says.
            let out = unsafe { std::slice::from_raw_parts_mut(to.data.add(place), head_dim) };
            let values = from.next().expect("a row for every head and token");
            out.iter_mut().zip(values).for_each(|(out, value)| *out = E::from_f32(*value));
        }
    }
}

/// out (T, H D) and log_sums (H, T) from qkv (T, (H + 2K) D); `starts` holds n + 1 token offsets.
///
/// # Panics
/// If the lengths do not fit.
pub fn attention_forward<E: Element>(
    out: &mut [E],
    log_sums: &mut [f32],
    qkv: &[E],
    shape: AttentionShape,
    starts: &[usize],
) {
    let call = Call { qkv, shape, starts };
    call.check();
    let tokens = starts[starts.len() - 1];
    let row = shape.heads * shape.head_dim;
    assert!(out.len() == tokens * row && log_sums.len() == tokens * shape.heads, "attention: out, log_sums");
    let out = Target { data: out.as_mut_ptr(), rows: tokens, columns: row, row_stride: row };
    let log_sums =
        Target { data: log_sums.as_mut_ptr(), rows: shape.heads, columns: tokens, row_stride: tokens };
    let tasks = (starts.len() - 1) * shape.kv_heads;
    (0..tasks).into_par_iter().for_each(|task| {
        // SAFETY: every task has a sequence and key head of its own, and the query heads that read it.
        unsafe { forward_group(&call, out, log_sums, task / shape.kv_heads, task % shape.kv_heads) };
    });
}

/// # Safety
/// Nothing else may touch this sequence's columns of this key head's query heads meanwhile.
unsafe fn forward_group<E: Element>(
    call: &Call<'_, E>,
    out: Target<E>,
    log_sums: Target<f32>,
    sequence: usize,
    kv_head: usize,
) {
    let AttentionShape { heads, kv_heads, head_dim } = call.shape;
    let group = kv_head * call.group()..(kv_head + 1) * call.group();
    let start = call.starts[sequence];
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (mut q, mut scores, mut mixed) =
        (scratch::take::<E>(), scratch::take::<f32>(), scratch::take::<f32>());
    for (first, count) in call.blocks(sequence) {
        let (keys, rows) = (first + count - start, group.len() * count);
        gather(&mut q, call.qkv, call.row(), (first, count), group.clone(), head_dim);
        scores.resize(rows * keys, 0.0);
        mixed.resize(rows * head_dim, 0.0);
        let k = call.head(heads + kv_head, start, keys);
        let v = call.head(heads + kv_heads + kv_head, start, keys);
        // SAFETY: the scratch is this task's own.
        unsafe {
            let target = Target::new(&mut scores, rows, keys);
            gemm_to::<E, _, _, _>(target, Matrix::new(&q, rows, head_dim), k.transposed(), Into::Replace);
        }
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let (head, query) = (group.start + row / count, first + row % count);
            let (seen, hidden) = scores.split_at_mut(query - start + 1);
            hidden.fill(0.0);
            let sums = softmax(seen, scale);
            // SAFETY: this head's row of the log sums, at a token of this task.
            unsafe { *log_sums.data.add(head * log_sums.row_stride + query) = sums };
        }
        // SAFETY: the scratch is this task's own, and so are its heads' columns of the block.
        unsafe {
            let weights = Matrix::new(&scores, rows, keys);
            gemm_to::<E, _, _, _>(Target::new(&mut mixed, rows, head_dim), weights, v, Into::Replace);
            scatter(out, &mixed, (first, count), group.clone(), head_dim);
        }
    }
    scratch::give(q);
    scratch::give(scores);
    scratch::give(mixed);
}

/// dqkv (T, (H + 2K) D) from dout (T, H D) and what the forward pass read and left.
///
/// # Panics
/// If the lengths do not fit.
#[allow(clippy::too_many_arguments, reason = "a kernel's operands are its arguments")]
pub fn attention_backward<E: Element>(
    dqkv: &mut [E],
    dout: &[E],
    out: &[E],
    log_sums: &[f32],
    qkv: &[E],
    shape: AttentionShape,
    starts: &[usize],
) {
    let call = Call { qkv, shape, starts };
    call.check();
    assert_eq!(dqkv.len(), qkv.len(), "attention_backward: dqkv");
    assert!(
        out.len() == dout.len() && log_sums.len() * shape.head_dim == out.len(),
        "attention_backward: out"
    );
    let saved = Saved { dout, out, log_sums };
    let dqkv = Target {
        data: dqkv.as_mut_ptr(),
        rows: starts[starts.len() - 1],
        columns: call.row(),
        row_stride: call.row(),
    };
    let tasks = (starts.len() - 1) * shape.kv_heads;
    (0..tasks).into_par_iter().for_each(|task| {
        // SAFETY: every task has a sequence and key head of its own, and the query heads that read it.
        unsafe { backward_head(&call, &saved, dqkv, task / shape.kv_heads, task % shape.kv_heads) };
    });
}

/// What the forward pass left, and the gradient that came back.
struct Saved<'a, E> {
    dout: &'a [E],
    out: &'a [E],
    log_sums: &'a [f32],
}

/// # Safety
/// Nothing else may touch this sequence's columns of this key head and its query heads meanwhile.
unsafe fn backward_head<E: Element>(
    call: &Call<'_, E>,
    saved: &Saved<'_, E>,
    dqkv: Target<E>,
    sequence: usize,
    kv_head: usize,
) {
    let AttentionShape { heads, kv_heads, head_dim } = call.shape;
    let group = kv_head * call.group()..(kv_head + 1) * call.group();
    let (start, end) = (call.starts[sequence], call.starts[sequence + 1]);
    let tokens = call.starts[call.starts.len() - 1];
    let mut block = [scratch::take::<E>(), scratch::take::<E>(), scratch::take::<E>()];
    let (mut weights, mut dscores) = (scratch::take::<f32>(), scratch::take::<f32>());
    let (mut dq, mut dk, mut dv) = (scratch::take::<f32>(), scratch::take::<f32>(), scratch::take::<f32>());
    for gradient in [&mut dk, &mut dv] {
        gradient.clear();
        gradient.resize((end - start) * head_dim, 0.0);
    }
    for (first, count) in call.blocks(sequence) {
        let (keys, rows) = (first + count - start, group.len() * count);
        let [q, out, dout] = &mut block;
        gather(q, call.qkv, call.row(), (first, count), group.clone(), head_dim);
        gather(out, saved.out, heads * head_dim, (first, count), group.clone(), head_dim);
        gather(dout, saved.dout, heads * head_dim, (first, count), group.clone(), head_dim);
        let k = call.head(heads + kv_head, start, keys);
        let v = call.head(heads + kv_heads + kv_head, start, keys);
        weights.resize(rows * keys, 0.0);
        dscores.resize(rows * keys, 0.0);
        dq.resize(rows * head_dim, 0.0);
        let (q, d) = (Matrix::new(q, rows, head_dim), Matrix::new(dout, rows, head_dim));
        // SAFETY: the scratch is this task's own.
        unsafe {
            gemm_to::<E, _, _, _>(Target::new(&mut weights, rows, keys), q, k.transposed(), Into::Replace);
            gemm_to::<E, _, _, _>(Target::new(&mut dscores, rows, keys), d, v.transposed(), Into::Replace);
        }
        let lines = weights.chunks_exact_mut(keys).zip(dscores.chunks_exact_mut(keys));
        let outs = out.chunks_exact(head_dim).zip(dout.chunks_exact(head_dim));
        for (row, ((weights, dscores), (out, dout))) in lines.zip(outs).enumerate() {
            let (head, query) = (group.start + row / count, first + row % count);
            let log_sum = saved.log_sums[head * tokens + query];
            dscore_row(weights, dscores, query - start + 1, dout, out, log_sum);
        }
        let (weights, dscores) = (Matrix::new(&weights, rows, keys), Matrix::new(&dscores, rows, keys));
        let seen = |gradient: &mut [f32]| Target::new(&mut gradient[..keys * head_dim], keys, head_dim);
        // SAFETY: the scratch is this task's own, and so are its heads' columns of the block.
        unsafe {
            gemm_to::<E, _, _, _>(seen(&mut dv), weights.transposed(), d, Into::Add);
            gemm_to::<E, _, _, _>(seen(&mut dk), dscores.transposed(), q, Into::Add);
            gemm_to::<E, _, _, _>(Target::new(&mut dq, rows, head_dim), dscores, k, Into::Replace);
            scatter(dqkv, &dq, (first, count), group.clone(), head_dim);
        }
    }
    for (head, gradient) in [(heads + kv_head, &dk), (heads + kv_heads + kv_head, &dv)] {
        // SAFETY: this key head's columns of the sequence.
        unsafe { scatter(dqkv, gradient, (start, end - start), head..head + 1, head_dim) };
    }
    block.into_iter().for_each(scratch::give);
    [weights, dscores, dq, dk, dv].into_iter().for_each(scratch::give);
}

vectorized! {
    /// Scores of one query to weights that add up to 1; returns log Σ e^(scale score).
    fn softmax(scores: &mut [f32], scale: f32) -> f32 {
        let maximum = maximum_of(scores) * scale;
        for score in scores.iter_mut() {
            *score = exp(*score * scale - maximum);
        }
        let sum = sum_of(scores, scores, |weight, _| weight);
        let normalise = 1.0 / sum;
        for score in scores {
            *score *= normalise;
        }
        maximum + sum.ln()
    }

    /// Scores of one query to weights, and the gradient of the weights to that of the scores.
    fn dscore_row<E>(weights: &mut [f32], dscores: &mut [f32], seen: usize, dout: &[E], out: &[E], log_sum: f32) {
        let scale = 1.0 / (dout.len() as f32).sqrt();
        let along = sum_of(dout, out, |dout, out| dout * out);
        for (weight, dscore) in weights[..seen].iter_mut().zip(&mut dscores[..seen]) {
            *weight = exp(*weight * scale - log_sum);
            *dscore = *weight * (*dscore - along) * scale;
        }
        weights[seen..].fill(0.0);
        dscores[seen..].fill(0.0);
    }
}
