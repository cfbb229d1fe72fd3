//! A run's folder: which run it belongs to, and what is set aside when it starts over.

use anyhow::{Context, Result, bail};
use files::run_folder::{self, ACCEPT_CHANGES_HELP, RESTART_HELP};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Where a run writes, and what to do with a previous run there.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RunFolder {
    /// Folder of the run; the same command again resumes an unfinished run
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[arg(long, help = RESTART_HELP)]
    pub(crate) restart: bool,
    #[arg(long, help = ACCEPT_CHANGES_HELP)]
    pub(crate) accept_changes: bool,
}

/// Returns run.json of the run in the folder, if there is one.
///
/// # Errors
/// When it cannot be read, or the folder contains something else.
pub(super) fn previous_run(folder: &Path) -> Result<Option<Map<String, Value>>> {
    let path = folder.join("run.json");
    if path.is_file() {
        let cannot = || format!("cannot read {}; give `--restart` to start over", path.display());
        let text = std::fs::read(&path).with_context(cannot)?;
        return serde_json::from_slice(&text).with_context(cannot).map(Some);
    }
    if folder.join("config.json").exists() || folder.join("model.safetensors").exists() {
        bail!(
            "`--out {}` contains a checkpoint that does not belong to a run; choose another folder",
            folder.display()
        );
    }
    Ok(None)
}

/// Refuses a folder that contains the checkpoint to start from, which the run would overwrite.
pub(super) fn refuse_own_model(folder: &Path, manifest: &Map<String, Value>) -> Result<()> {
    let model = manifest["model"].as_str().unwrap_or_default();
    if let (Ok(model), Ok(folder)) = (Path::new(model).canonicalize(), folder.canonicalize())
        && model.starts_with(&folder)
    {
        bail!("`--out {}` contains the checkpoint to start from; choose another folder", folder.display());
    }
    Ok(())
}

/// Refuses a folder with the run of another command: its model may be the one that this run starts from.
pub(super) fn refuse_other_command(folder: &Path, manifest: &Map<String, Value>) -> Result<()> {
    // `previous_run` reports what cannot be read.
    let text = std::fs::read(folder.join("run.json")).unwrap_or_default();
    let run: Value = serde_json::from_slice(&text).unwrap_or_default();
    match run["command"].as_str() {
        Some(command) if manifest["command"] != command => {
            bail!(
                "`--out {}` contains a run of `posttrain {command}`; choose another folder",
                folder.display()
            )
        }
        _ => Ok(()),
    }
}

/// Sets the previous run in the folder aside, if there is one. run.json is first: without it the rest is no run.
pub(super) fn set_aside(folder: &Path) -> Result<()> {
    if !folder.join("run.json").is_file() {
        return Ok(());
    }
    let names = [
        "run.json",
        "checkpoints",
        "tensorboard",
        "metrics.jsonl",
        "report.html",
        "model.safetensors",
        "config.json",
    ];
    if let Some(aside) = run_folder::set_aside(folder, &names)? {
        terminal::message!("the previous run is set aside in {}", aside.display());
    }
    Ok(())
}
