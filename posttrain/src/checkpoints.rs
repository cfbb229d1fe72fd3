//! A run's checkpoints: `checkpoints/step-N/` is a whole Hugging Face checkpoint with what resuming needs beside
//! it (fp32 weights, both moments, the step). Written beside and renamed, so a name stands for a whole one.

use crate::model::Parameters;
use crate::optimizer::Optimizer;
use anyhow::{Context, Result, ensure};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use smollm::checkpoint::Outgoing;
use smollm::weights::{self, Precision};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where a run stood.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Tokens that went through the model, those that are not trained included.
    pub num_tokens: u64,
    /// Seconds of training, over all its parts.
    pub seconds: f64,
    /// The best evaluation so far: its step and loss.
    pub best: Option<(u64, f64)>,
    /// What pretraining drew.
    #[serde(default)]
    pub drawn: Drawn,
}

/// What pretraining drew from its sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// Tokens taken from each source since the run began.
    pub tokens: BTreeMap<String, u64>,
    /// Sequences taken from each since the mixture last changed.
    pub sequences: BTreeMap<String, u64>,
    /// The mixture's weights.
    pub weights: BTreeMap<String, f64>,
}

/// Writes `step-N` into the run's checkpoints, whole or not at all.
///
/// # Errors
/// Names what could not be written; what stood before still stands.
pub fn save(
    checkpoints: &Path,
    outgoing: &Outgoing<'_>,
    parameters: &Parameters,
    optimizer: &Optimizer,
    progress: &Progress,
    precision: Precision,
) -> Result<()> {
    let place = checkpoints.join(format!("step-{}", progress.step));
    let cannot = || format!("cannot write the checkpoint {}; earlier ones still stand", place.display());
    if place.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(checkpoints).with_context(cannot)?;
    let beside = tempfile::Builder::new().prefix(".step-").tempdir_in(checkpoints).with_context(cannot)?;
    outgoing.write(beside.path(), &parameters.named(), precision).with_context(cannot)?;
    let flat = |name: &str, values| (name.to_owned(), vec![parameters.values.len()], values);
    let state = [
        flat("weights", parameters.values.as_slice()),
        flat("mean", optimizer.mean.as_slice()),
        flat("square", optimizer.square.as_slice()),
    ];
    weights::write(&beside.path().join("training_state.safetensors"), &state, Precision::F32)
        .with_context(cannot)?;
    let text = serde_json::to_string_pretty(progress)?;
    std::fs::write(beside.path().join("training_state.json"), text).with_context(cannot)?;
    // Temporary folders are made for their owner alone.
    #[cfg(unix)]
    std::fs::set_permissions(beside.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .with_context(cannot)?;
    std::fs::rename(beside.path(), &place).with_context(cannot)?;
    drop(beside.keep());
    File::open(checkpoints).and_then(|folder| folder.sync_all()).with_context(cannot)
}

/// Where to resume from.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest checkpoint that can be read, none if there is none.
    pub found: Option<(Progress, Optimizer)>,
    /// A note on each newer one that cannot.
    pub unreadable: Vec<String>,
}

/// Looks for the newest checkpoint that can be read, and puts its weights into `parameters`.
///
/// # Errors
/// When there are checkpoints and none can be read.
pub fn load_newest(checkpoints: &Path, parameters: &mut Parameters) -> Result<Newest> {
    let mut unreadable = Vec::new();
    let mut steps = steps(checkpoints);
    while let Some(step) = steps.pop() {
        let folder = place(checkpoints, step);
        match load(&folder, parameters) {
            Ok(found) => return Ok(Newest { found: Some(found), unreadable }),
            Err(error) => {
                unreadable.push(format!("{} cannot be read ({error:#}): going back", folder.display()));
                // Out of the way of the one that will be written in its place.
                let aside = folder.with_file_name(format!("unreadable-step-{step}"));
                std::fs::rename(&folder, &aside)
                    .with_context(|| format!("cannot rename {}", folder.display()))?;
            }
        }
    }
    ensure!(
        unreadable.is_empty(),
        "{}; no checkpoint is left to resume from: --restart begins anew",
        unreadable.join("; ")
    );
    Ok(Newest::default())
}

fn load(folder: &Path, parameters: &mut Parameters) -> Result<(Progress, Optimizer)> {
    let progress: Progress = serde_json::from_slice(&std::fs::read(folder.join("training_state.json"))?)?;
    let path = folder.join("training_state.safetensors");
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // SAFETY: a checkpoint is never changed once it has its name.
    let map = unsafe { memmap2::Mmap::map(&file) }?;
    let state = SafeTensors::deserialize(&map).context("training_state.safetensors is not whole")?;
    let read = |name: &str| -> Result<Vec<f32>> {
        let tensor = state.tensor(name)?;
        let values: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let expected = parameters.layout.len();
        ensure!(values.len() == expected, "{name} holds {} numbers, the model has {expected}", values.len());
        Ok(values)
    };
    let (weights, mean, square) = (read("weights")?, read("mean")?, read("square")?);
    let optimizer = Optimizer { mean, square, step: progress.step };
    parameters.values = weights;
    Ok((progress, optimizer))
}

/// Steps that have a checkpoint, ascending.
pub fn steps(checkpoints: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(checkpoints) else { return Vec::new() };
    let step = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.strip_prefix("step-")?.parse().ok()
    };
    let mut steps: Vec<u64> = entries.filter_map(step).collect();
    steps.sort_unstable();
    steps
}

/// Removes the oldest beyond `limit`, and what a killed run left half-written; the best stays.
///
/// # Errors
/// Names the folder that cannot be removed.
pub fn rotate(checkpoints: &Path, limit: usize, best: Option<u64>) -> Result<()> {
    let steps = steps(checkpoints);
    let old = steps.len().saturating_sub(limit);
    for step in steps[..old].iter().filter(|step| Some(**step) != best) {
        remove(&place(checkpoints, *step))?;
    }
    remove_unfinished(checkpoints)
}

/// Removes what a killed run left half-written.
///
/// # Errors
/// Names the folder that cannot be removed.
pub fn remove_unfinished(checkpoints: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(checkpoints) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(".step-")) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Where a step's checkpoint lies.
pub fn place(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("step-{step}"))
}

fn remove(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}
