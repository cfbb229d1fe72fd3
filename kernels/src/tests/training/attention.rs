//! Attention over packed sequences.

use super::*;
use crate::training::{AttentionShape, attention_backward, attention_forward};
use candle_core::Result;
use half::bf16;
use std::ops::Range;

/// Few tokens, one token, one more than a block of queries, and two blocks.
const LENGTHS: [usize; 4] = [3, 1, 129, 200];

const fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim }
}

fn row(shape: AttentionShape) -> usize {
    (shape.heads + 2 * shape.kv_heads) * shape.head_dim
}

fn starts(lengths: &[usize]) -> Vec<usize> {
    let ends = lengths.iter().scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// Returns out (T, H D) and log_sums (H, T).
fn forward<E: Element>(qkv: &[E], shape: AttentionShape, lengths: &[usize]) -> (Vec<E>, Vec<f32>) {
    forward_in(usize::MAX, qkv, shape, lengths)
}

fn backward<E: Element>(dout: &[E], qkv: &[E], shape: AttentionShape, lengths: &[usize]) -> Vec<E> {
    backward_in(usize::MAX, dout, qkv, shape, lengths)
}

/// As `forward`, with a window.
fn forward_in<E: Element>(
    window: usize,
    qkv: &[E],
    shape: AttentionShape,
    lengths: &[usize],
) -> (Vec<E>, Vec<f32>) {
    let tokens = qkv.len() / row(shape);
    let mut out = vec![E::from_f32(f32::NAN); tokens * shape.heads * shape.head_dim];
    let mut log_sums = vec![f32::NAN; tokens * shape.heads];
    attention_forward(&mut out, &mut log_sums, qkv, shape, &starts(lengths), window);
    (out, log_sums)
}

fn backward_in<E: Element>(
    window: usize,
    dout: &[E],
    qkv: &[E],
    shape: AttentionShape,
    lengths: &[usize],
) -> Vec<E> {
    let (out, log_sums) = forward_in(window, qkv, shape, lengths);
    let mut dqkv = vec![E::from_f32(f32::NAN); qkv.len()];
    attention_backward(&mut dqkv, dout, &out, &log_sums, qkv, shape, &starts(lengths), window);
    dqkv
}

fn reference(
    window: usize,
    qkv: &Tensor,
    shape: AttentionShape,
    lengths: &[usize],
) -> Result<(Tensor, Tensor)> {
    let (mut outs, mut log_sums) = (Vec::new(), Vec::new());
    for (start, length) in starts(lengths).into_iter().zip(lengths).filter(|(_, length)| **length > 0) {
        let (out, log_sum) = one_sequence(window, &qkv.narrow(0, start, *length)?, shape)?;
        outs.push(out);
        log_sums.push(log_sum);
    }
    Ok((Tensor::cat(&outs, 0)?, Tensor::cat(&log_sums, 1)?))
}

fn one_sequence(window: usize, rows: &Tensor, shape: AttentionShape) -> Result<(Tensor, Tensor)> {
    let AttentionShape { heads, kv_heads, head_dim } = shape;
    let tokens = rows.dim(0)?;
    let by_head = rows.reshape((tokens, heads + 2 * kv_heads, head_dim))?.transpose(0, 1)?;
    let for_queries = |first: usize| {
        let heads_of_group = (kv_heads, heads / kv_heads, tokens, head_dim);
        let group = by_head.narrow(0, first, kv_heads)?.unsqueeze(1)?.broadcast_as(heads_of_group)?;
        group.reshape((heads, tokens, head_dim))
    };
    let q = by_head.narrow(0, 0, heads)?.contiguous()?;
    let (k, v) = (for_queries(heads)?, for_queries(heads + kv_heads)?);
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? / (head_dim as f64).sqrt())?;
    let mask = |index: usize| {
        let (query, key) = (index / tokens, index % tokens);
        if key <= query && query - key < window { 0.0 } else { f32::NEG_INFINITY }
    };
    let mask: Vec<f32> = (0..tokens * tokens).map(mask).collect();
    let scores = scores.broadcast_add(&constant(&mask, (tokens, tokens)))?;
    let maximum = scores.max_keepdim(2)?.detach();
    let weights = scores.broadcast_sub(&maximum)?.exp()?;
    let sums = weights.sum_keepdim(2)?;
    let out = weights.broadcast_div(&sums)?.matmul(&v)?;
    Ok((out.transpose(0, 1)?.reshape((tokens, heads * head_dim))?, (sums.log()? + maximum)?.squeeze(2)?))
}

