//! The order of a run as a file: the sequences of every step, so that another trainer can repeat the run.

use super::batches::joined;
use super::mixture::Mixture;
use super::plan::Plan;
use super::source::Source;
use crate::checkpoints::MixtureState;
use anyhow::{Context, Result};
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes a JSON line with the held-out sequences of every source, then one for each step: its learning rate and the
/// sequences that do not attend to each other.
pub(super) fn write(path: &Path, intra_document: bool, plan: &Plan, sources: Vec<Source>) -> Result<u8> {
    let cannot = || format!("cannot write `--record-order {}`", path.display());
    let mut out = BufWriter::new(std::fs::File::create(path).with_context(cannot)?);
    let length = plan.stage(plan.total() - 1).1.sequence_length;
    let held_out = sources.iter().map(|source| {
        let sequences = source.held_out(length).map(|sequence| Ok(sequence?.ids.into_owned()));
        let sequences: Vec<Vec<u32>> = sequences.collect::<Result<_, files::Error>>()?;
        Ok((source.name.clone(), json!(sequences)))
    });
    let held_out: serde_json::Map<_, _> = held_out.collect::<Result<_>>()?;
    writeln!(out, "{}", json!({"held_out": held_out})).with_context(cannot)?;
    let mut mixture = Mixture { sources, state: MixtureState::default() };
    for step in 0..plan.total() {
        let stage = plan.stage(step).1;
        let mut sequences: Vec<Vec<u32>> = Vec::new();
        for _ in 0..stage.sequences_per_step {
            let pieces = mixture.next(stage)?;
            match intra_document {
                true => sequences.extend(pieces.into_iter().map(|piece| piece.ids.into_owned())),
                false => sequences.push(joined(&pieces).ids.into_owned()),
            }
        }
        let line = json!({"learning_rate": plan.rate(step), "sequences": sequences});
        writeln!(out, "{line}").with_context(cannot)?;
    }
    out.flush().with_context(cannot)?;
    terminal::message!("wrote the order of {} steps to {}", plan.total(), path.display());
    Ok(0)
}
