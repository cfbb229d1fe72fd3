//! Token embedding; the gradient is added token by token in order, so that it is the same on every run.

/// x (T, C) = rows of table (V, C).
///
/// # Panics
/// If an id is beyond the table or the lengths do not fit.
pub fn embedding_forward(x: &mut [f32], table: &[f32], ids: &[u32], channels: usize) {
    assert_eq!(x.len(), ids.len() * channels, "embedding: x must be tokens x channels");
    for (x, id) in x.chunks_exact_mut(channels).zip(ids) {
        x.copy_from_slice(&table[*id as usize * channels..][..channels]);
    }
}

/// dtable (V, C) += dx (T, C) at the rows of the ids.
///
/// # Panics
/// If an id is beyond the table or the lengths do not fit.
pub fn embedding_backward(dtable: &mut [f32], dx: &[f32], ids: &[u32], channels: usize) {
    assert_eq!(dx.len(), ids.len() * channels, "embedding: dx must be tokens x channels");
    for (dx, id) in dx.chunks_exact(channels).zip(ids) {
        let row = &mut dtable[*id as usize * channels..][..channels];
        row.iter_mut().zip(dx).for_each(|(row, dx)| *row += dx);
    }
}
