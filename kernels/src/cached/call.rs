//! The operands of one call of attention, and the tiles of queries that it is split into.

use super::block::{BLOCK_POSITIONS, CacheBlock, CacheShape};

/// The tokens of one sequence in a call.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Its first row among the rows of the call.
    pub first_row: usize,
    /// Its number of rows.
    pub rows: usize,
    /// The position of its first row. Row r attends to positions `0..=first_position + r`.
    pub first_position: usize,
    /// Its blocks, with at least `first_position + rows` positions.
    pub blocks: &'a [&'a CacheBlock],
}

/// The inputs of attention in one layer.
#[derive(Debug, Clone, Copy)]
pub struct Queries<'a> {
    /// Rows, one every `stride` numbers; each begins with its queries (H, D).
    pub rows: &'a [f32],
    /// Numbers from the start of a row to that of the next.
    pub stride: usize,
    /// The shape of the blocks.
    pub shape: &'a CacheShape,
    /// The layer whose keys and values are read.
    pub layer: usize,
    /// The sequences; each has some of the rows.
    pub spans: &'a [Span<'a>],
    /// Maximum number of positions that a row attends to, the newest ones; `usize::MAX` for all of them.
    pub window: usize,
}

/// What the tasks of a call share: its inputs, and the output, of which each task writes the heads of its own queries.
pub(super) struct Call<'a> {
    /// Rows of outputs (H, D), one every `stride` numbers.
    pub(super) out: *mut f32,
    pub(super) stride: usize,
    pub(super) queries: Queries<'a>,
}

// SAFETY: tasks write disjoint parts of `out`.
unsafe impl Sync for Call<'_> {}

impl Queries<'_> {
    /// Returns the number of query heads per key head.
    pub(super) fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }
}

/// Queries that share a key head, and their sequence. They are numbered through (token, query head of the group).
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) span: Span<'a>,
    pub(super) kv_head: usize,
    /// Number of the first query.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Tile<'_> {
    /// Returns the row and the head of the tile's query number `query`; `group` is the number of query heads per key
    /// head.
    pub(super) fn row_and_head(&self, query: usize, group: usize) -> (usize, usize) {
        let index = self.first + query;
        (self.span.first_row + index / group, self.kv_head * group + index % group)
    }

    /// Returns how many positions a query attends to.
    pub(super) fn visible(&self, query: usize, group: usize) -> usize {
        self.span.first_position + (self.first + query) / group + 1
    }

    /// Returns the first block that the tile's queries attend to.
    pub(super) fn first_block(&self, group: usize, window: usize) -> usize {
        self.visible(0, group).saturating_sub(window) / BLOCK_POSITIONS
    }

    /// Returns an identity that is the same for all blocks of one tile.
    pub(super) fn key(&self) -> (usize, usize, usize) {
        (self.span.first_row, self.kv_head, self.first)
    }
}
