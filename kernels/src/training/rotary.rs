//! Rotary position embedding, in place, on packed queries and keys. Its gradient is the rotation by the opposite angle.

use super::rows::ROWS;
use crate::element::{Element, vectorized};
use crate::rope::RopeTable;
use rayon::prelude::*;

/// The direction of the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// By the angle of the position: the forward pass.
    Forward,
    /// By the opposite angle: the gradient.
    Backward,
}

/// Rotates the first `heads` heads of every row of x (T, row); D is that of the table, and token t has position
/// `positions[t]` in its sequence.
///
/// # Panics
/// If the lengths do not match, a row is shorter than its heads, or a position is beyond the table.
pub fn rotate<E: Element>(
    x: &mut [E],
    row: usize,
    heads: usize,
    positions: &[u32],
    table: &RopeTable,
    direction: Direction,
) {
    assert_eq!(x.len(), row * positions.len(), "rotate: the length of x is not tokens x row");
    assert!(heads * 2 * table.half <= row, "rotate: {heads} heads do not fit in a row of {row} numbers");
    let last = positions.iter().max().map_or(0, |last| *last as usize + 1);
    assert!(last <= table.positions(), "rotate: {last} positions, the table has {}", table.positions());
    let sign = if direction == Direction::Forward { 1.0 } else { -1.0 };
    x.par_chunks_mut(ROWS * row).zip(positions.par_chunks(ROWS)).for_each(|(x, positions)| {
        rotate_rows(x, row, heads, positions, table, sign);
    });
}

vectorized! {
    fn rotate_rows<E>(x: &mut [E], row: usize, heads: usize, positions: &[u32], table: &RopeTable, sign: f32) {
        let half = table.half;
        for (x, position) in x.chunks_exact_mut(row).zip(positions) {
            let angles = *position as usize * half..(*position as usize + 1) * half;
            let (cos, sin) = (&table.cos[angles.clone()], &table.sin[angles]);
            for head in x[..heads * 2 * half].chunks_exact_mut(2 * half) {
                let (first, second) = head.split_at_mut(half);
                for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    let (a, b, sin) = (first.to_f32(), second.to_f32(), sin * sign);
                    *first = E::from_f32(a * cos - b * sin);
                    *second = E::from_f32(b * cos + a * sin);
                }
            }
        }
    }
}
