//! A run's checkpoints: `checkpoints/step-N/` is a complete Hugging Face checkpoint, together with what resuming needs
//! (`state`) and the list of its files with their checksums. A folder is written beside its name, synced and renamed, so
//! it is complete or absent. Older ones are removed only after the new one is durable and was read back.

use anyhow::{Context, Result, bail};
use checkpoint::folder::{CheckpointWriter, PreparedCheckpoint};
use checkpoint::weights::Precision;
use files::atomic::{self, NewFolder};
use files::checksum::Algorithm;
use files::manifest::{Depth, FILE_NAME, Manifest};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;
use training::{Optimizer, Parameters, TrainingState};

mod progress;
mod state;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use progress::{MixtureState, Progress};

/// What a checkpoint that cannot be read is renamed to, before its step.
const UNREADABLE: &str = "unreadable-step-";
/// What a checkpoint that led to a loss that is not finite is renamed to, before its step.
const DIVERGED: &str = "diverged-step-";

/// What weights without the rest of a checkpoint are named, before their step.
const WEIGHTS_ALONE: &str = "weights-step-";

/// Writes `step-N` into the folder of checkpoints, completely or not at all, and reads it back. `run` is run.json. The
/// state is dropped as soon as it is written.
///
/// # Errors
/// Names what cannot be written; earlier checkpoints are kept.
pub(crate) fn save(
    checkpoints: &Path,
    outgoing: &PreparedCheckpoint,
    state: TrainingState,
    progress: &Progress,
    run: &Map<String, Value>,
) -> Result<()> {
    let folder = folder_of(checkpoints, progress.step);
    let cannot = || format!("cannot write the checkpoint {}; earlier ones are kept", folder.display());
    if folder.symlink_metadata().is_ok() {
        // Not of this run's past: it would have been resumed from. Or its model is damaged, and it is written again.
        set_aside(&folder, "replaced-step-").with_context(cannot)?;
    }
    let new = NewFolder::create(&folder).with_context(cannot)?;
    let manifest = outgoing.write_unlisted(new.path(), &state.parameters.named(), Algorithm::Xxh3);
    let mut manifest = manifest.with_context(cannot)?;
    let content = state::write(new.path(), &state, progress, run).with_context(cannot)?;
    // From here on an update need not copy what it changes.
    drop(state);
    manifest.insert(state::FILE, content);
    manifest.write(&new.path().join(FILE_NAME)).with_context(cannot)?;
    new.commit().with_context(cannot)?;
    manifest.check(&folder, Depth::Checksums).with_context(cannot)
}

/// Writes the weights of a step alone, as a model: what a disk has room for that is too full for a checkpoint. Returns the
/// folder.
///
/// # Errors
/// Names what cannot be written.
pub(crate) fn save_weights(
    checkpoints: &Path,
    outgoing: &CheckpointWriter<'_>,
    parameters: &Parameters,
    step: u64,
    precision: Precision,
) -> Result<PathBuf> {
    let folder = checkpoints.join(format!("{WEIGHTS_ALONE}{step}"));
    if folder.symlink_metadata().is_ok() {
        set_aside(&folder, "replaced-step-")?;
    }
    let new = NewFolder::create(&folder)?;
    outgoing.write(new.path(), &parameters.named(), precision)?;
    new.commit()?;
    Ok(folder)
}

/// Where to resume.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// The newest checkpoint that can be read, if there is one.
    pub(crate) checkpoint: Option<(Progress, Optimizer)>,
    /// What is wrong with the other files of that checkpoint: it can be resumed from, but must be written again.
    pub(crate) damage: Option<String>,
    /// A note on each newer one that cannot be read.
    pub(crate) unreadable: Vec<String>,
}

/// Loads the newest checkpoint that can be read; its weights replace those of `parameters`. Newer ones are renamed.
///
/// # Errors
/// When there are checkpoints, or there were some that could not be read, and none can be read; also when it is called
/// again.
pub(crate) fn load_newest(checkpoints: &Path, parameters: &mut Parameters) -> Result<Newest> {
    let mut unreadable = Vec::new();
    let mut steps = steps(checkpoints);
    while let Some(step) = steps.pop() {
        let folder = folder_of(checkpoints, step);
        match load(&folder, parameters) {
            Ok(checkpoint) => {
                return Ok(Newest { checkpoint: Some(checkpoint), damage: damage(&folder), unreadable });
            }
            Err(error) => {
                // The name is needed again when the run reaches this step.
                let renamed = set_aside(&folder, UNREADABLE)?;
                let renamed = renamed.file_name().unwrap_or_default().to_string_lossy();
                unreadable
                    .push(format!("{} cannot be read ({error:#}) and is now {renamed}", folder.display()));
            }
        }
    }
    if unreadable.is_empty() {
        unreadable.extend(names(checkpoints, UNREADABLE).map(|name| format!("{name} could not be read")));
    }
    if unreadable.is_empty() {
        return Ok(Newest::default());
    }
    bail!(
        "{}; no checkpoint is left to resume from; give `--restart` to start over (what is in the folder is set aside, not deleted)",
        unreadable.join("; ")
    )
}

fn load(folder: &Path, parameters: &mut Parameters) -> Result<(Progress, Optimizer)> {
    let state = state::read(folder, parameters.layout.len())?;
    let optimizer =
        Optimizer { mean: state.mean.into(), square: state.square.into(), step: state.progress.step };
    parameters.values = state.weights.into();
    Ok((state.progress, optimizer))
}

