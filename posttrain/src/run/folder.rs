//! A run's folder: which run it belongs to, and what is set aside when it starts over.

use super::own;
use crate::checkpoints;
use crate::order::Order;
use anyhow::{Result, bail};
use checkpoint::adapter;
use files::checksum::Content;
use files::manifest::{Depth, Difference, DifferenceKind, Manifest};
use files::run_folder::{self, ACCEPT_CHANGES_HELP, NO_LOCK_HELP, RESTART_HELP};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::ErrorKind;
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
    #[arg(long, help = NO_LOCK_HELP)]
    pub(crate) no_lock: bool,
}

impl RunFolder {
    /// Returns a text that the run.json of the run to be resumed contains, if there is one.
    pub(crate) fn recorded(&self, name: &str) -> Option<String> {
        let previous = previous_run(&self.out).ok().flatten().filter(|_| !self.restart)?;
        previous.manifest.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// Continues an order where the run to be resumed was. Returns what a user should know if its batches have another size.
    pub(crate) fn place(&self, order: &mut Order) -> Option<String> {
        let progress =
            checkpoints::newest_progress(&self.out.join("checkpoints")).filter(|_| !self.restart)?;
        order.go_on(progress.step, progress.rows, progress.origin)
    }
}

/// The previous run in a folder.
#[derive(Debug, Default)]
pub(super) struct Previous {
    /// Its run.json.
    pub(super) manifest: Map<String, Value>,
    /// Where it was restored from, if the file was missing or damaged.
    pub(super) note: Option<String>,
}

impl Previous {
    /// Whether it did all its steps and wrote its model.
    pub(super) fn has_finished(&self) -> bool {
        self.manifest.get("state") == Some(&json!("finished"))
    }

    /// Returns the steps of its last checkpoint.
    pub(super) fn steps(&self) -> u64 {
        let progress = self.manifest.get("progress").unwrap_or(&Value::Null);
        progress["step"].as_u64().unwrap_or_default()
    }
}

/// Returns the previous run in the folder, if there is one. A run.json that is missing or damaged is restored from the
/// newest checkpoint.
///
/// # Errors
/// When it cannot be restored, or the folder contains something else.
pub(super) fn previous_run(folder: &Path) -> Result<Option<Previous>> {
    let path = folder.join("run.json");
    let (reason, error) = match std::fs::read(&path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(manifest) => return Ok(Some(Previous { manifest, note: None })),
            Err(error) => ("is damaged", Some(anyhow::Error::new(error))),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => ("is missing", None),
        Err(error) => ("cannot be read", Some(anyhow::Error::new(error))),
    };
    let checkpoints = folder.join("checkpoints");
    if let Some((manifest, checkpoint)) = checkpoints::recorded_run(&checkpoints) {
        let note = format!("{} {reason}; restored from {checkpoint}", path.display());
        return Ok(Some(Previous { manifest, note: Some(note) }));
    }
    let remedy =
        "restore it, or give `--restart` to start over (what is in the folder is set aside, not deleted)";
    if let Some(error) = error {
        return Err(error.context(format!("{} {reason}; {remedy}", path.display())));
    }
    if checkpoints::exist(&checkpoints) || has_lines(&folder.join("metrics.jsonl")) {
        bail!("`--out {}` contains a run, but its run.json is missing; {remedy}", folder.display());
    }
    let of_checkpoint = ["config.json", "model.safetensors", adapter::CONFIG_FILE, adapter::WEIGHTS_FILE];
    if of_checkpoint.iter().any(|name| folder.join(name).exists()) {
        bail!(
            "`--out {}` contains a checkpoint that does not belong to a run; choose another folder",
            folder.display()
        );
    }
    Ok(None)
}

fn has_lines(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

/// Returns what is wrong with the model of a finished run; `None` if it is there and whole. All of it is read.
pub(super) fn model_damage(folder: &Path, previous: &Previous) -> Option<String> {
    let Some(differences) = model_differences(folder, previous) else {
        // Finished by an earlier version, which recorded no checksums.
        let is_empty = |name: &&&str| !has_lines(&folder.join(name));
        let names = ["config.json", "tokenizer.json", "model.safetensors"];
        return names.iter().find(is_empty).map(|name| format!("{name} is missing or empty"));
    };
    let texts: Vec<String> = differences.iter().map(Difference::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn model_differences(folder: &Path, previous: &Previous) -> Option<Vec<Difference>> {
    let files = previous.manifest.get("files").cloned().unwrap_or_default();
    let files = serde_json::from_value::<BTreeMap<String, Content>>(files).ok()?;
    Some(Manifest { files, ..Manifest::default() }.differences(folder, Depth::Checksums))
}

/// Sets aside the texts of a finished run's model that somebody changed since: they are about to be written again. Returns
/// where they are.
///
/// # Errors
/// Names what cannot be moved.
pub(super) fn set_changed_aside(folder: &Path, previous: &Previous) -> Result<Option<PathBuf>> {
    let is_weights = |name: &str| name.ends_with(".safetensors");
    let differences = model_differences(folder, previous).unwrap_or_default();
    let changed: Vec<&str> = differences
        .iter()
        .filter(|one| {
            one.kind != DifferenceKind::Missing && !one.file.contains('/') && !is_weights(&one.file)
        })
        .map(|one| one.file.as_str())
        .collect();
    Ok(run_folder::set_aside(folder, &changed)?)
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
pub(super) fn refuse_other_command(
    folder: &Path,
    previous: &Previous,
    manifest: &Map<String, Value>,
) -> Result<()> {
    match previous.manifest.get("command").and_then(Value::as_str) {
        Some(command) if manifest["command"] != command => {
            bail!(
                "`--out {}` contains a run of `posttrain {command}`; choose another folder",
                folder.display()
            )
        }
        _ => Ok(()),
    }
}

/// Whether a folder contains a run, whole or not.
pub(super) fn is_run(folder: &Path) -> bool {
    ["run.json", crate::interventions::FILE_NAME, "checkpoints", "metrics.jsonl"]
        .iter()
        .any(|name| folder.join(name).exists())
}

/// Sets the previous run in the folder aside, if there is one. run.json is first: without it the rest is no run. metrics.jsonl
/// is last: by it `--restart` knows the rest of what was interrupted.
pub(super) fn set_aside(folder: &Path) -> Result<()> {
    if !is_run(folder) {
        return Ok(());
    }
    let names = [
        "run.json",
        crate::interventions::FILE_NAME,
        "checkpoints",
        "tensorboard",
        crate::samples::FILE_NAME,
        "report.html",
    ];
    let model = own::model_names(folder)?;
    let model = model.iter().map(String::as_str);
    let names: Vec<&str> = names.into_iter().chain(model).chain(["metrics.jsonl"]).collect();
    if let Some(aside) = run_folder::set_aside(folder, &names)? {
        terminal::message!("the previous run is set aside in {}", aside.display());
    }
    Ok(())
}
