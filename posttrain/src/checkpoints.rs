//! A run's checkpoints: `checkpoints/step-N/` is a complete Hugging Face checkpoint, together with what resuming needs
//! (f32 weights, both moments, the step). A folder is written beside its name and renamed, so it is complete or absent.

use anyhow::{Context, Result, ensure};
use checkpoint::folder::CheckpointWriter;
use checkpoint::weights::{self, Precision};
use files::atomic::NewFolder;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use training::{Optimizer, Parameters, TrainingState};

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: u64,
    /// Tokens that went through the model, including those that are not trained.
    pub(crate) num_tokens: u64,
    /// Seconds of training, including those before the last resume.
    pub(crate) seconds: f64,
    /// Step and loss of the best evaluation so far.
    pub(crate) best: Option<(u64, f64)>,
    /// How far pretraining has read its sources.
    #[serde(default, rename = "drawn")]
    pub(crate) mixture: MixtureState,
}

/// How far pretraining has read its sources.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MixtureState {
    /// Tokens taken from each source since the run started.
    pub(crate) tokens: BTreeMap<String, u64>,
    /// Sequences taken from each source since the mixture last changed.
    pub(crate) sequences: BTreeMap<String, u64>,
    /// The weights of the mixture.
    pub(crate) weights: BTreeMap<String, f64>,
}

/// Writes `step-N` into the folder of checkpoints, completely or not at all.
///
/// # Errors
/// Names what cannot be written; earlier checkpoints are kept.
pub(crate) fn save(
    checkpoints: &Path,
    outgoing: &CheckpointWriter<'_>,
    state: &TrainingState,
    progress: &Progress,
    precision: Precision,
) -> Result<()> {
    let folder = folder_of(checkpoints, progress.step);
    let cannot = || format!("cannot write the checkpoint {}; earlier ones are kept", folder.display());
    if folder.is_dir() {
        return Ok(());
    }
    let new = NewFolder::create(&folder).with_context(cannot)?;
    let TrainingState { parameters, optimizer } = state;
    outgoing.write(new.path(), &parameters.named(), precision).with_context(cannot)?;
    let flat = |name: &str, values| (name.to_owned(), vec![parameters.values.len()], values);
    let tensors = [
        flat("weights", parameters.values.as_slice()),
        flat("mean", optimizer.mean.as_slice()),
        flat("square", optimizer.square.as_slice()),
    ];
    weights::write(&new.path().join("training_state.safetensors"), &tensors, Precision::F32)
        .with_context(cannot)?;
    let text = serde_json::to_string_pretty(progress)?;
    std::fs::write(new.path().join("training_state.json"), text).with_context(cannot)?;
    new.commit().with_context(cannot)
}

/// Where to resume.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// The newest checkpoint that can be read, if there is one.
    pub(crate) checkpoint: Option<(Progress, Optimizer)>,
    /// A note on each newer one that cannot be read.
    pub(crate) unreadable: Vec<String>,
}

/// Loads the newest checkpoint that can be read; its weights replace those of `parameters`.
///
/// # Errors
/// When there are checkpoints and none can be read.
pub(crate) fn load_newest(checkpoints: &Path, parameters: &mut Parameters) -> Result<Newest> {
    let mut unreadable = Vec::new();
    let mut steps = steps(checkpoints);
    while let Some(step) = steps.pop() {
        let folder = folder_of(checkpoints, step);
        match load(&folder, parameters) {
            Ok(checkpoint) => return Ok(Newest { checkpoint: Some(checkpoint), unreadable }),
            Err(error) => {
                unreadable.push(format!("{} cannot be read ({error:#})", folder.display()));
                // The name is needed again when the run reaches this step.
                let renamed = folder.with_file_name(format!("unreadable-step-{step}"));
                std::fs::rename(&folder, &renamed)
                    .with_context(|| format!("cannot rename {}", folder.display()))?;
            }
        }
    }
    ensure!(
        unreadable.is_empty(),
        "{}; no checkpoint is left to resume from; give `--restart` to start over",
        unreadable.join("; ")
    );
    Ok(Newest::default())
}

fn load(folder: &Path, parameters: &mut Parameters) -> Result<(Progress, Optimizer)> {
    let progress: Progress = serde_json::from_slice(&std::fs::read(folder.join("training_state.json"))?)?;
    let path = folder.join("training_state.safetensors");
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // SAFETY: a checkpoint never changes once it has its name.
    let map = unsafe { memmap2::Mmap::map(&file) }?;
    let state = SafeTensors::deserialize(&map).context("training_state.safetensors is incomplete")?;
    let read = |name: &str| -> Result<Vec<f32>> {
        let tensor = state.tensor(name)?;
        let values: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let expected = parameters.layout.len();
        ensure!(values.len() == expected, "{name} has {} values, the model {expected}", values.len());
        Ok(values)
    };
    let (weights, mean, square) = (read("weights")?, read("mean")?, read("square")?);
    let optimizer = Optimizer { mean, square, step: progress.step };
    parameters.values = weights;
    Ok((progress, optimizer))
}

/// Returns the steps that have a checkpoint, ascending.
pub fn steps(checkpoints: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(checkpoints) else { return Vec::new() };
    let step = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.strip_prefix("step-")?.parse().ok()
    };
    let mut steps: Vec<u64> = entries.filter_map(step).collect();
    steps.sort_unstable();
    steps
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
    // However young: the run's lock keeps everybody else out of its folder.
    Ok(files::atomic::remove_abandoned(checkpoints, Duration::ZERO)?)
}

/// Returns the folder of a step's checkpoint.
pub(crate) fn folder_of(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("step-{step}"))
}

fn remove(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}