fn columns<T: Copy>(values: &[T], row: usize, columns: &Range<usize>) -> Vec<T> {
    values.chunks(row).flat_map(|row| row[columns.clone()].to_vec()).collect()
}

fn check<E: Element>(shape: AttentionShape, lengths: &[usize]) {
    check_in::<E>(usize::MAX, shape, lengths);
}

fn check_in<E: Element>(window: usize, shape: AttentionShape, lengths: &[usize]) {
    let AttentionShape { heads, kv_heads, head_dim } = shape;
    let what = format!("attention {heads}/{kv_heads} of {head_dim}, {lengths:?}, window {window}");
    let (tokens, row) = (lengths.iter().sum::<usize>(), row(shape));
    let qkv: Vec<E> = elements(tokens * row, 1, 4.0);
    let dout: Vec<E> = elements(tokens * heads * head_dim, 2, 2.0);
    let qkv64 = variable(&qkv, (tokens, row));
    let (out64, log_sums64) = reference(window, &qkv64, shape, lengths).unwrap();
    let (out, log_sums) = forward_in(window, &qkv, shape, lengths);
    assert_near(&out, &flat(&out64), &what);
    assert_near(&log_sums, &flat(&log_sums64), &format!("{what} log_sums"));

    let dqkv = backward_in(window, &dout, &qkv, shape, lengths);
    let expected = gradient(&backpropagate(&out64, &dout), &qkv64);
    // Each part alone: the gradient of the values is the largest and would hide errors of the others.
    let (q, k) = (heads * head_dim, (heads + kv_heads) * head_dim);
    for (part, range) in [("dq", 0..q), ("dk", q..k), ("dv", k..row)] {
        let part = format!("{what} {part}");
        assert_near(&columns(&dqkv, row, &range), &columns(&expected, row, &range), &part);
    }
    if !E::BF16 {
        let (qkv, dqkv, dout) = (single(&qkv), single(&dqkv), single(&dout));
        assert_slopes(&dqkv, &qkv, &what, |qkv| loss(&forward_in(window, qkv, shape, lengths).0, &dout));
    }
}

#[test]
fn one_key_head() {
    check::<f32>(shape(3, 1, 8), &LENGTHS);
    check::<bf16>(shape(3, 1, 8), &LENGTHS);
}

#[test]
fn two_groups() {
    check::<f32>(shape(4, 2, 6), &LENGTHS);
    check::<bf16>(shape(4, 2, 6), &LENGTHS);
}

#[test]
fn one_key_head_per_query_head() {
    check::<f32>(shape(2, 2, 64), &LENGTHS);
    check::<bf16>(shape(2, 2, 64), &LENGTHS);
}

#[test]
fn an_odd_head_size() {
    check::<f32>(shape(2, 1, 5), &[7, 2]);
    check::<bf16>(shape(2, 1, 5), &[7, 2]);
}

#[test]
fn blocks_that_are_exactly_full() {
    check::<f32>(shape(3, 1, 8), &[128, 256, 127]);
}

#[test]
fn empty_sequences_are_skipped() {
    check::<f32>(shape(2, 1, 6), &[0, 3, 0, 0, 2, 0]);
}

#[test]
fn sequences_do_not_attend_to_each_other() {
    packed_sequences_equal_single_ones::<f32>();
    packed_sequences_equal_single_ones::<bf16>();
}

/// Asserts that every sequence of a packed call equals a call with it alone, bit for bit.
fn packed_sequences_equal_single_ones<E: Element>() {
    let shape = shape(4, 2, 6);
    let (row, width) = (row(shape), shape.heads * shape.head_dim);
    let tokens: usize = LENGTHS.iter().sum();
    let (qkv, dout) = (elements::<E>(tokens * row, 3, 4.0), elements::<E>(tokens * width, 4, 2.0));
    let (out, log_sums) = forward(&qkv, shape, &LENGTHS);
    let dqkv = backward(&dout, &qkv, shape, &LENGTHS);
    for (start, length) in starts(&LENGTHS).into_iter().zip(LENGTHS) {
        let part = |values: &[E], row: usize| values[start * row..][..length * row].to_vec();
        let (qkv, dout) = (part(&qkv, row), part(&dout, width));
        let (single_out, single_sums) = forward(&qkv, shape, &[length]);
        assert_eq!(bits(&single(&single_out)), bits(&single(&part(&out, width))), "out of {length}");
        let sums = columns(&log_sums, tokens, &(start..start + length));
        assert_eq!(bits(&single_sums), bits(&sums), "log_sums of {length}");
        let single_dqkv = backward(&dout, &qkv, shape, &[length]);
        assert_eq!(bits(&single(&single_dqkv)), bits(&single(&part(&dqkv, row))), "dqkv of {length}");
    }
}

