//! The micro-batches of pretraining: those of a step, and those of an evaluation.

use super::mixture::Mixture;
use super::plan::Stage;
use super::source::Source;
use anyhow::Result;
use training::{Batch, Sequence};

/// Draws the micro-batches of a step, of up to `micro_batch_tokens` each.
///
/// # Errors
/// When the tokens cannot be read.
pub(super) fn draw(
    mixture: &mut Mixture,
    stage: &Stage,
    micro_batch_tokens: usize,
    intra_document: bool,
) -> Result<Vec<Batch>> {
    let per_batch = (micro_batch_tokens / stage.sequence_length).max(1);
    let sequences: Vec<Vec<Sequence<'static>>> =
        (0..stage.sequences_per_step).map(|_| mixture.next(stage)).collect::<Result<_>>()?;
    let pieces = |pieces: &Vec<Sequence<'static>>| match intra_document {
        true => pieces.clone(),
        false => vec![joined(pieces)],
    };
    let batch = |sequences: &[Vec<Sequence<'static>>]| Batch::new(sequences.iter().flat_map(pieces));
    Ok(sequences.chunks(per_batch).map(batch).collect())
}

/// Joins pieces of documents to one sequence, in which they attend to each other.
pub(super) fn joined(pieces: &[Sequence<'static>]) -> Sequence<'static> {
    let ids: Vec<u32> = pieces.iter().flat_map(|piece| piece.ids.iter().copied()).collect();
    let trained = vec![true; ids.len()];
    Sequence { ids: ids.into(), trained: trained.into() }
}

/// The sizes of an evaluation, in tokens.
#[derive(Clone, Copy)]
pub(super) struct EvaluationSizes {
    /// Maximum of a sequence.
    pub(super) sequence_length: usize,
    /// Held-out tokens of each source; 0 means all.
    pub(super) tokens: usize,
    pub(super) micro_batch_tokens: usize,
}

/// Calls `evaluate` with a source's held-out documents as micro-batches.
pub(super) fn held_out(
    source: &Source,
    sizes: EvaluationSizes,
    mut evaluate: impl FnMut(&Batch) -> Result<()>,
) -> Result<()> {
    let EvaluationSizes { sequence_length, tokens: limit, micro_batch_tokens } = sizes;
    let mut pending: Vec<Sequence<'static>> = Vec::new();
    let (mut pending_tokens, mut total) = (0, 0);
    for sequence in source.held_out(sequence_length) {
        if limit > 0 && total >= limit {
            break;
        }
        let sequence = sequence?;
        total += sequence.ids.len();
        if pending_tokens + sequence.ids.len() > micro_batch_tokens && !pending.is_empty() {
            evaluate(&Batch::new(pending.drain(..)))?;
            pending_tokens = 0;
        }
        pending_tokens += sequence.ids.len();
        pending.push(sequence);
    }
    if pending.is_empty() { Ok(()) } else { evaluate(&Batch::new(pending)) }
}
