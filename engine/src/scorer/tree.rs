//! The sequences to score as a tree: a node holds ids that several sequences have in common, so that they are run once.

use super::request::ScoringRequest;
use std::ops::Range;

/// A common beginning is computed on its own if that saves at least this many tokens; less is not worth the copy of its
/// last cache block.
const MIN_SAVED: usize = 8;

/// A token whose log-probability is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) request: usize,
    pub(super) continuation: usize,
    pub(super) id: u32,
}

/// Ids at the positions `start..end` of all `sequences` below it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<usize>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// A range of [`Tree::sequences`].
    sequences: Range<usize>,
}

/// A context and one of its continuations.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    request: usize,
    continuation: usize,
}

/// All sequences, in the order of their ids.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    requests: &'a [ScoringRequest],
    sequences: Vec<Sequence>,
    pub(super) nodes: Vec<Node>,
    roots: Vec<usize>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(requests: &'a [ScoringRequest]) -> Self {
        let mut sequences = Vec::new();
        for (request, ScoringRequest { context, continuations }) in requests.iter().enumerate() {
            assert!(!context.is_empty(), "request {request} has an empty context");
            for (continuation, ids) in continuations.iter().enumerate() {
                assert!(!ids.is_empty(), "continuation {continuation} of request {request} is empty");
                sequences.push(Sequence { request, continuation });
            }
        }
        let mut tree = Self { requests, sequences: Vec::new(), nodes: Vec::new(), roots: Vec::new() };
        sequences.sort_by(|a, b| tree.ids(*a).cmp(tree.ids(*b)));
        tree.sequences = sequences;
        tree.add(0..tree.sequences.len(), 0, None);
        tree
    }

    pub(super) fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The ids that a sequence runs: all but the last one of its continuation, which is only predicted.
    fn ids(&self, sequence: Sequence) -> impl Iterator<Item = u32> + use<'a> {
        let ScoringRequest { context, continuations } = &self.requests[sequence.request];
        let continuation = &continuations[sequence.continuation];
        context.iter().chain(&continuation[..continuation.len() - 1]).copied()
    }

    fn length(&self, sequence: Sequence) -> usize {
        let ScoringRequest { context, continuations } = &self.requests[sequence.request];
        context.len() + continuations[sequence.continuation].len() - 1
    }

    fn id_of(&self, sequence: Sequence, position: usize) -> u32 {
        let ScoringRequest { context, continuations } = &self.requests[sequence.request];
        match position.checked_sub(context.len()) {
            None => context[position],
            Some(index) => continuations[sequence.continuation][index],
        }
    }

    /// The id at a position of a node.
    pub(super) fn id(&self, node: usize, position: usize) -> u32 {
        self.id_of(self.sequences[self.nodes[node].sequences.start], position)
    }

    /// Adds nodes for sequences that are equal up to `start` and have more ids after it.
    fn add(&mut self, sequences: Range<usize>, start: usize, parent: Option<usize>) {
        // Not recursive: contexts are thousands of tokens long, and every one may be a fork. `split` is where the
        // sequences begin to differ; it is after `start` where a common part was too short for a node of its own.
        let mut waiting = vec![(sequences, start, start, parent)];
        while let Some((sequences, start, split, parent)) = waiting.pop() {
            for group in self.groups(sequences, split) {
                let end = self.common_end(&group, start);
                // In sorted order those that end here come first.
                let first_longer = group.clone().find(|&one| self.length(self.sequences[one]) > end);
                let saved = (group.len() - 1) * (end - start);
                match first_longer {
                    Some(first) if first == group.start && saved < MIN_SAVED => {
                        waiting.push((group, start, end, parent));
                    }
                    _ => {
                        let node = self.push(group.clone(), start..end, parent);
                        waiting.extend(first_longer.map(|first| (first..group.end, end, end, Some(node))));
                    }
                }
            }
        }
    }

    fn push(&mut self, sequences: Range<usize>, positions: Range<usize>, parent: Option<usize>) -> usize {
        let node = self.nodes.len();
        let Range { start, end } = positions;
        self.nodes.push(Node { parent, children: Vec::new(), start, end, sequences });
        match parent {
            Some(parent) => self.nodes[parent].children.push(node),
            None => self.roots.push(node),
        }
        node
    }

    /// Splits sorted sequences where their id at a position changes.
    fn groups(&self, sequences: Range<usize>, position: usize) -> Vec<Range<usize>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        for index in sequences {
            let id = self.id_of(self.sequences[index], position);
            match groups.last_mut() {
                Some(group) if self.id_of(self.sequences[group.start], position) == id => {
                    group.end = index + 1;
                }
                _ => groups.push(index..index + 1),
            }
        }
        groups
    }

    /// Where sorted sequences that are equal up to `start` stop being equal, or the first of them ends.
    fn common_end(&self, group: &Range<usize>, start: usize) -> usize {
        let (first, last) = (self.sequences[group.start], self.sequences[group.end - 1]);
        let shortest = self.length(first).min(self.length(last));
        let differs = |&position: &usize| self.id_of(first, position) != self.id_of(last, position);
        (start..shortest).find(differs).unwrap_or(shortest)
    }

    /// The targets of the logits at each of these positions of a node.
    pub(super) fn targets(&self, node: usize, positions: Range<usize>) -> Vec<Vec<Target>> {
        let mut targets: Vec<Vec<Target>> = positions.clone().map(|_| Vec::new()).collect();
        for &Sequence { request, continuation } in &self.sequences[self.nodes[node].sequences.clone()] {
            let ids = &self.requests[request].continuations[continuation];
            // Logits at the context's last position predict the continuation's first token.
            let first = self.requests[request].context.len() - 1;
            for position in positions.start.max(first)..positions.end.min(first + ids.len()) {
                let id = ids[position - first];
                targets[position - positions.start].push(Target { request, continuation, id });
            }
        }
        targets.iter_mut().for_each(|row| row.sort_unstable());
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(context: &[u32], continuations: &[&[u32]]) -> ScoringRequest {
        ScoringRequest {
            context: context.to_vec(),
            continuations: continuations.iter().map(|ids| ids.to_vec()).collect(),
        }
    }

    fn tokens(tree: &Tree<'_>) -> usize {
        tree.nodes.iter().map(|node| node.end - node.start).sum()
    }

    #[test]
    fn what_sequences_have_in_common_is_run_once() {
        let shots: Vec<u32> = (100..130).collect();
        let question = |id: u32| [&shots[..], &[id; 20]].concat();
        // Letters: all four come from one forward.
        let requests = [1, 2, 3].map(|id| request(&question(id), &[&[7], &[8], &[9], &[10]]));
        let tree = Tree::new(&requests);
        assert_eq!(tokens(&tree), 30 + 3 * 20);
        let targets: usize = (0..tree.nodes.len())
            .map(|node| {
                let Node { start, end, .. } = tree.nodes[node];
                tree.targets(node, start..end).iter().map(Vec::len).sum::<usize>()
            })
            .sum();
        assert_eq!(targets, 12);
        // The last token of a continuation is not run.
        let requests = [request(&shots, &[&[1, 2, 3], &[4, 5]])];
        assert_eq!(tokens(&Tree::new(&requests)), 30 + 2 + 1);
    }

    #[test]
    fn short_common_beginnings_are_not_split_off() {
        let requests = [request(&[1, 2, 3, 4], &[&[5, 6]]), request(&[1, 2, 9, 9], &[&[5, 6]])];
        let tree = Tree::new(&requests);
        assert_eq!((tree.nodes.len(), tokens(&tree)), (2, 10));
    }
}
