//! A micro-batch: sequences packed one after another without padding, and which of their tokens are trained.

use checkpoint::Architecture;
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

    /// Returns the sum of the squared lengths of the sequences, to which attention's work is proportional; in layers with a
    /// window, twice the pairs of tokens that attend. The mean over the layers.
    pub fn attended(&self, architecture: &Architecture) -> f64 {
        let in_window = |window: usize| -> f64 {
            let lengths = self.starts.windows(2).map(|pair| (pair[1] - pair[0]) as f64);
            let window = window as f64;
            let pairs = |length: f64| {
                if length <= window { length.powi(2) } else { (2.0 * length - window) * window }
            };
            lengths.map(pairs).sum()
        };
        let (layers, whole) = (&architecture.windowed_layers, in_window(usize::MAX));
        let windowed = layers.iter().filter(|is_windowed| **is_windowed).count();
        if windowed == 0 {
            return whole;
        }
        let share = windowed as f64 / layers.len() as f64;
        share * in_window(architecture.window) + (1.0 - share) * whole
    }

    /// Returns the number of tokens, T.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_limit_what_is_attended_to() {
        let batch = Batch { starts: vec![0, 4, 14], ..Batch::default() };
        let mut architecture = Architecture::default();
        assert_eq!(batch.attended(&architecture), 116.0);
        architecture.windowed_layers = vec![true, false];
        architecture.window = 5;
        assert_eq!(batch.attended(&architecture), 0.5 * (16.0 + 15.0 * 5.0) + 0.5 * 116.0);
    }
}
