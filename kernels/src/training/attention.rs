//! Causal grouped-query attention over packed sequences, forward and backward: no token sees another
//! sequence. Scores exist for one block of queries at a time and are made again in the backward pass from
//! the saved log-sum of each row.

use crate::AttentionShape;
use crate::element::{Element, exp, maximum_of, sum_of, vectorized};
use crate::gemm::{Into, Matrix, Target, gemm_to, scratch};
use rayon::prelude::*;

/// Queries of a block: the scores of 128 against 2,048 keys take 1 MiB.
const QUERIES: usize = 128;

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

    fn blocks(&self, sequence: usize) -> impl Iterator<Item = (usize, usize)> {
        let (start, end) = (self.starts[sequence], self.starts[sequence + 1]);
        (start..end).step_by(QUERIES).map(move |first| (first, QUERIES.min(end - first)))
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
    let tasks = (starts.len() - 1) * shape.heads;
    (0..tasks).into_par_iter().for_each(|task| {
        // SAFETY: every task has a sequence and head of its own.
        unsafe { forward_head(&call, out, log_sums, task / shape.heads, task % shape.heads) };
    });
}

/// # Safety
/// Nothing else may touch this sequence's columns of this head meanwhile.
unsafe fn forward_head<E: Element>(
    call: &Call<'_, E>,
    out: Target<E>,
    log_sums: Target<f32>,
    sequence: usize,
    head: usize,
) {
    let AttentionShape { heads, kv_heads, head_dim } = call.shape;
    let kv_head = head / (heads / kv_heads);
    let start = call.starts[sequence];
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (mut scores, mut mixed) = (scratch::take::<f32>(), scratch::take::<f32>());
    for (first, count) in call.blocks(sequence) {
        let keys = first + count - start;
        scores.resize(count * keys, 0.0);
        mixed.resize(count * head_dim, 0.0);
        let k = call.head(heads + kv_head, start, keys);
        let v = call.head(heads + kv_heads + kv_head, start, keys);
        // SAFETY: the scratch is this task's own.
        unsafe {
            let target = Target::new(&mut scores, count, keys);
            gemm_to::<E, _, _, _>(target, call.head(head, first, count), k.transposed(), Into::Replace);
        }
        for (query, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let (seen, hidden) = scores.split_at_mut(first - start + query + 1);
            hidden.fill(0.0);
            let sums = softmax(seen, scale);
            // SAFETY: this head's row of the log sums, at a token of this task.
            unsafe { *log_sums.data.add(head * log_sums.row_stride + first + query) = sums };
        }
        // SAFETY: as above.
        unsafe {
            let weights = Matrix::new(&scores, count, keys);
            gemm_to::<E, _, _, _>(Target::new(&mut mixed, count, head_dim), weights, v, Into::Replace);
        }
        for (query, mixed) in mixed.chunks_exact(head_dim).enumerate() {
            let place = (first + query) * out.row_stride + head * head_dim;
            // SAFETY: this head's columns of a token of this task.
            let out = unsafe { std::slice::from_raw_parts_mut(out.data.add(place), head_dim) };
            out.iter_mut().zip(mixed).for_each(|(out, mixed)| *out = E::from_f32(*mixed));
        }
    }
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
    let group = heads / kv_heads;
    let (start, end) = (call.starts[sequence], call.starts[sequence + 1]);
    let tokens = call.starts[call.starts.len() - 1];
    let row = heads * head_dim;
    let (mut weights, mut dscores) = (scratch::take::<f32>(), scratch::take::<f32>());
    let (mut dk, mut dv) = (scratch::take::<f32>(), scratch::take::<f32>());
    for gradient in [&mut dk, &mut dv] {
        gradient.clear();
        gradient.resize((end - start) * head_dim, 0.0);
    }
    for head in kv_head * group..(kv_head + 1) * group {
        for (first, count) in call.blocks(sequence) {
            let keys = first + count - start;
            let q = call.head(head, first, count);
            let k = call.head(heads + kv_head, start, keys);
            let v = call.head(heads + kv_heads + kv_head, start, keys);
            let from = first * row + head * head_dim;
            let dout = Matrix::strided(&saved.dout[from..], count, head_dim, row);
            weights.resize(count * keys, 0.0);
            dscores.resize(count * keys, 0.0);
            // SAFETY: the scratch is this task's own.
            unsafe {
                gemm_to::<E, _, _, _>(
                    Target::new(&mut weights, count, keys),
                    q,
                    k.transposed(),
                    Into::Replace,
                );
                gemm_to::<E, _, _, _>(
                    Target::new(&mut dscores, count, keys),
                    dout,
                    v.transposed(),
                    Into::Replace,
                );
            }
            let rows = weights.chunks_exact_mut(keys).zip(dscores.chunks_exact_mut(keys));
            for (query, (weights, dscores)) in rows.enumerate() {
                let at = from + query * row..from + query * row + head_dim;
                let log_sum = saved.log_sums[head * tokens + first + query];
                let seen = first - start + query + 1;
                dscore_row(weights, dscores, seen, &saved.dout[at.clone()], &saved.out[at], log_sum);
            }
            let dq = Target {
                // SAFETY: the block's rows and this head's columns lie in dqkv.
                data: unsafe { dqkv.data.add(first * dqkv.row_stride + head * head_dim) },
                rows: count,
                columns: head_dim,
                row_stride: dqkv.row_stride,
            };
            let (weights, dscores) = (Matrix::new(&weights, count, keys), Matrix::new(&dscores, count, keys));
            let rows = |gradient: &mut [f32]| Target::new(&mut gradient[..keys * head_dim], keys, head_dim);
            // SAFETY: dv and dk are this task's own, dq its block's.
            unsafe {
                gemm_to::<E, _, _, _>(rows(&mut dv), weights.transposed(), dout, Into::Add);
                gemm_to::<E, _, _, _>(rows(&mut dk), dscores.transposed(), q, Into::Add);
                gemm_to::<E, _, _, _>(dq, dscores, k, Into::Replace);
            }
        }
    }
    for (head, gradient) in [(heads + kv_head, &dk), (heads + kv_heads + kv_head, &dv)] {
        for (token, gradient) in gradient.chunks_exact(head_dim).enumerate() {
            let place = (start + token) * dqkv.row_stride + head * head_dim;
            // SAFETY: this key head's columns of a token of this task.
            let out = unsafe { std::slice::from_raw_parts_mut(dqkv.data.add(place), head_dim) };
            out.iter_mut().zip(gradient).for_each(|(out, gradient)| *out = E::from_f32(*gradient));
        }
    }
    [weights, dscores, dk, dv].into_iter().for_each(scratch::give);
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
