//! `smoltalk preview`: generates a few rows and prints every prompt and reply, before thousands of them are paid
//! for. The answers are not kept.

use crate::rows::{context, traced};
use crate::run::Run;
use crate::setup::{Setup, TeacherOptions};
use crate::store::Verdict;
use crate::trace::TracedStep;
use anyhow::{Result, bail};
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;
use terminal::print_results;

/// Options of `smoltalk preview`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    teachers: TeacherOptions,
    /// Number of rows, per task
    #[arg(long, default_value_t = 3)]
    n: usize,
}

/// Prints the rows one after the other; returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(preview(options))
}

async fn preview(options: &Options) -> Result<u8> {
    if options.n == 0 {
        bail!("`--n 0` prints nothing; give at least 1");
    }
    let setup = Setup::open(&options.teachers, options.n, None).await?;
    let folder = tempfile::tempdir()?;
    let run = Arc::new(Run::open(folder.path(), setup.prices.clone(), None)?);
    for recipe in &setup.recipes {
        for (position, source) in setup.sources(recipe)?.take(options.n).enumerate() {
            let row = context(&setup, recipe, &run, position, source?);
            let (row, verdict) = Box::pin(traced(row, true)).await?;
            terminal::results!("== {} {}", recipe.task.name, row.id)?;
            for step in row.trace.unwrap_or_default().into_steps() {
                print_results(&step_text(&step))?;
            }
            let verdict = verdict.as_ref().map_or("-- stopped".to_owned(), verdict_text);
            terminal::results!("{verdict}\n")?;
        }
    }
    Ok(0)
}

fn step_text(step: &TracedStep) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "-- {} ({}: {} + {} tokens)\n{}  reply:\n{}",
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
