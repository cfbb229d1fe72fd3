//! Sources drawn by weight: every sequence comes from the source that is furthest behind its share, so that after
//! any number of sequences the shares are exact to one sequence. What was drawn is kept in the checkpoint.

use super::plan::Stage;
use super::source::Source;
use crate::checkpoints::Drawn;
use crate::model::Sequence;

/// Sources and how far each was read.
#[derive(Debug)]
pub(super) struct Mixture {
    pub(super) sources: Vec<Source>,
    pub(super) drawn: Drawn,
}

impl Mixture {
    /// The next training sequence: `length` tokens as pieces of documents.
    pub(super) fn next(&mut self, stage: &Stage) -> Vec<Sequence<'static>> {
        let names: Vec<String> = self.sources.iter().map(|source| source.name.clone()).collect();
        if self.drawn.weights.len() != names.len() || self.drawn.weights.values().ne(&by_name(&names, stage))
        {
            // Another mixture: shares are counted from here.
            self.drawn.sequences = names.iter().map(|name| (name.clone(), 0)).collect();
            self.drawn.weights = names.iter().cloned().zip(stage.weights.iter().copied()).collect();
        }
        let total: u64 = self.drawn.sequences.values().sum();
        let behind = |index: &usize| {
            let drawn = self.drawn.sequences.get(&names[*index]).copied().unwrap_or_default();
            stage.weights[*index] * (total + 1) as f64 - drawn as f64
        };
        // The first of those furthest behind.
        let chosen = (0..names.len())
            .filter(|index| stage.weights[*index] > 0.0)
            .reduce(|best, index| if behind(&index) > behind(&best) { index } else { best })
            .expect("a mixture has a weight above 0");
        let from = self.drawn.tokens.entry(names[chosen].clone()).or_default();
        let pieces = self.sources[chosen].read(*from, stage.sequence_length);
        *from += stage.sequence_length as u64;
        *self.drawn.sequences.entry(names[chosen].clone()).or_default() += 1;
        pieces
    }

    /// How many times each source was gone through.
    pub(super) fn epochs(&self) -> impl Iterator<Item = (&str, f64)> {
        self.sources.iter().map(|source| {
            let drawn = self.drawn.tokens.get(&source.name).copied().unwrap_or_default();
            (source.name.as_str(), drawn as f64 / source.tokens as f64)
        })
    }
}

/// The stage's weights in the order of the names.
fn by_name(names: &[String], stage: &Stage) -> Vec<f64> {
    let mut pairs: Vec<(&String, f64)> = names.iter().zip(stage.weights.iter().copied()).collect();
    pairs.sort_by(|one, other| one.0.cmp(other.0));
    pairs.into_iter().map(|(_, weight)| weight).collect()
}
