//! `smoleval report`: one page of what was scored, with the training runs and the datasets that led to it. Everything
//! a model wrote is escaped; the page loads nothing.

mod bars;
mod board;
mod curves;
mod dataset;
mod examples;
mod page;

use crate::stored::{self, Scored};
use anyhow::{Context, Result, bail};
use curves::TrainingRun;
use dataset::Dataset;
use datasets::write::write_atomic;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What `smoleval report` was asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder that `smoleval score` wrote to
    scores: PathBuf,
    /// The page
    #[arg(long)]
    out: PathBuf,
    /// Folders of training runs, for their curves
    #[arg(long, num_args = 1.., value_name = "[NAME=]DIR")]
    run: Vec<String>,
    /// Folders that `smoltalk gen` wrote to, for what was kept and dropped
    #[arg(long, num_args = 1.., value_name = "[NAME=]DIR")]
    dataset: Vec<String>,
    /// Questions of each kind that are shown with their replies
    #[arg(long, default_value_t = 6)]
    examples: usize,
}

/// Writes the page, whole or not at all.
///
/// # Errors
/// Names the file that is missing or broken.
pub(crate) fn run(options: &Options) -> Result<()> {
    let names = stored::names(&options.scores)?;
    let mut models = Vec::new();
    for name in &names {
        let Some(model) = Scored::read(&options.scores, name)? else {
            bail!(
                "{}/{name}.json and its replies do not belong together: score {name} again",
                options.scores.display()
            );
        };
        models.push(model);
    }
    let runs = named(&options.run)
        .map(|(name, folder)| TrainingRun::read(name, &folder))
        .collect::<Result<Vec<_>>>()?;
    let datasets = named(&options.dataset)
        .map(|(name, folder)| Dataset::read(name, &folder))
        .collect::<Result<Vec<_>>>()?;
    let page = page::render(&models, &runs, &datasets, options.examples);
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    write_atomic(&options.out, page.as_bytes())?;
    println!("the report is {}", options.out.display());
    Ok(())
}

/// Folders with names: what stands before `=`, or the folder's own.
fn named(given: &[String]) -> impl Iterator<Item = (String, PathBuf)> {
    given.iter().map(|text| match text.split_once('=') {
        Some((name, folder)) => (name.to_owned(), PathBuf::from(folder)),
        None => {
            let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            (name.to_owned(), PathBuf::from(text))
        }
    })
}

/// The object in a folder's `run.json`.
fn manifest(folder: &Path, made_by: &str) -> Result<Map<String, Value>> {
    let path = folder.join("run.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}, which `{made_by}` writes", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no object of JSON", path.display()))
}
