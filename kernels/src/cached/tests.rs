//! Cached attention: near f64, and the same bits on every instruction set, in any chunk, split by block or by query.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::attend::attend_on;
use super::block::{BLOCK_POSITIONS, CacheBlock, CacheShape};
use super::call::{Queries, Span};
use crate::format::CacheFormat;
use crate::isa::{Isa, isa};
use crate::tests::{ISAS, assert_close, bits, cases, numbers};

/// The queries (T, H, D), keys and values of a sequence, and its blocks.
struct Case {
    shape: CacheShape,
    blocks: Vec<CacheBlock>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    window: usize,
}

const LAYER: usize = 1;

fn case(heads: usize, kv_heads: usize, head_dim: usize, positions: usize, format: CacheFormat) -> Case {
    let shape = CacheShape { layers: 2, heads, kv_heads, head_dim, format };
    let row = kv_heads * head_dim;
    let (keys, values) = (numbers(positions * row, 1), numbers(positions * row, 2));
    let mut blocks: Vec<CacheBlock> =
        (0..positions.div_ceil(BLOCK_POSITIONS)).map(|_| CacheBlock::new(&shape)).collect();
    for (position, (key, value)) in keys.chunks(row).zip(values.chunks(row)).enumerate() {
        let block = &mut blocks[position / BLOCK_POSITIONS];
        block.write(&shape, LAYER, position % BLOCK_POSITIONS, key, value);
    }
    // Large enough for softmax weights that differ.
    let queries = numbers(positions * heads * head_dim, 3).iter().map(|q| q * 8.0).collect();
    Case { shape, blocks, queries, keys, values, window: usize::MAX }
}

/// Returns the attention of `count` tokens from `first` on.
fn attention(isa: Isa, case: &Case, first: usize, count: usize) -> Vec<f32> {
    let row = case.shape.heads * case.shape.head_dim;
    let blocks: Vec<&CacheBlock> = case.blocks.iter().collect();
    let mut out = vec![f32::NAN; count * row];
    let span = Span { first_row: 0, rows: count, first_position: first, blocks: &blocks };
    let rows = &case.queries[first * row..(first + count) * row];
    let Case { shape, window, .. } = case;
    let queries = Queries { rows, stride: row, shape, layer: LAYER, spans: &[span], window: *window };
    attend_on(isa, &mut out, row, queries);
    out
}

fn expected(case: &Case, token: usize, head: usize) -> Vec<f64> {
    let CacheShape { heads, kv_heads, head_dim, .. } = case.shape;
    let at = |rows: &[f32], position: usize, d: usize| {
        f64::from(rows[(position * kv_heads + head / (heads / kv_heads)) * head_dim + d])
    };
    let query = |d: usize| f64::from(case.queries[(token * heads + head) * head_dim + d]);
    let score = |p: usize| (0..head_dim).map(|d| query(d) * at(&case.keys, p, d)).sum::<f64>();
    let is_seen = |p: usize| p + case.window.min(1 << 20) > token;
    let weight = |p: usize| if is_seen(p) { (score(p) / (head_dim as f64).sqrt()).exp() } else { 0.0 };
    let weights: Vec<f64> = (0..=token).map(weight).collect();
    let total: f64 = weights.iter().sum();
    let value = |d: usize| weights.iter().enumerate().map(|(p, w)| w * at(&case.values, p, d)).sum::<f64>();
    (0..head_dim).map(|d| value(d) / total).collect()
}

#[test]
fn attention_is_near_f64() {
    for (format, limit) in [(CacheFormat::F32, 1.0), (CacheFormat::F16, 60.0), (CacheFormat::Bf16, 500.0)] {
        let tokens = cases(&[0, 1, 63, 64, 65, 149], 5);
        let count = tokens[tokens.len() - 1] + 1;
        for &(heads, kv_heads, head_dim) in cases(&[(8, 4, 8), (9, 3, 64), (2, 2, 80), (14, 2, 16)], 1) {
            let case = case(heads, kv_heads, head_dim, count, format);
            for isa in ISAS {
                let out = attention(isa, &case, 0, count);
                for &token in tokens {
                    for head in 0..heads {
                        let values = &out[(token * heads + head) * head_dim..][..head_dim];
                        for (value, expected) in values.iter().zip(expected(&case, token, head)) {
                            assert_close(
                                *value,
                                expected,
                                limit,
                                &format!("{format:?} {isa:?} {token} {head}"),
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "an hour")]
fn a_window_hides_earlier_positions_in_any_chunk() {
    for window in [1, 5, 64, 70, 130] {
        let case = Case { window, ..case(6, 2, 24, 400, CacheFormat::F32) };
        let row = 6 * 24;
        let whole = attention(isa(), &case, 0, 400);
        for token in [0, 4, 5, 63, 64, 69, 70, 200, 399] {
            for head in [0, 5] {
                let values = &whole[(token * 6 + head) * 24..][..24];
                for (value, expected) in values.iter().zip(expected(&case, token, head)) {
                    assert_close(*value, expected, 1.0, &format!("window {window}, {token} {head}"));
                }
            }
        }
        for (first, count) in [(0, 1), (64, 64), (399, 1), (390, 3), (256, 100)] {
            for isa in ISAS {
                let part = attention(isa, &case, first, count);
                assert_eq!(
                    bits(&part),
                    bits(&whole[first * row..][..count * row]),
                    "{isa:?} {first}+{count}"
                );
            }
        }
    }
}

#[test]
fn chunks_and_instruction_sets_do_not_change_a_bit() {
    // One token at a late position is split by block, many tokens are split by query.
    let parts = [(0, 1), (5, 7), (258, 1), (64, 64), (399, 1), (390, 3), (256, 100)];
    let (heads, kv_heads, head_dim, positions) = if cfg!(miri) { (2, 1, 8, 260) } else { (9, 3, 64, 400) };
    let case = case(heads, kv_heads, head_dim, positions, CacheFormat::F16);
    let row = heads * head_dim;
    let whole = attention(isa(), &case, 0, positions);
    for isa in ISAS {
        assert_eq!(bits(&attention(isa, &case, 0, positions)), bits(&whole), "{isa:?}");
    }
    for &(first, count) in cases(&parts, 3) {
        for isa in ISAS {
            let part = attention(isa, &case, first, count);
            assert_eq!(bits(&part), bits(&whole[first * row..][..count * row]), "{isa:?} {first}+{count}");
        }
    }
}

#[test]
fn earlier_contents_of_a_block_do_not_show() {
    // A head size that is padded, and a last block that is not full.
    let (heads, positions) = if cfg!(miri) { (2, 70) } else { (6, 150) };
    let fresh = case(heads, 2, 24, positions, CacheFormat::F32);
    let expected = attention(Isa::Portable, &fresh, 0, positions);
    let shape = fresh.shape;
    drop(fresh);
    let mut dirty: Vec<CacheBlock> = (0..8).map(|_| CacheBlock::new(&shape)).collect();
    for block in &mut dirty {
        // All ones are a NaN.
        block.memory.bytes_mut().fill(0xff);
    }
    drop(dirty);
    let reused = case(heads, 2, 24, positions, CacheFormat::F32);
    for isa in ISAS {
        assert_eq!(bits(&attention(isa, &reused, 0, positions)), bits(&expected), "{isa:?}");
    }
}
