//! The forward pass: scores, softmax and outputs of one block of queries after the other.

use super::call::{AttentionShape, PackedQkv, gather, scatter};
use crate::element::{Element, exp, maximum_of, sum_of, vectorized};
use crate::gemm::{Accumulate, Matrix, Target, gemm_to, scratch};
use rayon::prelude::*;

/// Computes out (T, H D) and log_sums (H, T) from qkv (T, (H + 2K) D). `starts` holds the first token of each sequence,
/// then T; a query attends to `window` positions, its own included (`usize::MAX` for all before it).
///
/// # Panics
/// If the lengths do not match.
pub fn attention_forward<E: Element>(
    out: &mut [E],
    log_sums: &mut [f32],
    qkv: &[E],
    shape: AttentionShape,
    starts: &[usize],
    window: usize,
) {
    let call = PackedQkv { qkv, shape, starts, window };
    call.check();
    let tokens = starts[starts.len() - 1];
    let row = shape.heads * shape.head_dim;
    assert!(
        out.len() == tokens * row && log_sums.len() == tokens * shape.heads,
        "attention: the length of out or log_sums does not match"
    );
    let out = Target { data: out.as_mut_ptr(), rows: tokens, columns: row, row_stride: row };
    let log_sums =
        Target { data: log_sums.as_mut_ptr(), rows: shape.heads, columns: tokens, row_stride: tokens };
    let tasks = (starts.len() - 1) * shape.kv_heads;
    (0..tasks).into_par_iter().for_each(|task| {
        // SAFETY: every task has its own sequence and key head, and the query heads that read it.
        unsafe { forward_group(&call, out, log_sums, task / shape.kv_heads, task % shape.kv_heads) };
    });
}

/// Computes the query heads of one key head in one sequence.
///
/// # Safety
/// Nothing else may access the columns of these heads in the rows of this sequence.
unsafe fn forward_group<E: Element>(
    call: &PackedQkv<'_, E>,
    out: Target<E>,
    log_sums: Target<f32>,
    sequence: usize,
    kv_head: usize,
) {
    let AttentionShape { heads, kv_heads, head_dim } = call.shape;
    let group = kv_head * call.group()..(kv_head + 1) * call.group();
    let start = call.starts[sequence];
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (mut q, mut scores, mut outputs) =
        (scratch::take::<E>(), scratch::take::<f32>(), scratch::take::<f32>());
    for (first, count) in call.blocks(sequence) {
        let first_key = call.first_key(start, first);
        let (keys, rows) = (first + count - first_key, group.len() * count);
        gather(&mut q, call.qkv, call.row(), (first, count), group.clone(), head_dim);
        scores.resize(rows * keys, 0.0);
        outputs.resize(rows * head_dim, 0.0);
        let k = call.head(heads + kv_head, first_key, keys);
        let v = call.head(heads + kv_heads + kv_head, first_key, keys);
        // SAFETY: only this task uses the buffers.
        unsafe {
            let target = Target::new(&mut scores, rows, keys);
            gemm_to::<E, _, _, _>(
                target,
                Matrix::new(&q, rows, head_dim),
                k.transposed(),
                Accumulate::Replace,
            );
        }
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let (head, query) = (group.start + row / count, first + row % count);
            let (visible, later) = scores.split_at_mut(query - first_key + 1);
            let (earlier, visible) = visible.split_at_mut(call.first_key(start, query) - first_key);
            earlier.fill(0.0);
            later.fill(0.0);
            let log_sum = softmax(visible, scale);
            // SAFETY: the row of this head in the log-sums, at a token of this task.
            unsafe { *log_sums.data.add(head * log_sums.row_stride + query) = log_sum };
        }
        // SAFETY: only this task uses the buffers and the columns of its heads.
        unsafe {
            let weights = Matrix::new(&scores, rows, keys);
            gemm_to::<E, _, _, _>(Target::new(&mut outputs, rows, head_dim), weights, v, Accumulate::Replace);
            scatter(out, &outputs, (first, count), group.clone(), head_dim);
        }
    }
    scratch::give(q);
    scratch::give(scores);
    scratch::give(outputs);
}

vectorized! {
    /// Turns the scores of one query into softmax weights; returns log Σ e^(scale score).
    fn softmax(scores: &mut [f32], scale: f32) -> f32 {
        let maximum = maximum_of(scores) * scale;
        for score in scores.iter_mut() {
            *score = exp(*score * scale - maximum);
        }
        let sum = sum_of(scores, scores, |weight, _| weight);
        let inverse = 1.0 / sum;
        for score in scores {
            *score *= inverse;
        }
        maximum + sum.ln()
    }
}
