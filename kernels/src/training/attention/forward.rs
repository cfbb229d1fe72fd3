//! The forward pass: the engine's attention over cached blocks, so that a token's output has the bits that serving
//! computes, with the logarithms of the softmax denominators, which the backward pass needs.

use super::call::{AttentionShape, PackedQkv};
use crate::cached::{Attended, BLOCK_POSITIONS, CacheBlock, CacheShape, Queries, Span, attend_head};
use crate::element::Element;
use crate::format::CacheFormat;
use crate::gemm::{Target, scratch};
use rayon::prelude::*;

/// Computes out (T, H D) and log_sums (H, T) from qkv (T, (H + 2K) D). `starts` holds the first token of each sequence,
/// then T; a query attends to `window` positions, its own included (`usize::MAX` for all before it).
///
/// Scores, weights and sums are f32. Keys and values are rounded as `smolserve` stores them by default: not at all where
/// the output is f32, to f16 where it is bf16.
///
/// # Panics
/// If the lengths do not match.
pub fn attention_forward<E: Element, Q: Element>(
    out: &mut [E],
    log_sums: &mut [f32],
    qkv: &[Q],
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
    let mut wide = scratch::take::<f32>();
    let qkv = match Q::as_f32(qkv) {
        Some(qkv) => qkv,
        None => {
            wide.clear();
            wide.extend(qkv.iter().map(|value| value.to_f32()));
            wide.as_slice()
        }
    };
    let call = PackedQkv { qkv, shape, starts, window };
    let results = Results {
        out: Target { data: out.as_mut_ptr(), rows: tokens, columns: row, row_stride: row },
        log_sums: Target {
            data: log_sums.as_mut_ptr(),
            rows: shape.heads,
            columns: tokens,
            row_stride: tokens,
        },
    };
    let tasks = (starts.len() - 1) * shape.kv_heads;
    (0..tasks).into_par_iter().for_each(|task| {
        // SAFETY: every task has its own sequence and key head, and the query heads that read it.
        unsafe { forward_group(&call, results, task / shape.kv_heads, task % shape.kv_heads) };
    });
    scratch::give(wide);
}

/// Where the results go.
#[derive(Clone, Copy)]
struct Results<E> {
    out: Target<E>,
    log_sums: Target<f32>,
}

/// Computes the query heads of one key head in one sequence.
///
/// # Safety
/// Nothing else may access the columns of these heads in the rows of this sequence.
unsafe fn forward_group<E: Element>(
    call: &PackedQkv<'_, f32>,
    results: Results<E>,
    sequence: usize,
    kv_head: usize,
) {
    let AttentionShape { heads, kv_heads, head_dim } = call.shape;
    let (start, end) = (call.starts[sequence], call.starts[sequence + 1]);
    if start == end {
        return;
    }
    let format = if E::BF16 { CacheFormat::F16 } else { CacheFormat::F32 };
    let shape = CacheShape { layers: 1, heads: call.group(), kv_heads: 1, head_dim, format };
    let mut blocks = scratch::take::<CacheBlock>();
    blocks.retain(|block| block.is_of(&shape));
    let count = (end - start).div_ceil(BLOCK_POSITIONS);
    blocks.extend((blocks.len()..count).map(|_| CacheBlock::new(&shape)));
    for (index, row) in call.qkv[start * call.row()..end * call.row()].chunks_exact(call.row()).enumerate() {
        let head = |head: usize| &row[head * head_dim..][..head_dim];
        let (key, value) = (head(heads + kv_head), head(heads + kv_heads + kv_head));
        blocks[index / BLOCK_POSITIONS].write(&shape, 0, index % BLOCK_POSITIONS, key, value);
    }
    let stored: Vec<&CacheBlock> = blocks[..count].iter().collect();
    let first_head = kv_head * call.group();
    let queries = Queries {
        rows: &call.qkv[start * call.row() + first_head * head_dim..],
        stride: call.row(),
        shape: &shape,
        layer: 0,
        spans: &[],
        window: call.window,
    };
    let span = Span { first_row: 0, rows: end - start, first_position: 0, blocks: &stored };
    attend_head(queries, span, 0, &|attended| {
        let Attended { row, head, values, total, largest } = attended;
        let (token, head) = (start + row, first_head + head);
        let Results { out, log_sums } = results;
        // SAFETY: the row of this sequence and the columns of this head exist, and only this task accesses them.
        let out = unsafe {
            std::slice::from_raw_parts_mut(out.data.add(token * out.row_stride + head * head_dim), head_dim)
        };
        out.iter_mut().zip(values).for_each(|(out, value)| *out = E::from_f32(value / total));
        // SAFETY: as above, of the logarithms.
        unsafe { *log_sums.data.add(head * log_sums.row_stride + token) = largest + total.ln() };
    });
    drop(stored);
    scratch::give(blocks);
}
