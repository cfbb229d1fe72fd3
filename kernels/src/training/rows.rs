//! How operations on independent rows are split among threads.

/// Rows that a thread takes at a time.
pub(super) const ROWS: usize = 32;
