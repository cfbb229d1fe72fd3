//! Rotary positions, given the angles of a table. The tests of `rope` check the angles.

use super::*;
use crate::rope::RopeTable;
use crate::training::{Direction, rotate};
use candle_core::Result;
use half::bf16;

/// The contents of a row: heads that are rotated, then columns that are not.
#[derive(Clone, Copy)]
struct Layout {
    heads: usize,
    head_dim: usize,
    row: usize,
}

/// Positions of two sequences and a part of a third.
fn positions(tokens: usize) -> Vec<u32> {
    (0..9).chain(0..1).chain(0..).take(tokens).collect()
}

fn rotate_copy<E: Element>(x: &[E], layout: Layout, direction: Direction) -> Vec<E> {
    let Layout { heads, head_dim, row } = layout;
    let mut x = x.to_vec();
    let positions = positions(x.len() / row);
    let table = RopeTable::new(128, head_dim, 10_000.0);
    rotate(&mut x, row, heads, &positions, &table, direction);
    x
}

fn reference(x: &Tensor, layout: Layout) -> Result<Tensor> {
    let Layout { heads, head_dim, row } = layout;
    let (tokens, half) = (x.dim(0)?, head_dim / 2);
    let table = RopeTable::new(128, head_dim, 10_000.0);
    let rows_of_tokens = |table: &[f32]| -> Tensor {
        let rows = positions(tokens).into_iter().flat_map(|p| table[p as usize * half..][..half].to_vec());
        constant(&rows.collect::<Vec<_>>(), (tokens, 1, half))
    };
    let (cos, sin) = (rows_of_tokens(&table.cos), rows_of_tokens(&table.sin));
    let queries = x.narrow(1, 0, heads * head_dim)?.reshape((tokens, heads, head_dim))?;
    let (a, b) = (queries.narrow(2, 0, half)?, queries.narrow(2, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let rotated = Tensor::cat(&[first, second], 2)?.reshape((tokens, heads * head_dim))?;
    if row == heads * head_dim {
        return Ok(rotated);
    }
    Tensor::cat(&[rotated, x.narrow(1, heads * head_dim, row - heads * head_dim)?], 1)
}

fn check<E: Element>(tokens: usize, layout: Layout) {
    let what = format!("rotate T={tokens} H={} D={}", layout.heads, layout.head_dim);
    let x: Vec<E> = elements(tokens * layout.row, 1, 2.0);
    let dy: Vec<E> = elements(tokens * layout.row, 2, 2.0);
    let x64 = variable(&x, (tokens, layout.row));
    let y64 = reference(&x64, layout).unwrap();
    let y = rotate_copy(&x, layout, Direction::Forward);
    assert_near(&y, &flat(&y64), &what);
    let width = layout.heads * layout.head_dim;
    for (y, x) in y.chunks(layout.row).zip(x.chunks(layout.row)) {
        assert_eq!(bits(&single(&y[width..])), bits(&single(&x[width..])), "{what}: beyond the heads");
    }

    let dx = rotate_copy(&dy, layout, Direction::Backward);
    assert_near(&dx, &gradient(&backpropagate(&y64, &dy), &x64), &format!("{what} dx"));
    if !E::BF16 {
        let (x, dx, dy) = (single(&x), single(&dx), single(&dy));
        assert_slopes(&dx, &x, &what, |x| loss(&rotate_copy(x, layout, Direction::Forward), &dy));
    }
}

#[test]
fn one_pair() {
    check::<f32>(12, Layout { heads: 1, head_dim: 2, row: 2 });
    check::<bf16>(12, Layout { heads: 1, head_dim: 2, row: 2 });
}

#[test]
fn queries_and_keys_are_rotated_and_values_are_not() {
    check::<f32>(37, Layout { heads: 3 + 1, head_dim: 6, row: (3 + 2) * 6 });
    check::<bf16>(37, Layout { heads: 3 + 1, head_dim: 6, row: (3 + 2) * 6 });
}

#[test]
fn a_row_of_odd_length() {
    check::<f32>(1, Layout { heads: 2, head_dim: 10, row: 23 });
    check::<bf16>(65, Layout { heads: 2, head_dim: 10, row: 23 });
}

#[test]
fn the_heads_of_a_model() {
    check::<f32>(97, Layout { heads: 9 + 3, head_dim: 64, row: (9 + 6) * 64 });
    check::<bf16>(97, Layout { heads: 9 + 3, head_dim: 64, row: (9 + 6) * 64 });
}

#[test]
fn threads_do_not_change_a_bit() {
    let layout = Layout { heads: 2, head_dim: 8, row: 24 };
    let x: Vec<f32> = elements(101 * layout.row, 3, 2.0);
    assert_threads_agree(|| rotate_copy(&x, layout, Direction::Forward));
}

#[test]
#[should_panic(expected = "rotate: 129 positions, the table has 128")]
fn a_position_beyond_the_table_is_named() {
    let table = RopeTable::new(128, 2, 10_000.0);
    rotate(&mut [0.0f32; 2], 2, 1, &[128], &table, Direction::Forward);
}
