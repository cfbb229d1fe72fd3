//! Sources drawn by weight. Every sequence comes from the source that is furthest behind its share, so after any number
//! of sequences the shares are exact to one sequence. What was drawn is stored in the checkpoint.

use super::plan::Stage;
use super::source::Source;
use crate::checkpoints::MixtureState;
use anyhow::Result;
use training::Sequence;

/// Sources, and how far each was read.
#[derive(Debug)]
pub(super) struct Mixture {
    pub(super) sources: Vec<Source>,
    pub(super) state: MixtureState,
}

impl Mixture {
    /// Returns the next training sequence: `sequence_length` tokens as pieces of documents.
    ///
    /// # Errors
    /// When the tokens cannot be read; the mixture is as before.
    pub(super) fn next(&mut self, stage: &Stage) -> Result<Vec<Sequence<'static>>> {
        let state = &mut self.state;
        let names: Vec<String> = self.sources.iter().map(|source| source.name.clone()).collect();
        if state.weights.len() != names.len() || state.weights.values().ne(&by_name(&names, stage)) {
            // A new mixture: shares are counted from here.
            state.sequences = names.iter().map(|name| (name.clone(), 0)).collect();
            state.weights = names.iter().cloned().zip(stage.weights.iter().copied()).collect();
        }
        let total: u64 = state.sequences.values().sum();
        let behind = |index: &usize| {
            let drawn = state.sequences.get(&names[*index]).copied().unwrap_or_default();
            stage.weights[*index] * (total + 1) as f64 - drawn as f64
        };
        // The first of those furthest behind.
        let next = (0..names.len())
            .filter(|index| stage.weights[*index] > 0.0)
            .reduce(|best, index| if behind(&index) > behind(&best) { index } else { best })
            .expect("a mixture has a weight above 0");
        let from = state.tokens.entry(names[next].clone()).or_default();
        let pieces = self.sources[next].read(*from, stage.sequence_length)?;
        *from += stage.sequence_length as u64;
        *state.sequences.entry(names[next].clone()).or_default() += 1;
        Ok(pieces)
    }

    /// Returns how many epochs of each source were read.
    pub(super) fn epochs(&self) -> impl Iterator<Item = (&str, f64)> {
        self.sources.iter().map(|source| {
            let tokens = self.state.tokens.get(&source.name).copied().unwrap_or_default();
            (source.name.as_str(), tokens as f64 / source.tokens as f64)
        })
    }
}

/// Returns the stage's weights, sorted by the names of their sources.
fn by_name(names: &[String], stage: &Stage) -> Vec<f64> {
    let mut pairs: Vec<(&String, f64)> = names.iter().zip(stage.weights.iter().copied()).collect();
    pairs.sort_by(|one, other| one.0.cmp(other.0));
    pairs.into_iter().map(|(_, weight)| weight).collect()
}
