//! Keys and values of one sequence: blocks of positions, the full ones shared with whoever began alike.

use kernels::{BLOCK_POSITIONS, CacheBlock, CacheShape};
use std::sync::Arc;

/// The cache of one sequence.
#[derive(Debug, Clone, Default)]
pub struct KvCache {
    pub(crate) blocks: Vec<Arc<CacheBlock>>,
    pub(crate) length: usize,
}

impl KvCache {
    /// An empty cache; blocks come as it grows.
    pub fn new() -> Self {
        Self::default()
    }

    /// A cache whose first positions another sequence has computed: whole blocks.
    pub(crate) fn beginning_with(blocks: Vec<Arc<CacheBlock>>) -> Self {
        Self { length: blocks.len() * BLOCK_POSITIONS, blocks }
    }

    /// Positions held.
    pub fn positions(&self) -> usize {
        self.length
    }

    /// Blocks needed for so many positions more.
    pub(crate) fn blocks_for(&self, more: usize) -> usize {
        (self.length + more).div_ceil(BLOCK_POSITIONS) - self.blocks.len()
    }

    /// Makes room for so many positions more.
    pub(crate) fn grow(&mut self, shape: &CacheShape, more: usize) {
        for _ in 0..self.blocks_for(more) {
            self.blocks.push(Arc::new(CacheBlock::new(shape)));
        }
    }

    /// The blocks that positions from `length` on are written to, the first one's index before them. They
    /// are this sequence's own: only full blocks are shared, and those lie before.
    pub(crate) fn open_blocks(&mut self) -> (usize, Vec<&mut CacheBlock>) {
        let first = self.length / BLOCK_POSITIONS;
        let open = self.blocks[first..].iter_mut();
        (
            first,
            open.map(|block| Arc::get_mut(block).expect("a block that is not full has one owner")).collect(),
        )
    }
}
