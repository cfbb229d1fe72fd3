//! How far apart the rows of the engine's buffers are.

/// Returns the stride of rows of `width` numbers: a multiple of 16, so that rows are whole vectors.
pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(16)
}
