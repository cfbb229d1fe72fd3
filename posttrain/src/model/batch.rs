//! A micro-batch: sequences packed one after another, and which of their tokens are trained.

use std::borrow::Cow;

/// One sequence of token ids and which of them the model is to learn to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// Token ids (T).
    pub ids: Cow<'a, [u32]>,
    /// Whether each token is trained (T); the first one never is, nothing comes before it.
    pub trained: Cow<'a, [bool]>,
}

impl Sequence<'_> {
    /// Tokens that add to the loss.
    pub fn trained_tokens(&self) -> usize {
        self.trained.iter().skip(1).filter(|trained| **trained).count()
    }
}

/// Sequences packed one after another, as the model reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids (T).
    pub ids: Vec<u32>,
    /// Position of each token in its own sequence (T).
    pub positions: Vec<u32>,
    /// First token of each sequence, then T: cu_seqlens (sequences + 1).
    pub starts: Vec<usize>,
    /// Tokens whose successor is trained, ascending (N).
    pub rows: Vec<u32>,
    /// Those successors (N).
    pub targets: Vec<u32>,
    /// First target of each sequence, then N (sequences + 1).
    pub target_starts: Vec<usize>,
}

impl Batch {
    /// Packs sequences.
    ///
    /// # Panics
    /// If a sequence has a mask of another length.
    pub fn new<'a>(sequences: impl IntoIterator<Item = Sequence<'a>>) -> Self {
        let mut batch = Self { starts: vec![0], target_starts: vec![0], ..Self::default() };
        for sequence in sequences {
            assert_eq!(sequence.ids.len(), sequence.trained.len(), "Batch: ids and trained");
            let first = batch.ids.len();
            batch.ids.extend_from_slice(&sequence.ids);
            batch.positions.extend(0..sequence.ids.len() as u32);
            for (token, trained) in sequence.trained.iter().enumerate().skip(1) {
                if *trained {
                    batch.rows.push((first + token - 1) as u32);
                    batch.targets.push(sequence.ids[token]);
                }
            }
            batch.starts.push(batch.ids.len());
            batch.target_starts.push(batch.targets.len());
        }
        batch
    }

    /// Σ length² of the sequences: what attention's work grows with.
    pub fn attended(&self) -> f64 {
        self.starts.windows(2).map(|pair| ((pair[1] - pair[0]) as f64).powi(2)).sum()
    }

    /// T.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}
