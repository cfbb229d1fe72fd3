//! `smoltalk preview`: a few rows to their end, with every prompt and every reply, before anything is paid for
//! by the thousand. What was asked is thrown away.

use crate::budget::Prices;
use crate::printable::printable;
use crate::report::Step;
use crate::rows::{walk, watched};
use crate::run::Run;
use crate::setup::{Common, Setup};
use crate::store::Verdict;
use anyhow::{Result, bail};
use serde_json::Value;
use std::fmt::Write;
use std::sync::{Arc, PoisonError};

/// What `smoltalk preview` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rows of each task
    #[arg(long, default_value_t = 3)]
    n: usize,
}

/// Prints the rows one after the other.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(preview(options))
}

async fn preview(options: &Options) -> Result<u8> {
    if options.n == 0 {
        bail!("--n is at least 1");
    }
    let setup = Setup::open(&options.common, options.n, None).await?;
    let folder = tempfile::tempdir()?;
    let prices = Prices::read(options.common.prices.as_deref())?;
    let run = Arc::new(Run::open(folder.path(), prices, None)?);
    for recipe in &setup.recipes {
        for (position, source) in setup.sources(recipe)?.take(options.n).enumerate() {
            let row = walk(&setup, recipe, &run, position, source?);
            let (row, verdict) = Box::pin(watched(row, true)).await?;
            println!("== {} {}", recipe.task.name(), row.id);
            let trace = row.trace.unwrap_or_default();
            for step in trace.steps.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                print!("{}", printable(&step_text(step)));
            }
            let verdict = verdict.as_ref().map_or("-- stopped".to_owned(), verdict_text);
            println!("{}\n", printable(&verdict));
        }
    }
    Ok(0)
}

fn step_text(step: &Step) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "-- {} ({}: {} + {} tokens)\n{}  replied\n{}",
        step.name,
        step.teacher,
        step.prompt_tokens,
        step.completion_tokens,
        indented(&step.prompt),
        indented(&step.reply)
    )
}

fn verdict_text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Dropped(dropped) => {
            format!("-- dropped: {} at {}: {}", dropped.reason, dropped.step, dropped.detail)
        }
        Verdict::Kept(row) => {
            let mut text = "-- kept".to_owned();
            for (name, value) in
                row.iter().filter(|(name, value)| *name != "messages" && **value != Value::Null)
            {
                let _ = write!(text, "\n    {name}: {value}");
            }
            text
        }
    }
}
