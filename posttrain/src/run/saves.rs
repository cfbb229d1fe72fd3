//! Checkpoints that are written while the training continues. A thread writes from the state as it was at a step, which is
//! copied only when the next update comes before all of it is written ([`training::Values`]); one is written at a time, so
//! that no more than one copy of weights and moments exists.
//!
//! How often: what `save_steps` names is always saved. Its default names ten steps of a run, and a step is passed over while
//! saving would take more than a tenth of the time, or the one before is still being written. The last step, the best
//! evaluation and a run that is stopped are always saved.

use crate::checkpoints::{self, Progress};
use crate::run_report;
use anyhow::{Context, Result, ensure};
use checkpoint::folder::PreparedCheckpoint;
use serde_json::{Map, Value};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use training::{Parameters, TrainingState, Values};

#[cfg(test)]
mod tests;

/// The share of a run that saving may take by default.
const SHARE: f64 = 0.1;
/// What is taken for the speed of saving before it was measured, in bytes a second: that of a plain disk.
const ASSUMED_SPEED: f64 = 5e8;
/// The share of the free memory that a copy may take.
const MEMORY_SHARE: f64 = 0.5;
/// Bytes of a checkpoint for each weight: f32 weights and moments, and the model itself.
const BYTES_OF_WEIGHT: usize = 14;

/// What a thread writes.
pub(super) struct Save {
    /// The run's folder.
    pub(super) folder: PathBuf,
    pub(super) prepared: Arc<PreparedCheckpoint>,
    pub(super) state: TrainingState,
    pub(super) progress: Progress,
    /// run.json as the checkpoint contains it.
    pub(super) recorded: Map<String, Value>,
    /// The text of run.json once the checkpoint is durable.
    pub(super) manifest: String,
    /// metrics.jsonl, whose lines precede the checkpoint.
    pub(super) metrics: Option<File>,
    /// Checkpoints that are kept beside the best.
    pub(super) limit: usize,
}

/// What is only reported: warnings.
pub(super) type Warnings = Vec<String>;

/// The saves of a run in this process.
#[derive(Debug)]
pub(super) struct Saves {
    start: Instant,
    under_way: Option<JoinHandle<(Duration, Result<Warnings>)>>,
    /// What all saves took so far, and the last one.
    total: Duration,
    last: Option<Duration>,
}

impl Saves {
    /// Starts the clock of the run.
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), under_way: None, total: Duration::ZERO, last: None }
    }

    /// Returns whether saving now would keep all saves of the run, each as long as the last one, within their share.
    pub(super) fn has_time(&self, weights: usize) -> bool {
        let assumed = || Duration::from_secs_f64((BYTES_OF_WEIGHT * weights) as f64 / ASSUMED_SPEED);
        let expected = self.total + self.last.unwrap_or_else(assumed);
        let is_idle = self.under_way.as_ref().is_none_or(JoinHandle::is_finished);
        is_idle && expected.as_secs_f64() <= SHARE * self.start.elapsed().as_secs_f64()
    }

    /// Starts to write. The one before must have ended.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(&mut self, save: Save) -> Result<()> {
        let work = move || {
            let start = Instant::now();
            let written = write(save);
            (start.elapsed(), written)
        };
        let thread = Builder::new().name("checkpoint".to_owned()).spawn(work);
        let thread = thread.context("cannot start the thread that writes a checkpoint")?;
        self.under_way = Some(thread);
        Ok(())
    }

    /// Returns the warnings of a save that has ended, if one has.
    ///
    /// # Errors
    /// Those of the save.
    pub(super) fn ended(&mut self) -> Result<Warnings> {
        match &self.under_way {
            Some(thread) if thread.is_finished() => self.wait(),
            _ => Ok(Warnings::new()),
        }
    }

    /// Waits until what is being written is durable, and returns its warnings.
    ///
    /// # Errors
    /// Those of the save.
    pub(super) fn wait(&mut self) -> Result<Warnings> {
        let Some(thread) = self.under_way.take() else { return Ok(Warnings::new()) };
        let (took, written) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.total += took;
        self.last = Some(took);
        written
    }
}

impl Drop for Saves {
    /// A run that ends by an error keeps the checkpoint that is being written.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        match self.wait() {
            Ok(warnings) => warnings.iter().for_each(|warning| terminal::message!("warning: {warning}")),
            Err(error) => terminal::message!("warning: {}", terminal::errors::one_line(&error)),
        }
    }
}

/// Returns the bytes that are taken if an update comes before weights and moments are written: none where the memory of an
/// earlier copy was kept.
pub(super) fn copied_bytes(state: &TrainingState) -> usize {
    let TrainingState { parameters, optimizer } = state;
    let all = [&parameters.values, &optimizer.mean, &optimizer.square];
    let bytes = |values: &&Values| if values.has_spare() { 0 } else { size_of_val(&values[..]) };
    all.iter().map(bytes).sum()
}

/// Returns whether a copy of this many bytes would take more of the free memory than it may, as far as that is known.
pub(super) fn is_too_large(bytes: usize, free: Option<usize>) -> bool {
    free.is_some_and(|free| bytes as f64 > MEMORY_SHARE * free as f64)
}

/// Refuses to save weights that are not finite.
pub(super) fn refuse_nan_weights(parameters: &Parameters, step: u64) -> Result<()> {
    let count = parameters.values.iter().filter(|weight| !weight.is_finite()).count();
    ensure!(
        count == 0,
        "{count} weights are not finite after step {step}, so no checkpoint was saved; lower `learning_rate` (earlier checkpoints are kept)"
    );
    Ok(())
}

/// Writes the checkpoint, removes those beyond the limit, and writes run.json and the report.
///
/// # Errors
/// Names what cannot be written; earlier checkpoints are kept.
fn write(save: Save) -> Result<Warnings> {
    let Save { folder, prepared, state, progress, recorded, manifest, metrics, limit } = save;
    refuse_nan_weights(&state.parameters, progress.step)?;
    let mut warnings = Warnings::new();
    let mut warn = |result: Result<()>| {
        let warning = |error| format!("{}; the training continues", terminal::errors::one_line(&error));
        warnings.extend(result.map_err(warning).err());
    };
    if let Some(file) = metrics {
        let path = folder.join("metrics.jsonl");
        warn(file.sync_data().with_context(|| format!("cannot write {}", path.display())));
    }
    let checkpoints = folder.join("checkpoints");
    let best = progress.best.map(|(step, _)| step);
    checkpoints::save(&checkpoints, &prepared, state, &progress, &recorded)?;
    checkpoints::rotate(&checkpoints, limit, best)?;
    // The checkpoint has all that resuming needs.
    warn(files::atomic::write(&folder.join("run.json"), manifest).map_err(anyhow::Error::from));
    warn(run_report::write(&folder));
    Ok(warnings)
}