/// Returns the weights of a step's checkpoint, for parameters of this layout.
///
/// # Errors
/// Says what cannot be read or differs.
pub(crate) fn load_weights(checkpoints: &Path, step: u64, parameters: &Parameters) -> Result<Parameters> {
    let folder = folder_of(checkpoints, step);
    let state = state::read(&folder, parameters.layout.len());
    let values = state.with_context(|| format!("cannot read {}", folder.display()))?.weights.into();
    Ok(Parameters { values, config: parameters.config.clone(), layout: parameters.layout.clone() })
}

/// Returns what is wrong with the files of a checkpoint, all of which are read. One of an earlier version has no list.
fn damage(folder: &Path) -> Option<String> {
    match Manifest::read(&folder.join(FILE_NAME)) {
        Ok(Some(manifest)) => manifest.check(folder, Depth::Checksums).err().map(|error| error.to_string()),
        Ok(None) if state::run_of(folder).is_none() => None,
        Ok(None) => Some(format!("{} has no {FILE_NAME}", folder.display())),
        Err(error) => Some(error.to_string()),
    }
}

/// Returns run.json of the run that wrote the newest checkpoint that has one, with the checkpoint's name.
pub(crate) fn recorded_run(checkpoints: &Path) -> Option<(Map<String, Value>, String)> {
    steps(checkpoints).into_iter().rev().find_map(|step| {
        let run = state::run_of(&folder_of(checkpoints, step))?;
        Some((run, format!("checkpoints/step-{step}")))
    })
}

/// Returns how far the newest checkpoint is that says so.
pub(crate) fn newest_progress(checkpoints: &Path) -> Option<Progress> {
    steps(checkpoints).into_iter().rev().find_map(|step| state::progress_of(&folder_of(checkpoints, step)))
}

/// Returns whether there are checkpoints, or were some that could not be read.
pub(crate) fn exist(checkpoints: &Path) -> bool {
    !steps(checkpoints).is_empty() || names(checkpoints, UNREADABLE).next().is_some()
}

/// Returns whether a checkpoint led to a loss that was not finite.
pub(crate) fn diverged(checkpoints: &Path) -> bool {
    names(checkpoints, DIVERGED).next().is_some()
}

/// Renames the checkpoint of a step that led to a loss that is not finite; returns its former and its new path, if there
/// is one.
///
/// # Errors
/// Names the folder that cannot be renamed.
pub(crate) fn set_diverged_aside(checkpoints: &Path, step: u64) -> Result<Option<(PathBuf, PathBuf)>> {
    let folder = folder_of(checkpoints, step);
    if !folder.is_dir() {
        return Ok(None);
    }
    let renamed = set_aside(&folder, DIVERGED)?;
    Ok(Some((folder, renamed)))
}

/// Renames `step-N` durably to the prefix and N, with a number behind it where that exists.
fn set_aside(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().replace("step-", prefix);
    let mut renamed = folder.with_file_name(&name);
    let mut number = 2;
    while renamed.symlink_metadata().is_ok() {
        renamed = folder.with_file_name(format!("{name}-{number}"));
        number += 1;
    }
    atomic::rename(folder, &renamed)?;
    Ok(renamed)
}

/// Returns the names of the entries that start with a prefix.
fn names(checkpoints: &Path, prefix: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(checkpoints).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(move |name| name.starts_with(prefix))
}

/// Returns the steps that have a checkpoint, ascending.
pub fn steps(checkpoints: &Path) -> Vec<u64> {
    let step = |name: String| name.strip_prefix("step-")?.parse().ok();
    let mut steps: Vec<u64> = names(checkpoints, "step-").filter_map(step).collect();
    steps.sort_unstable();
    steps
}

/// Returns the step of the newest checkpoint; 0 without one.
pub(crate) fn newest_step(checkpoints: &Path) -> u64 {
    steps(checkpoints).last().copied().unwrap_or_default()
}

/// Removes the oldest checkpoints beyond `limit`, but not the best; and unfinished ones.
///
/// # Errors
/// Names the folder that cannot be removed.
pub(crate) fn rotate(checkpoints: &Path, limit: usize, best: Option<u64>) -> Result<()> {
    let steps = steps(checkpoints);
    let old = steps.len().saturating_sub(limit);
    for step in steps[..old].iter().filter(|step| Some(**step) != best) {
        remove(&folder_of(checkpoints, *step))?;
    }
    remove_unfinished(checkpoints)
}

/// Removes checkpoints that a killed run did not finish.
///
/// # Errors
/// Names the folder that cannot be removed.
pub(crate) fn remove_unfinished(checkpoints: &Path) -> Result<()> {
    // However young: the run's lock keeps other runs out, or with `--no-lock` the user does.
    Ok(atomic::remove_abandoned(checkpoints, Duration::ZERO)?)
}

/// Returns the folder of a step's checkpoint.
pub(crate) fn folder_of(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("step-{step}"))
}

/// Removes a checkpoint. It loses its name first, so that half of one is never taken for one.
fn remove(folder: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let hidden = folder.with_file_name(format!(".writing-removed-{name}"));
    std::fs::rename(folder, &hidden)
        .and_then(|()| std::fs::remove_dir_all(&hidden))
        .with_context(|| format!("cannot remove {}", folder.display()))
}
