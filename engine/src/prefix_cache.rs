//! The prefix cache: blocks of finished prompts and answers, kept for prompts with the same prefix.
//!
//! Keys and values of a position depend only on the ids up to it, to the bit (see the `kernels` crate). So a prompt can
//! reuse the blocks of an earlier one with the same prefix and gets the same answer.

use kernels::{BLOCK_POSITIONS, CacheBlock};
use std::collections::HashMap;
use std::sync::Arc;

/// A tree of blocks. The path from the root to a node holds the ids of a prefix.
#[derive(Debug, Default)]
pub(crate) struct PrefixCache {
    nodes: HashMap<Key, Node>,
    /// The number of the newest node.
    newest: u64,
    /// Incremented at each use, for eviction.
    clock: u64,
}

/// The parent, and the 64 ids of the block.
type Key = (Parent, Box<[u32]>);

/// Who shares blocks: keys and values depend on the adapter, and clients do not learn what others sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// The number of the adapter.
    pub(crate) adapter: Option<usize>,
    /// [`Request::prefix_scope`](crate::Request::prefix_scope).
    pub(crate) client: u64,
}

/// What comes before a block: nothing, in a scope, or the node of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Parent {
    Root(Scope),
    Node(u64),
}

#[derive(Debug)]
struct Node {
    number: u64,
    block: Arc<CacheBlock>,
    /// The clock at the last use.
    used: u64,
    children: usize,
}

impl PrefixCache {
    /// Returns the blocks of the longest prefix of `prompt` that is cached within a scope. They are not evicted while the
    /// caller holds them. At least one id of the prompt remains to be run.
    pub(crate) fn find(&mut self, prompt: &[u32], scope: Scope) -> Vec<Arc<CacheBlock>> {
        self.clock += 1;
        let mut blocks = Vec::new();
        let mut parent = Parent::Root(scope);
        for ids in prompt[..prompt.len().saturating_sub(1)].chunks_exact(BLOCK_POSITIONS) {
            let Some(node) = self.nodes.get_mut(&(parent, ids.into())) else { break };
            node.used = self.clock;
            parent = Parent::Node(node.number);
            blocks.push(Arc::clone(&node.block));
        }
        blocks
    }

    /// Adds the full blocks of a sequence whose first ids are `ids` to a scope.
    pub(crate) fn insert(&mut self, ids: &[u32], blocks: &[Arc<CacheBlock>], scope: Scope) {
        self.clock += 1;
        let mut parent: Option<Key> = None;
        for (ids, block) in ids.chunks_exact(BLOCK_POSITIONS).zip(blocks) {
            let before = parent.as_ref().and_then(|key| self.nodes.get(key));
            let before = before.map_or(Parent::Root(scope), |node| Parent::Node(node.number));
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

    /// Evicts idle blocks until at most `most` are left, least recently used first.
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

    /// Evicts the least recently used leaf that no sequence holds; returns false if there is none.
    fn evict(&mut self) -> bool {
        let idle_leaves =
            self.nodes.iter().filter(|(_, node)| node.children == 0 && Arc::strong_count(&node.block) == 1);
        let Some(key) = idle_leaves.min_by_key(|(_, node)| node.used).map(|(key, _)| key.clone()) else {
            return false;
        };
        self.nodes.remove(&key);
        if let Some(parent) = self.nodes.values_mut().find(|node| Parent::Node(node.number) == key.0) {
            parent.children -= 1;
        }
        true
    }

    /// Returns the number of blocks that no sequence holds.
    pub(crate) fn idle_blocks(&self) -> usize {
        self.nodes.values().filter(|node| Arc::strong_count(&node.block) == 1).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::{CacheFormat, CacheShape};

    const ALL: Scope = Scope { adapter: None, client: 0 };

    fn blocks(count: usize) -> Vec<Arc<CacheBlock>> {
        let shape = CacheShape { layers: 1, heads: 1, kv_heads: 1, head_dim: 16, format: CacheFormat::F16 };
        (0..count).map(|_| Arc::new(CacheBlock::new(&shape))).collect()
    }

    #[test]
    fn a_prompt_reuses_shared_blocks_and_leaves_one_id_to_run() {
        let ids: Vec<u32> = (0..200).collect();
        let mut prefixes = PrefixCache::default();
        prefixes.insert(&ids, &blocks(3), ALL);
        assert_eq!(prefixes.find(&ids, ALL).len(), 3);
        assert_eq!(prefixes.find(&ids[..192], ALL).len(), 2, "the 192nd id must be run");
        assert_eq!(prefixes.find(&ids[..193], ALL).len(), 3);
        let mut other = ids.clone();
        other[70] = 9999;
        assert_eq!(prefixes.find(&other, ALL).len(), 1);
        // The same ids after another prefix are another block.
        assert_eq!(prefixes.find(&ids[64..], ALL).len(), 0);
    }

    #[test]
    fn scopes_share_nothing() {
        let ids: Vec<u32> = (0..200).collect();
        let mut prefixes = PrefixCache::default();
        let scope = |adapter, client| Scope { adapter, client };
        prefixes.insert(&ids, &blocks(3), scope(None, 7));
        for (other, count) in [(scope(None, 7), 3), (scope(None, 8), 0), (ALL, 0), (scope(Some(0), 7), 0)] {
            assert_eq!(prefixes.find(&ids, other).len(), count, "{other:?}");
        }
        prefixes.insert(&ids, &blocks(2), scope(Some(1), 7));
        for (other, count) in [(scope(Some(1), 7), 2), (scope(Some(0), 7), 0), (scope(None, 7), 3)] {
            assert_eq!(prefixes.find(&ids, other).len(), count, "{other:?}");
        }
        while prefixes.evict() {}
        assert_eq!(prefixes.find(&ids, scope(None, 7)).len(), 0);
    }

    #[test]
    fn the_oldest_leaf_is_evicted_first_and_blocks_in_use_stay() {
        let (first, second): (Vec<u32>, Vec<u32>) = ((0..128).collect(), (1000..1064).collect());
        let mut prefixes = PrefixCache::default();
        prefixes.insert(&first, &blocks(2), ALL);
        prefixes.insert(&second, &blocks(1), ALL);
        let in_use = prefixes.find(&[first.clone(), vec![1]].concat(), ALL);
        assert_eq!(prefixes.idle_blocks(), 1);
        assert!(prefixes.evict());
        assert!(prefixes.find(&[second, vec![1]].concat(), ALL).is_empty());
        assert!(!prefixes.evict(), "the others are in use");
        drop(in_use);
        assert!(prefixes.evict());
        assert_eq!(
            prefixes.find(&[first, vec![1]].concat(), ALL).len(),
            1,
            "the leaf was evicted, its parent stays"
        );
        assert!(prefixes.evict() && !prefixes.evict());
    }
}
