//! Log-probabilities of given continuations, for evaluation: many contexts, each with the answers to choose from.
//!
//! What several sequences have in common at their beginning is computed once: the question before its choices, the
//! solved examples before all questions of a subject. Keys and values of a position depend on the ids up to it alone,
//! to the bit (see the `kernels` crate), so a score is the same whatever else is scored.

mod request;
mod tree;

pub use request::ScoringRequest;

use crate::kv_cache::KvCache;
use crate::model::{Chunk, LogitPositions, Model};
use checkpoint::Checkpoint;
use kernels::{CacheFormat, LogSum, WeightFormat, parallel_for};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use tree::{Target, Tree};

/// Maximum number of tokens of a forward pass. Each may need a row of logits, so this also bounds their memory.
const TOKENS_PER_STEP: usize = 512;

/// The score of one continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContinuationScore {
    /// Natural logarithm of its probability after the context: the sum over its tokens.
    pub logprob: f64,
    /// Whether each of its tokens is the likeliest one.
    pub is_greedy: bool,
}

/// A model that scores continuations.
#[derive(Debug)]
pub struct Scorer {
    model: Model,
}

/// A node of the tree whose turn it is: the first ids that it has not run yet, and its cache up to there.
struct Running {
    node: usize,
    start: usize,
    cache: KvCache,
}

impl Scorer {
    /// Packs the weights of a checkpoint into memory, by default as they are stored. Keys and values are f32.
    pub fn load(checkpoint: &Checkpoint, weights: Option<WeightFormat>) -> Self {
        Self { model: Model::load(checkpoint, weights, CacheFormat::F32) }
    }

    /// Maximum number of tokens of a context and one of its continuations together.
    pub fn context(&self) -> usize {
        self.model.config().max_positions
    }

    /// Scores all continuations and hands each request's scores over, with the request's index, as soon as they are
    /// complete, in no particular order. Stops early when the caller breaks.
    ///
    /// # Panics
    /// If a context or a continuation is empty, a sequence is longer than the context of the model, or an id is beyond
    /// its vocabulary.
    pub fn score(
        &self,
        requests: &[ScoringRequest],
        mut finish: impl FnMut(usize, Vec<ContinuationScore>) -> ControlFlow<()>,
    ) {
        let tree = Tree::new(requests);
        let mut scores: Vec<Vec<ContinuationScore>> =
            requests.iter().map(|request| vec![NOTHING; request.continuations.len()]).collect();
        let mut missing: Vec<usize> =
            requests.iter().map(|one| one.continuations.iter().map(Vec::len).sum()).collect();
        let mut caches = Caches::new(&tree);
        // The last one runs first, so that few caches wait for their continuations.
        let mut waiting: Vec<Running> = tree
            .roots()
            .iter()
            .rev()
            .map(|&node| Running { node, start: tree.nodes[node].start, cache: KvCache::new() })
            .collect();
        while !waiting.is_empty() {
            let step = self.take_step(&tree, &mut caches, &mut waiting);
            for (target, score) in self.run_step(&tree, step, &mut caches, &mut waiting) {
                let sum = &mut scores[target.request][target.continuation];
                sum.logprob += score.logprob;
                sum.is_greedy &= score.is_greedy;
                missing[target.request] -= 1;
                if missing[target.request] == 0
                    && finish(target.request, std::mem::take(&mut scores[target.request])).is_break()
                {
                    return;
                }
            }
        }
    }

    /// Takes nodes, each with the number of ids to run now, up to the limit of a step.
    fn take_step(
        &self,
        tree: &Tree<'_>,
        caches: &mut Caches,
        waiting: &mut Vec<Running>,
    ) -> Vec<(Running, usize)> {
        let mut left = TOKENS_PER_STEP;
        let mut step = Vec::new();
        while left > 0 {
            let Some(mut running) = waiting.pop() else { break };
            let node = &tree.nodes[running.node];
            if running.start == node.start
                && let Some(parent) = node.parent
            {
                running.cache = caches.fork_for_child(parent, &self.model);
            }
            let count = left.min(node.end - running.start);
            left -= count;
            step.push((running, count));
        }
        step
    }

