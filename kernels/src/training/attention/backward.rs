//! The backward pass: the scores of one block of queries after the other, computed again, and the gradients.

use super::call::{AttentionShape, PackedQkv, gather, scatter};
use crate::element::{Element, exp, maximum_of, sum_of, vectorized};
use crate::gemm::{Accumulate, Matrix, Target, gemm_to, scratch};
use rayon::prelude::*;
use std::ops::Range;

/// Computes dqkv (T, (H + 2K) D) from dout (T, H D) and the inputs and outputs of [`attention_forward`].
///
/// # Panics
/// If the lengths do not match.
///
/// [`attention_forward`]: super::attention_forward
#[allow(clippy::too_many_arguments, reason = "a kernel's operands are its arguments")]
pub fn attention_backward<E: Element>(
    dqkv: &mut [E],
    dout: &[E],
    out: &[E],
    log_sums: &[f32],
    qkv: &[E],
    shape: AttentionShape,
    starts: &[usize],
    window: usize,
) {
    let call = PackedQkv { qkv, shape, starts, window };
    call.check();
    assert_eq!(dqkv.len(), qkv.len(), "attention_backward: dqkv and qkv must have the same length");
    assert!(
        out.len() == dout.len() && log_sums.len() * shape.head_dim == out.len(),
        "attention_backward: the length of out, dout or log_sums does not match"
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
        // SAFETY: every task has its own sequence and key head, and the query heads that read it.
        unsafe { backward_group(&call, &saved, dqkv, task / shape.kv_heads, task % shape.kv_heads) };
    });
}

/// The results of the forward pass, and the gradient of its output.
struct Saved<'a, E> {
    dout: &'a [E],
    out: &'a [E],
    log_sums: &'a [f32],
}

/// Computes the gradients of one key head, its value head and their query heads in one sequence.
///
/// # Safety
/// Nothing else may access the columns of these heads in the rows of this sequence.
unsafe fn backward_group<E: Element>(
    call: &PackedQkv<'_, E>,
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
        let first_key = call.first_key(start, first);
        let (keys, rows) = (first + count - first_key, group.len() * count);
        let [q, out, dout] = &mut block;
        gather(q, call.qkv, call.row(), (first, count), group.clone(), head_dim);
        gather(out, saved.out, heads * head_dim, (first, count), group.clone(), head_dim);
        gather(dout, saved.dout, heads * head_dim, (first, count), group.clone(), head_dim);
        let k = call.head(heads + kv_head, first_key, keys);
        let v = call.head(heads + kv_heads + kv_head, first_key, keys);
        weights.resize(rows * keys, 0.0);
        dscores.resize(rows * keys, 0.0);
        dq.resize(rows * head_dim, 0.0);
        let (q, d) = (Matrix::new(q, rows, head_dim), Matrix::new(dout, rows, head_dim));
        // SAFETY: only this task uses the buffers.
        unsafe {
            gemm_to::<E, _, _, _>(
                Target::new(&mut weights, rows, keys),
                q,
                k.transposed(),
                Accumulate::Replace,
            );
            gemm_to::<E, _, _, _>(
                Target::new(&mut dscores, rows, keys),
                d,
                v.transposed(),
                Accumulate::Replace,
            );
        }
        let lines = weights.chunks_exact_mut(keys).zip(dscores.chunks_exact_mut(keys));
        let outs = out.chunks_exact(head_dim).zip(dout.chunks_exact(head_dim));
        for (row, ((weights, dscores), (out, dout))) in lines.zip(outs).enumerate() {
            let (head, query) = (group.start + row / count, first + row % count);
            let log_sum = saved.log_sums[head * tokens + query];
            let visible = call.first_key(start, query) - first_key..query - first_key + 1;
            score_gradient(weights, dscores, visible, dout, out, log_sum);
        }
        let (weights, dscores) = (Matrix::new(&weights, rows, keys), Matrix::new(&dscores, rows, keys));
        let of_keys = (first_key - start) * head_dim..(first_key - start + keys) * head_dim;
        let target = |gradient: &mut [f32]| Target::new(&mut gradient[of_keys.clone()], keys, head_dim);
        // SAFETY: only this task uses the buffers and the columns of its heads.
        unsafe {
            gemm_to::<E, _, _, _>(target(&mut dv), weights.transposed(), d, Accumulate::Add);
            gemm_to::<E, _, _, _>(target(&mut dk), dscores.transposed(), q, Accumulate::Add);
            gemm_to::<E, _, _, _>(Target::new(&mut dq, rows, head_dim), dscores, k, Accumulate::Replace);
            scatter(dqkv, &dq, (first, count), group.clone(), head_dim);
        }
    }
    for (head, gradient) in [(heads + kv_head, &dk), (heads + kv_heads + kv_head, &dv)] {
        // SAFETY: the columns of this key or value head, which only this task uses.
        unsafe { scatter(dqkv, gradient, (start, end - start), head..head + 1, head_dim) };
    }
    block.into_iter().for_each(scratch::give);
    [weights, dscores, dq, dk, dv].into_iter().for_each(scratch::give);
}

vectorized! {
    /// For one query: turns its scores (in `weights`) into softmax weights, and the gradient of the weights (in
    /// `dscores`) into that of the scores. The query attends to the `visible` positions.
    ///
    /// In bf16 the forward pass had queries and keys that were not rounded yet: their sum and output are not those of
    /// these scores, and both are computed again. A score of hundreds is off by nats otherwise.
    fn score_gradient<E>(
        weights: &mut [f32],
        dscores: &mut [f32],
        visible: Range<usize>,
        dout: &[E],
        out: &[E],
        log_sum: f32,
    ) {
        let scale = 1.0 / (dout.len() as f32).sqrt();
        let log_sum = if E::BF16 { log_sum_of(&weights[visible.clone()], scale) } else { log_sum };
        for weight in &mut weights[visible.clone()] {
            *weight = exp(*weight * scale - log_sum);
        }
        let dot = if E::BF16 {
            sum_of(&weights[visible.clone()], &dscores[visible.clone()], |weight, slope| weight * slope)
        } else {
            sum_of(dout, out, |dout, out| dout * out)
        };
        for (weight, dscore) in weights[visible.clone()].iter().zip(&mut dscores[visible.clone()]) {
            *dscore = *weight * (*dscore - dot) * scale;
        }
        for values in [weights, dscores] {
            values[..visible.start].fill(0.0);
            values[visible.end..].fill(0.0);
        }
    }
}

/// log Σ e^(scale score).
#[inline(always)]
fn log_sum_of(scores: &[f32], scale: f32) -> f32 {
    let largest = maximum_of(scores) * scale;
    largest + sum_of(scores, scores, |score, _| exp(score * scale - largest)).ln()
}
