//! `report.html`: the counts of every row, and a sample of rows that are run again from their recorded answers, so
//! that each shows its calls.

use super::deduped::{DedupedTask, FinalRow};
use crate::report::{Report, RowSample, SampledDrop};
use crate::rows::{context, traced};
use crate::setup::Setup;
use crate::store::{LedgerEntry, calls_in_words};
use anyhow::{Context, Result};
use futures::FutureExt;
use serde_json::{Map, Value};
use std::path::Path;

/// Writes the report.
pub(super) fn write(
    path: &Path,
    setup: &Setup,
    tasks: &[DedupedTask<'_>],
    ledger: &[LedgerEntry],
) -> Result<()> {
    let teacher = setup.configuration["teacher"].as_str().unwrap_or_default().to_owned();
    let about = vec![
        ("teacher", teacher),
        ("prompts", setup.prompts.clone()),
        ("seed", setup.seed.to_string()),
        ("calls", calls_in_words(ledger).trim_end().replace('\n', " ")),
    ];
    let mut report = Report::new("SmolTalk-style synthetic data", about);
    for task in tasks {
        add(&mut report, task)?;
    }
    report.write(path)
}

fn add(report: &mut Report, deduped: &DedupedTask<'_>) -> Result<()> {
    let (setup, recipe) = (deduped.setup, deduped.recipe);
    let task = recipe.task.name;
    let mut sources = setup.sources(recipe)?.enumerate();
    for row in deduped.all() {
        let (position, row) = row?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let (id, row, dropped) = match row {
            FinalRow::Kept(row) => (text(row.get("id")), row, None),
            FinalRow::Dropped(line) => {
                let [id, reason, step, detail] =
                    ["id", "reason", "step", "detail"].map(|name| text(line.get(name)));
                (id, Map::new(), Some(SampledDrop { reason, step, detail }))
            }
        };
        match &dropped {
            Some(drop) => report.count_dropped(task, &drop.reason, &drop.step),
            None => report.count_kept(task, &row),
        }
        if !report.wants(task, dropped.as_ref().map(|drop| drop.reason.as_str()), &id) {
            continue;
        }
        let (_, source) = sources
            .find(|(index, _)| *index == position)
            .context("the source has fewer texts than when the run started")?;
        let context = context(setup, recipe, deduped.run, position, source?);
        // Recorded answers are read without waiting; the first call without one ends the row.
        let traced = Box::pin(traced(context, false)).now_or_never();
        let trace = traced.transpose()?.and_then(|(context, _)| context.trace).unwrap_or_default();
        report.sample(RowSample { id, task: task.to_owned(), dropped, row, steps: trace.into_steps() });
    }
    Ok(())
}