    /// Runs one forward pass, puts what is next on the stack, and returns the log-probabilities of the targets.
    fn run_step(
        &self,
        tree: &Tree<'_>,
        mut step: Vec<(Running, usize)>,
        caches: &mut Caches,
        waiting: &mut Vec<Running>,
    ) -> Vec<(Target, ContinuationScore)> {
        let mut rows: Vec<Vec<Target>> = Vec::new();
        let mut ids: Vec<Vec<u32>> = Vec::new();
        let mut positions: Vec<LogitPositions> = Vec::new();
        for (running, count) in &step {
            let range = running.start..running.start + count;
            let targets = tree.targets(running.node, range.clone());
            let first = targets.iter().position(|targets| !targets.is_empty()).unwrap_or(*count);
            positions.push(LogitPositions::From(first));
            rows.extend(targets.into_iter().skip(first));
            ids.push(range.map(|position| tree.id(running.node, position)).collect());
        }
        let mut chunks: Vec<Chunk<'_>> = step
            .iter_mut()
            .zip(&ids)
            .zip(&positions)
            .map(|(((running, _), ids), positions)| Chunk {
                ids,
                cache: &mut running.cache,
                logits: *positions,
                hidden_sum: None,
                adapter: None,
            })
            .collect();
        let logits = self.model.forward(&mut chunks); // (R, V)
        drop(chunks);
        let scores = score_rows(&logits, self.model.config().vocab_size, &rows);
        self.model.recycle(logits);
        for (mut running, count) in step.into_iter().rev() {
            running.start += count;
            let node = &tree.nodes[running.node];
            if running.start < node.end {
                waiting.push(running);
            } else if !node.children.is_empty() {
                caches.keep(running.node, running.cache);
                waiting.extend(node.children.iter().rev().map(|&child| Running {
                    node: child,
                    start: tree.nodes[child].start,
                    cache: KvCache::new(),
                }));
            }
        }
        scores
    }
}

/// The sum of no tokens.
const NOTHING: ContinuationScore = ContinuationScore { logprob: 0.0, is_greedy: true };

/// The caches of nodes whose children have not begun yet.
struct Caches {
    kept: Vec<Option<KvCache>>,
    children_left: Vec<usize>,
}

impl Caches {
    fn new(tree: &Tree<'_>) -> Self {
        Self {
            kept: tree.nodes.iter().map(|_| None).collect(),
            children_left: tree.nodes.iter().map(|node| node.children.len()).collect(),
        }
    }

    fn keep(&mut self, node: usize, cache: KvCache) {
        self.kept[node] = Some(cache);
    }

    /// The cache that a child of this node begins with; the last child takes the node's own.
    fn fork_for_child(&mut self, node: usize, model: &Model) -> KvCache {
        self.children_left[node] -= 1;
        let kept = &mut self.kept[node];
        let cache = if self.children_left[node] == 0 {
            kept.take()
        } else {
            kept.as_ref().map(|cache| cache.fork(model.cache_shape(), cache.length))
        };
        cache.expect("a node's cache is kept until its last child begins")
    }
}

/// The log-probabilities of each row's targets under its logits (R, V).
fn score_rows(logits: &[f32], vocab_size: usize, rows: &[Vec<Target>]) -> Vec<(Target, ContinuationScore)> {
    let results: Vec<Mutex<Vec<(Target, ContinuationScore)>>> =
        rows.iter().map(|_| Mutex::default()).collect();
    parallel_for(rows.len(), |row| {
        if rows[row].is_empty() {
            return;
        }
        let logits = &logits[row * vocab_size..][..vocab_size];
        let sum = LogSum::of(logits);
        let likeliest = logits.iter().position(|logit| *logit == sum.largest);
        let score = |target: &Target| {
            let logprob = sum.log_probability(logits[target.id as usize]);
            (*target, ContinuationScore { logprob, is_greedy: likeliest == Some(target.id as usize) })
        };
        *results[row].lock().unwrap_or_else(PoisonError::into_inner) = rows[row].iter().map(score).collect();
    });
    results.into_iter().flat_map(|row| row.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}
