//! Token embedding. The gradient is added token by token in order, so that it is the same in every run.

use crate::element::Element;

/// Copies rows of the table (V, C) to x (T, C), one per id (T).
///
/// # Panics
/// If an id is beyond the table or the lengths do not match.
pub fn embedding_forward<W: Element>(x: &mut [f32], table: &[W], ids: &[u32], channels: usize) {
    assert_eq!(x.len(), ids.len() * channels, "embedding: the length of x is not tokens x channels");
    for (x, id) in x.chunks_exact_mut(channels).zip(ids) {
        let row = &table[*id as usize * channels..][..channels];
        x.iter_mut().zip(row).for_each(|(x, value)| *x = value.to_f32());
    }
}

/// Adds dx (T, C) to the rows of dtable (V, C) that the ids (T) name.
///
/// # Panics
/// If an id is beyond the table or the lengths do not match.
pub fn embedding_backward(dtable: &mut [f32], dx: &[f32], ids: &[u32], channels: usize) {
    assert_eq!(dx.len(), ids.len() * channels, "embedding: the length of dx is not tokens x channels");
    for (dx, id) in dx.chunks_exact(channels).zip(ids) {
        let row = &mut dtable[*id as usize * channels..][..channels];
        row.iter_mut().zip(dx).for_each(|(row, dx)| *row += dx);
    }
}
