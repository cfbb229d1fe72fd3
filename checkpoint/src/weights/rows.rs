//! Rows of a memory-mapped matrix, as f32 or as the blocks that the file holds.

use crate::adapter::LowRank;
use crate::gguf::{TensorType, stored_row};

/// A memory-mapped matrix (N, K).
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [u8],
    kind: TensorType,
    columns: usize,
    row_bytes: usize,
    /// Set if the file holds the two halves of each head's rows alternately; then it is the width of a head.
    interleaved_head: Option<usize>,
    /// What an adapter adds.
    change: Option<LowRank<'a>>,
}

impl<'a> Rows<'a> {
    /// Rows of `columns` numbers, which are whole blocks of `kind`.
    pub(crate) fn new(
        data: &'a [u8],
        kind: TensorType,
        columns: usize,
        interleaved_head: Option<usize>,
    ) -> Self {
        let row_bytes = columns / kind.block() * kind.block_bytes();
        Self { data, kind, columns, row_bytes, interleaved_head, change: None }
    }

    /// The same rows with an adapter's addition.
    pub(super) fn with_change(self, change: Option<LowRank<'a>>) -> Self {
        Self { change, ..self }
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.data.len() / self.row_bytes
    }

    /// One row (K) as f32; the conversion is exact, an adapter's addition is rounded to f32.
    ///
    /// # Panics
    /// When there is no such row or `out` is not K long.
    pub fn read(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.columns, "`out` must have the length of a row");
        self.kind.dequantize(self.blocks(row), out);
        if let Some(change) = &self.change {
            change.add_row(row, out);
        }
    }

    /// N, the number of rows.
    pub fn count(&self) -> usize {
        self.data.len() / self.row_bytes
    }

    /// K, the length of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How the file stores the numbers; f32 if an adapter changes them.
    pub fn kind(&self) -> TensorType {
        if self.change.is_some() { TensorType::F32 } else { self.kind }
    }

    /// The bytes of one row, which an adapter does not change.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn blocks(&self, row: usize) -> &'a [u8] {
        &self.data[stored_row(self.interleaved_head, row) * self.row_bytes..][..self.row_bytes]
    }
}
