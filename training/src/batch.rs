//! A micro-batch: sequences packed one after another without padding, and which of their tokens are trained.

use std::borrow::Cow;

/// One sequence of token ids, and which of them the model learns to predict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence<'a> {
    /// Token ids (T).
    pub ids: Cow<'a, [u32]>,
    /// Whether each token is trained (T). The first one never is: no token comes before it.
    pub trained: Cow<'a, [bool]>,
}

impl Sequence<'_> {
    /// Returns the number of tokens that add to the loss.
    pub fn trained_tokens(&self) -> usize {
        self.trained.iter().skip(1).filter(|trained| **trained).count()
    }
}

/// Packed sequences, as the model reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids (T).
    pub ids: Vec<u32>,
    /// Position of each token in its own sequence (T).
    pub positions: Vec<u32>,
    /// Index of each sequence's first token, then T: cu_seqlens (sequences + 1).
    pub starts: Vec<usize>,
    /// Indexes of the tokens whose successor is trained, ascending (N).
    pub rows: Vec<u32>,
    /// Ids of those successors (N).
    pub targets: Vec<u32>,
    /// Index of each sequence's first target, then N (sequences + 1).
    pub target_starts: Vec<usize>,
}

impl Batch {
    /// Packs sequences.
    ///
    /// # Panics
    /// If the mask of a sequence has another length than its ids.
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

    /// Returns the sum of the squared lengths of the sequences, to which attention's work is proportional.
    pub fn attended(&self) -> f64 {
        self.starts.windows(2).map(|pair| ((pair[1] - pair[0]) as f64).powi(2)).sum()
    }

    /// Returns the number of tokens, T.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}