#[test]
fn a_token_does_not_attend_to_later_ones() {
    let (shape, tokens, last) = (shape(3, 1, 8), 150, 140);
    let qkv: Vec<f32> = elements(tokens * row(shape), 5, 4.0);
    let mut changed = qkv.clone();
    changed[last * row(shape)..].fill(9.0);
    let before = last * shape.heads * shape.head_dim;
    let (out, _) = forward(&qkv, shape, &[tokens]);
    let (changed, _) = forward(&changed, shape, &[tokens]);
    assert_eq!(bits(&out[..before]), bits(&changed[..before]));
}

#[test]
fn threads_do_not_change_a_bit() {
    let shape = shape(4, 2, 6);
    let tokens: usize = LENGTHS.iter().sum();
    let qkv: Vec<f32> = elements(tokens * row(shape), 6, 4.0);
    let dout: Vec<f32> = elements(tokens * shape.heads * shape.head_dim, 7, 2.0);
    assert_threads_agree(|| {
        let (out, log_sums) = forward(&qkv, shape, &LENGTHS);
        [out, log_sums, backward(&dout, &qkv, shape, &LENGTHS)].concat()
    });
}

/// One position, fewer than a block of queries, as many, more, and more than a sequence has.
#[test]
fn windows() {
    // A window of 1 has one weight, 1, and no gradient of the queries.
    for window in [2, 5, 64, 128, 150, 500] {
        check_in::<f32>(window, shape(3, 1, 8), &LENGTHS);
        check_in::<bf16>(window, shape(4, 2, 6), &LENGTHS);
    }
}

#[test]
fn a_window_as_wide_as_the_sequences_changes_no_bit() {
    let (shape, tokens) = (shape(4, 2, 6), LENGTHS.iter().sum::<usize>());
    let qkv: Vec<f32> = elements(tokens * row(shape), 8, 4.0);
    let dout: Vec<f32> = elements(tokens * shape.heads * shape.head_dim, 9, 2.0);
    let all = |window: usize| {
        let (out, log_sums) = forward_in(window, &qkv, shape, &LENGTHS);
        bits(&[out, log_sums, backward_in(window, &dout, &qkv, shape, &LENGTHS)].concat())
    };
    assert_eq!(all(200), all(usize::MAX));
}

/// In bf16 the forward pass computes with numbers that are rounded only when they are kept. Where scores are hundreds, those of
/// the rounded ones differ by nats; the gradient is that of the rounded ones all the same.
#[test]
fn the_gradient_is_that_of_what_was_kept() {
    let (shape, tokens) = (shape(2, 1, 8), 40);
    let row = row(shape);
    let mut qkv: Vec<f32> = elements(tokens * row, 10, 4.0);
    for row in qkv.chunks_mut(row) {
        // One number of each query and key.
        [0, 8, 16].iter().for_each(|column| row[*column] += 31.3);
    }
    let dout: Vec<bf16> = elements(tokens * shape.heads * shape.head_dim, 11, 2.0);
    let mut out = vec![bf16::NAN; dout.len()];
    let mut log_sums = vec![f32::NAN; tokens * shape.heads];
    attention_forward(&mut out, &mut log_sums, &qkv, shape, &[0, tokens], usize::MAX);
    let kept: Vec<bf16> = qkv.iter().map(|value| bf16::from_f32(*value)).collect();
    let mut found = vec![bf16::NAN; kept.len()];
    attention_backward(&mut found, &dout, &out, &log_sums, &kept, shape, &[0, tokens], usize::MAX);
    let kept64 = variable(&kept, (tokens, row));
    let (out64, log_sums64) = reference(usize::MAX, &kept64, shape, &[tokens]).unwrap();
    let of_kept = flat(&log_sums64);
    let off =
        log_sums.iter().zip(of_kept).map(|(one, other)| (f64::from(*one) - other).abs()).fold(0.0, f64::max);
    assert!(off > 0.3, "the case is too easy: {off}");
    assert_near(&found, &gradient(&backpropagate(&out64, &dout), &kept64), "dqkv of what was kept");
}
