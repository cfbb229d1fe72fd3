//! `smoleval report`: one page of the results, with the training runs and the datasets behind them. Everything that a
//! model wrote is escaped; the page loads nothing.

mod dataset;
mod examples;
mod page;
mod run_json;
mod scoreboard;
mod training;

use crate::benchmark;
use crate::results::{self, ModelResults};
use anyhow::{Context, Result, bail};
use dataset::Dataset;
use std::path::PathBuf;
use training::TrainingRun;

/// The options of `smoleval report`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder that `smoleval score` wrote
    scores: PathBuf,
    /// File to write the page to
    #[arg(long)]
    out: PathBuf,
    /// Folders of training runs, to show their curves
    #[arg(long, num_args = 1.., value_name = "[NAME=]DIR")]
    run: Vec<String>,
    /// Folders that `smoltalk gen` wrote, to show the rows that were kept and dropped
    #[arg(long, num_args = 1.., value_name = "[NAME=]DIR")]
    dataset: Vec<String>,
    /// Number of questions of each kind to show with their replies
    #[arg(long, default_value_t = 6)]
    examples: usize,
    /// Number of documents of each benchmark task to show with their answers
    #[arg(long, default_value_t = 50)]
    documents: usize,
    /// Published model whose benchmark scores are shown beside, such as SmolLM2-135M-Instruct
    #[arg(long, value_parser = benchmark::published::model, value_name = "MODEL")]
    published: Option<String>,
}

/// Writes the page, whole or not at all.
///
/// # Errors
/// Names the file that is missing or unreadable.
pub fn run(options: &Options) -> Result<()> {
    let published = options.published.as_deref();
    let benchmarks = benchmark::page::sections(&options.scores, options.documents, published)?;
    let names = match results::names(&options.scores) {
        Err(_) if !benchmarks.is_empty() => Vec::new(),
        names => names?,
    };
    let mut models = Vec::new();
    for name in &names {
        let Some(model) = ModelResults::read(&options.scores, name)? else {
            bail!(
                "{}/{name}.json belongs to other replies than {name}.replies.jsonl; score {name} again",
                options.scores.display()
            );
        };
        models.push(model);
    }
    let runs = named_folders(&options.run)
        .map(|(name, folder)| TrainingRun::read(name, &folder))
        .collect::<Result<Vec<_>>>()?;
    let datasets = named_folders(&options.dataset)
        .map(|(name, folder)| Dataset::read(name, &folder))
        .collect::<Result<Vec<_>>>()?;
    let page = page::render(&models, &runs, &datasets, options.examples, benchmarks);
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    files::atomic::write(&options.out, page)?;
    terminal::results!("the report is in {}", options.out.display())?;
    Ok(())
}

/// Names with folders, from `[NAME=]DIR`. The last part of a folder is its name unless one is given.
fn named_folders(arguments: &[String]) -> impl Iterator<Item = (String, PathBuf)> {
    arguments.iter().map(|argument| match argument.split_once('=') {
        Some((name, folder)) => (name.to_owned(), PathBuf::from(folder)),
        None => {
            let name = argument.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            (name.to_owned(), PathBuf::from(argument))
        }
    })
}
