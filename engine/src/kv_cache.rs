//! The keys and values of one sequence, in blocks of positions. Sequences with a common prefix share full blocks.

use kernels::{BLOCK_POSITIONS, CacheBlock, CacheShape};
use std::sync::Arc;

/// The key/value cache of one sequence.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    pub(crate) blocks: Vec<Arc<CacheBlock>>,
    /// Number of positions.
    pub(crate) length: usize,
}

impl KvCache {
    /// Returns an empty cache. Blocks are added as it grows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a cache that begins with full blocks of another sequence.
    pub(crate) fn with_prefix(blocks: Vec<Arc<CacheBlock>>) -> Self {
        Self { length: blocks.len() * BLOCK_POSITIONS, blocks }
    }

    /// Returns a cache of the first `length` positions that can grow on its own: full blocks are shared, the last one is
    /// copied.
    pub(crate) fn fork(&self, shape: &CacheShape, length: usize) -> Self {
        let (full, rest) = (length / BLOCK_POSITIONS, length % BLOCK_POSITIONS);
        let mut blocks = self.blocks[..full].to_vec();
        if rest > 0 {
            blocks.push(Arc::new(self.blocks[full].copy_of_first(shape, rest)));
        }
        Self { blocks, length }
    }

    /// Drops all positions from `length` on.
    pub(crate) fn truncate(&mut self, length: usize) {
        if length < self.length {
            self.length = length;
            self.blocks.truncate(length.div_ceil(BLOCK_POSITIONS));
        }
    }

    /// Returns how many new blocks `more` positions need.
    pub(crate) fn blocks_for(&self, more: usize) -> usize {
        (self.length + more).div_ceil(BLOCK_POSITIONS) - self.blocks.len()
    }

    /// Adds blocks for `more` positions.
    pub(crate) fn grow(&mut self, shape: &CacheShape, more: usize) {
        for _ in 0..self.blocks_for(more) {
            self.blocks.push(Arc::new(CacheBlock::new(shape)));
        }
    }

    /// Returns the index of the first block that new positions are written to, and the blocks from there on. They
    /// belong to this sequence alone: only full blocks are shared.
    pub(crate) fn open_blocks(&mut self) -> (usize, Vec<&mut CacheBlock>) {
        let first = self.length / BLOCK_POSITIONS;
        let open = self.blocks[first..].iter_mut();
        let exclusive = |block| Arc::get_mut(block).expect("a block that is not full has one owner");
        (first, open.map(exclusive).collect())
    }
}
