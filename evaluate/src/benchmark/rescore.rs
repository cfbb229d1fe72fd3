//! `smoleval rescore`: scores stored answers again, without a model, and writes the results anew.

use super::store;
use super::summary::{ModelSummary, table};
use crate::sandbox;
use crate::task::TasksOfFile;
use crate::tasks;
use anyhow::{Context, Result, ensure};
use files::run_folder::{Lock, NO_LOCK_HELP};
use std::path::{Path, PathBuf};

/// The options of `smoleval rescore`.
#[derive(Debug, clap::Args)]
pub struct RescoreOptions {
    /// Folder that `smoleval score --tasks` wrote: of all models, or of one
    scores: PathBuf,
    /// Run code that the model wrote, in a sandbox
    #[arg(long)]
    allow_code: bool,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
    /// Run code although this system cannot cut it off from the network or from files
    #[arg(long, requires = "allow_code")]
    unsandboxed: bool,
}

/// Scores all stored answers of a folder again and prints the table; returns the exit code.
///
/// # Errors
/// Names the file or the task that cannot be scored.
pub fn rescore(options: &RescoreOptions, more: &[TasksOfFile]) -> Result<u8> {
    let folders = model_folders(&options.scores)?;
    let mut summaries = Vec::new();
    for folder in &folders {
        let _lock = Lock::acquire_unless(options.no_lock, folder, "smoleval rescore")?;
        let mut summary = ModelSummary::read(folder)?;
        let (all, groups) = tasks::all(more);
        for name in summary.task_names() {
            let task = all.iter().find(|task| task.name == name);
            let task = task.with_context(|| format!("there is no task `{name}` in this version"))?;
            ensure!(
                !task.runs_code || options.allow_code,
                "task `{name}` runs the model's code; give `--allow-code`"
            );
            if task.runs_code {
                sandbox::check(options.unsandboxed)?;
            }
            let mut records = summary.records(folder, &name)?;
            for record in &mut records {
                record.score(task)?;
            }
            store::write_all(&folder.join(format!("{name}.jsonl")), records.iter())?;
            summary.replace_task(task, &records)?;
        }
        summary.add_groups(&groups);
        summary.write(folder)?;
        summaries.push(summary);
    }
    terminal::print_results(&table(&summaries))?;
    Ok(0)
}

/// The folders of models: the folder itself, or those in it.
///
/// # Errors
/// When there are none.
pub(crate) fn model_folders(scores: &Path) -> Result<Vec<PathBuf>> {
    let is_model = |folder: &Path| folder.join("results.json").is_file();
    if is_model(scores) {
        return Ok(vec![scores.to_owned()]);
    }
    let entries = std::fs::read_dir(scores).with_context(|| format!("cannot read {}", scores.display()))?;
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|folder| is_model(folder)).collect();
    folders.sort();
    ensure!(
        !folders.is_empty(),
        "{} contains no results; write them with `smoleval score --tasks ... --out {0}`",
        scores.display()
    );
    Ok(folders)
}
