//! `report.html`: the counts of every row, and a sample of rows walked once more from what is recorded, so that
//! each shows its steps.

use super::Judged;
use super::card::calls;
use crate::report::{Report, Sample};
use crate::rows::{walk, watched};
use crate::setup::Setup;
use crate::store::Entry;
use anyhow::{Context, Result};
use futures::FutureExt;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::PoisonError;

pub(super) fn write(path: &Path, setup: &Setup, judged: &[Judged<'_>], ledger: &[Entry]) -> Result<()> {
    let named = |name: &str| setup.configuration[name].to_string().trim_matches('"').to_owned();
    let mut about: Vec<(String, String)> =
        ["teacher", "profile", "seed"].map(|name| (name.to_owned(), named(name))).into();
    about.push(("calls".to_owned(), calls(ledger).trim_end().replace('\n', " ")));
    let mut report = Report::new("SmolTalk-style synthetic data", about);
    for task in judged {
        add(&mut report, task)?;
    }
    report.write(path)
}

fn add(report: &mut Report, judged: &Judged<'_>) -> Result<()> {
    let (setup, recipe) = (judged.setup, judged.recipe);
    let name = recipe.task.name();
    let mut sources = setup.sources(recipe)?.enumerate();
    for row in judged.all() {
        let (position, row) = row?;
        let text = |name: &str| match &row {
            Ok(row) => row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned(),
            Err(dropped) => dropped[name].as_str().unwrap_or_default().to_owned(),
        };
        let dropped = row.is_err().then(|| (text("reason"), text("step"), text("detail")));
        match (&row, &dropped) {
            (_, Some((reason, step, _))) => report.dropped(name, reason, step),
            (Ok(row), None) => report.kept(name, row),
            (Err(_), None) => {}
        }
        let reason = dropped.as_ref().map(|(reason, ..)| reason.as_str());
        if !report.wants(name, reason, &text("id")) {
            continue;
        }
        let (_, source) = sources
            .find(|(place, _)| *place == position)
            .context("the source has fewer texts than when the run began")?;
        let walk = walk(setup, recipe, judged.run, position, source?);
        let id = walk.id.clone();
        // What is recorded is read without waiting; what is not ends the walk.
        let watched = Box::pin(watched(walk, false)).now_or_never();
        let steps = watched.transpose()?.and_then(|(walk, _)| walk.trace).unwrap_or_default().steps;
        let steps = steps.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.sample(Sample {
            id,
            task: name.to_owned(),
            dropped,
            row: row.unwrap_or_else(|_| Map::new()),
            steps,
        });
    }
    Ok(())
}
