//! The order of a run as a file: what every step is made of, so that another trainer can repeat it.

use super::mixture::Mixture;
use super::plan::Plan;
use super::source::Source;
use super::{Settings, joined};
use crate::checkpoints::Drawn;
use anyhow::{Context, Result};
use serde_json::json;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Writes a JSON line with the held-out sequences of every source, then one for each step: its learning rate and
/// the sequences that do not see each other.
pub(super) fn write(path: &Path, settings: &Settings, plan: &Plan, sources: Vec<Source>) -> Result<u8> {
    let cannot = || format!("cannot write --record-order {}", path.display());
    let mut out = BufWriter::new(std::fs::File::create(path).with_context(cannot)?);
    let length = plan.stage(plan.total() - 1).1.sequence_length;
    let held = sources.iter().map(|source| {
        let sequences: Vec<Vec<u32>> =
            source.held(length).map(|sequence| sequence.ids.into_owned()).collect();
        (source.name.clone(), json!(sequences))
    });
    let held: serde_json::Map<_, _> = held.collect();
    writeln!(out, "{}", json!({"held_out": held})).with_context(cannot)?;
    let mut mixture = Mixture { sources, drawn: Drawn::default() };
    for step in 0..plan.total() {
        let stage = plan.stage(step).1;
        let mut sequences: Vec<Vec<u32>> = Vec::new();
        for _ in 0..stage.sequences_per_step {
            let pieces = mixture.next(stage);
            match settings.pretrain.intra_document {
                true => sequences.extend(pieces.into_iter().map(|piece| piece.ids.into_owned())),
                false => sequences.push(joined(&pieces).ids.into_owned()),
            }
        }
        let line = json!({"learning_rate": plan.rate(step), "sequences": sequences});
        writeln!(out, "{line}").with_context(cannot)?;
    }
    out.flush().with_context(cannot)?;
    eprintln!("the order of {} steps is in {}", plan.total(), path.display());
    Ok(0)
}
