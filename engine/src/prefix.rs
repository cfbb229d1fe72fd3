//! Blocks of finished prompts and answers, kept for prompts that begin alike.
//!
//! Keys and values of a position follow from the ids up to it alone, to the bit (see the `kernels` room), so
//! a prompt that begins as an earlier one did goes on from that one's blocks and gets the same answer.

use kernels::{BLOCK_POSITIONS, CacheBlock};
use std::collections::HashMap;
use std::sync::Arc;

/// A tree of blocks; the path from the root spells the ids.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    nodes: HashMap<Key, Node>,
    /// The number of the newest node; the root is 0.
    newest: u64,
    /// Counts uses, for eviction.
    clock: u64,
}

/// The block before, and the 64 ids of this one.
type Key = (u64, Box<[u32]>);

#[derive(Debug)]
struct Node {
    number: u64,
    block: Arc<CacheBlock>,
    used: u64,
    children: usize,
}

impl Prefixes {
    /// The blocks of the longest known beginning of `prompt`, which stay for as long as they are held. At
    /// least one id of the prompt is left to run.
    pub(crate) fn find(&mut self, prompt: &[u32]) -> Vec<Arc<CacheBlock>> {
        self.clock += 1;
        let mut found = Vec::new();
        let mut parent = 0;
        for ids in prompt[..prompt.len().saturating_sub(1)].chunks_exact(BLOCK_POSITIONS) {
            let Some(node) = self.nodes.get_mut(&(parent, ids.into())) else { break };
            node.used = self.clock;
            parent = node.number;
            found.push(Arc::clone(&node.block));
        }
        found
    }

    /// Keeps the full blocks of a sequence whose first ids are `ids`.
    pub(crate) fn keep(&mut self, ids: &[u32], blocks: &[Arc<CacheBlock>]) {
        self.clock += 1;
        let mut parent: Option<Key> = None;
        for (ids, block) in ids.chunks_exact(BLOCK_POSITIONS).zip(blocks) {
            let before = parent.as_ref().and_then(|key| self.nodes.get(key)).map_or(0, |node| node.number);
            let key: Key = (before, ids.into());
            if let Some(node) = self.nodes.get_mut(&key) {
                node.used = self.clock;
            } else {
                self.newest += 1;
                let node =
                    Node { number: self.newest, block: Arc::clone(block), used: self.clock, children: 0 };
                self.nodes.insert(key.clone(), node);
                if let Some(parent) = parent.as_ref().and_then(|key| self.nodes.get_mut(key)) {
                    parent.children += 1;
                }
            }
            parent = Some(key);
        }
    }

    /// Lets idle blocks go until at most so many are kept, those used longest ago first.
    pub(crate) fn shrink(&mut self, most: usize) {
        if self.nodes.len() <= most {
            return;
        }
        for _ in most..self.idle_blocks() {
            if !self.evict() {
                return;
            }
        }
    }

    /// Lets go of the block that was used longest ago, of those that no sequence holds; false when all are
    /// held.
    fn evict(&mut self) -> bool {
        let free =
            self.nodes.iter().filter(|(_, node)| node.children == 0 && Arc::strong_count(&node.block) == 1);
        let Some(key) = free.min_by_key(|(_, node)| node.used).map(|(key, _)| key.clone()) else {
            return false;
        };
        self.nodes.remove(&key);
        if let Some(parent) = self.nodes.values_mut().find(|node| node.number == key.0) {
            parent.children -= 1;
        }
        true
    }

    /// Blocks that nobody else holds.
    pub(crate) fn idle_blocks(&self) -> usize {
        self.nodes.values().filter(|node| Arc::strong_count(&node.block) == 1).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::{CacheFormat, CacheShape};

    fn blocks(count: usize) -> Vec<Arc<CacheBlock>> {
        let shape = CacheShape { layers: 1, heads: 1, kv_heads: 1, head_dim: 16, format: CacheFormat::F16 };
        (0..count).map(|_| Arc::new(CacheBlock::new(&shape))).collect()
    }

    #[test]
    fn a_prompt_finds_the_blocks_it_shares_and_leaves_one_id_to_run() {
        let ids: Vec<u32> = (0..200).collect();
        let mut prefixes = Prefixes::default();
        prefixes.keep(&ids, &blocks(3));
        assert_eq!(prefixes.find(&ids).len(), 3);
        assert_eq!(prefixes.find(&ids[..192]).len(), 2, "the 192nd id must be run");
        assert_eq!(prefixes.find(&ids[..193]).len(), 3);
        let mut other = ids.clone();
        other[70] = 9999;
        assert_eq!(prefixes.find(&other).len(), 1);
        // The same block of ids after another beginning is another block.
        assert_eq!(prefixes.find(&ids[64..]).len(), 0);
    }

    #[test]
    fn the_oldest_leaf_goes_first_and_what_is_held_stays() {
        let (first, second): (Vec<u32>, Vec<u32>) = ((0..128).collect(), (1000..1064).collect());
        let mut prefixes = Prefixes::default();
        prefixes.keep(&first, &blocks(2));
        prefixes.keep(&second, &blocks(1));
        let held = prefixes.find(&[first.clone(), vec![1]].concat());
        assert_eq!(prefixes.idle_blocks(), 1);
        assert!(prefixes.evict());
        assert!(prefixes.find(&[second, vec![1]].concat()).is_empty());
        assert!(!prefixes.evict(), "the others are held");
        drop(held);
        assert!(prefixes.evict());
        assert_eq!(prefixes.find(&[first, vec![1]].concat()).len(), 1, "the leaf went, its parent stays");
        assert!(prefixes.evict() && !prefixes.evict());
    }
}
