//! A run: its folder has run.json (what runs and how far it is), metrics.jsonl, TensorBoard events, report.html,
//! checkpoints/, and at the end the trained model itself. Decides whether to start, to resume or to refuse.

use crate::checkpoints::{self, Newest, Progress};
use crate::command_clock;
use crate::meter::Meter;
use crate::model_card;
use crate::order::Order;
use crate::run_report;
use crate::settings::{Kept, TrainingSettings};
use crate::time_limit;
use anyhow::{Context, Result, ensure};
use checkpoint::ModelConfig;
use checkpoint::folder::{CheckpointWriter, PreparedCheckpoint};
use checkpoint::weights::Precision;
use files::run_folder::{self, Change, Lock};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use terminal::Stop;
use training::memory::gib;
use training::{ComputeSettings, Device, Learner, Optimizer, Parameters, TrainingState, memory_taken};

mod folder;
mod manifest;
mod metrics;
mod monitor;
mod own;
mod room;
mod saves;
mod saving;
mod strangers;

pub(crate) use folder::RunFolder;
pub(crate) use manifest::{about, data_purposes, now};

use folder::{
    Previous, model_damage, previous_run, refuse_other_command, refuse_own_model, set_aside,
    set_changed_aside,
};
use manifest::{add_to_lineage, keep_history, notes};
use metrics::Metrics;
use saves::Saves;

/// A run in progress.
#[derive(Debug)]
pub(crate) struct Run {
    folder: PathBuf,
    manifest: Map<String, Value>,
    metrics: Metrics,
    /// How far it is.
    pub(crate) progress: Progress,
    meter: Meter,
    /// When the run was started or resumed, and its seconds of training before that.
    clock: (Instant, f64),
    stop: Stop,
    /// What is wrong with the checkpoint that was resumed from, until it is written again.
    damage: Option<String>,
    /// The device whose memory is looked at after the first step.
    measured: Option<Device>,
    /// The entries of the folder, when the run was started, that its model replaces.
    model_files: Vec<String>,
    saves: Saves,
    /// The files of the last checkpoint besides its weights, and what they were made of.
    prepared: Option<(ModelConfig, Precision, Arc<PreparedCheckpoint>)>,
    /// Keeps a second run out of the folder.
    _lock: Lock,
}

impl Run {
    /// Returns whether this very run has finished in the folder, and its model is there and whole. Called before anything
    /// is computed for the run.
    ///
    /// # Errors
    /// When the folder belongs to something else, or to a run with other settings.
    pub(crate) fn has_finished(folder: &RunFolder, about: &Map<String, Value>) -> Result<bool> {
        let out = &folder.out;
        refuse_own_model(out, about)?;
        // What cannot be read is no obstacle to starting over.
        let previous =
            if folder.restart { previous_run(out).unwrap_or_default() } else { previous_run(out)? };
        if let Some(previous) = &previous {
            refuse_other_command(out, previous, about)?;
        }
        let command = about["command"].as_str().unwrap_or_default();
        let refuse_strangers =
            || strangers::refuse_unless_restarted(out, folder.restart, previous.as_ref(), command);
        let Some(before) = previous.as_ref().filter(|_| !folder.restart) else {
            return refuse_strangers().map(|()| false);
        };
        let changes = changes(before, about);
        if !folder.accept_changes {
            run_folder::refuse_changes(out, &changes, true)?;
        }
        if changes.is_empty() && before.has_finished() && model_damage(out, before).is_none() {
            return Ok(true);
        }
        refuse_strangers().map(|()| false)
    }

    /// Starts a run of `total` steps with these weights, or resumes the one in the folder. Returns the run and the state
    /// to train from: that of the last checkpoint, or a new one. Returns nothing if the same run has finished.
    ///
    /// # Errors
    /// When the folder is in use, or belongs to something else or to a run with other settings.
    pub(crate) fn start(
        folder: &RunFolder,
        about: Map<String, Value>,
        mut parameters: Parameters,
        total: u64,
        compute: &ComputeSettings,
    ) -> Result<Option<(Self, TrainingState)>> {
        let out = &folder.out;
        let cannot = || format!("cannot write to `--out {}`", out.display());
        files::atomic::create_folder(out).with_context(cannot)?;
        let command = about["command"].as_str().unwrap_or_default();
        let lock = Lock::acquire_unless(folder.no_lock, out, &format!("posttrain {command}"))?;
        if Self::has_finished(folder, &about)? {
            return Ok(None);
        }
        if folder.restart {
            set_aside(out)?;
        }
        if lock.is_held() {
            // What killed runs left: nobody else writes in this folder.
            files::atomic::remove_abandoned(out, Duration::ZERO)?;
        }
        let mut manifest = about;
        let (Newest { checkpoint, damage, .. }, mut events) = resume(folder, &mut manifest, &mut parameters)?;
        let weights = parameters.values.len();
        let (progress, optimizer) =
            checkpoint.unwrap_or_else(|| (Progress::default(), Optimizer::new(weights)));
        // Weights in 16 bits, as the smallest files are.
        let needed = match progress.step < total {
            true => room::checkpoint_bytes(weights, Precision::Bf16),
            false => room::weights_bytes(weights, Precision::Bf16),
        };
        room::refuse_shortage(out, needed).with_context(|| {
            format!(
                "`--out {}` has no room for a checkpoint; make room, or give another folder",
                out.display()
            )
        })?;
        let model_files = own::model_names(out)?;
        let (metrics, note) = Metrics::open(out, progress.step)?;
        events.extend(note);
        let meter = Meter::new(&parameters, compute, total, progress.step)?;
        manifest.insert("state".into(), "running".into());
        manifest.insert("mfu_convention".into(), meter.convention().into());
        let mut run = Self {
            folder: out.clone(),
            manifest,
            metrics,
            clock: (Instant::now(), progress.seconds),
            progress,
            meter,
            stop: Stop::listen().context("cannot listen to signals")?,
            damage,
            measured: Some(compute.device),
            model_files,
            saves: Saves::new(),
            prepared: None,
            _lock: lock,
        };
        events.iter().for_each(|event| add_to_lineage(&mut run.manifest, event));
        run.write_manifest()?;
        run.print_start(total);
        events.iter().for_each(|event| run.line(&format!("note: {event}")));
        Ok(Some((run, TrainingState { parameters, optimizer })))
    }

    /// Prints a note and adds it to run.json, both only once.
    pub(crate) fn note_once(&mut self, note: &str) {
        let notes = notes(&mut self.manifest);
        if !notes.iter().any(|known| known == note) {
            notes.push(note.into());
            self.meter.line(&format!("note: {note}"));
        }
    }

    /// Takes over the place of an order that [`RunFolder::place`] continued, and says what is to be said of it.
    ///
    /// # Errors
    /// When the run was resumed from another checkpoint than the order was.
    pub(crate) fn take_place(&mut self, order: &Order, note: Option<&str>) -> Result<()> {
        ensure!(
            self.progress.rows.is_none_or(|rows| rows == order.taken(self.progress.step)),
            "the newest checkpoint could not be read, and batches have another size than before; run the same command again to resume from an earlier one"
        );
        self.progress.origin = order.origin();
        if let Some(note) = note {
            add_to_lineage(&mut self.manifest, note);
            self.line(&format!("note: {note}"));
        }
        Ok(())
    }

    /// Counts the rows of a step beside what [`Run::count_step`] counts.
    pub(crate) fn count_rows(&mut self, order: &Order) {
        self.progress.rows = Some(order.taken(self.progress.step));
    }

    /// Counts a step's tokens and its work: `attended` is that of its batches ([`training::Batch::attended`]), `trained` the tokens that went
    /// through the head.
    pub(crate) fn count_step(&mut self, tokens: usize, attended: f64, trained: usize) {
        self.progress.step += 1;
        self.progress.num_tokens += tokens as u64;
        self.progress.seconds = self.clock.1 + self.clock.0.elapsed().as_secs_f64();
        self.meter.step(tokens, attended, trained);
        if let Some(taken) = self.measured.take().and_then(memory_taken) {
            self.record_memory(taken);
        }
        if let Some(passed) = command_clock::take() {
            let seconds = passed.as_secs_f64();
            self.line(&format!("the first step was done {seconds:.1} s after the command was started"));
        }
    }

    /// Prints and records what the first step took of a GPU's memory, beside what was planned.
    fn record_memory(&mut self, taken: u64) {
        let Some(machine) = self.manifest.get_mut("machine") else { return };
        let parts = machine["memory_estimate"].as_object().into_iter().flatten();
        let planned: u64 = parts.filter_map(|(_, bytes)| bytes.as_u64()).sum();
        machine["memory_taken"] = taken.into();
        let (taken, planned) = (gib(taken), gib(planned));
        self.line(&format!("the first step took {taken} GiB of the GPU's memory, {planned} were planned"));
    }

    /// Logs values at the current step to metrics.jsonl and TensorBoard.
    pub(crate) fn log(&mut self, values: &[(&str, f64)]) {
        self.metrics.write(&self.progress, values);
    }

    /// Logs a training step with the speed since the last one, and shows the progress.
    pub(crate) fn log_training(&mut self, values: &[(&str, f64)]) {
        let (tokens_per_second, mfu) = self.meter.rates();
        let mut all = values.to_vec();
        all.extend([("tokens_per_second", tokens_per_second), ("mfu", mfu)]);
        self.log(&all);
        self.meter.show(self.progress.step, values);
    }

    /// Prints a line that stays above the progress bar.
    pub(crate) fn line(&self, text: &str) {
        self.meter.line(text);
    }

    /// Records an evaluation loss; returns whether it is the best so far.
    pub(crate) fn record_evaluation(&mut self, loss: f64) -> bool {
        self.meter.line(&format!("step {}: evaluation loss {loss:.4}", self.progress.step));
        self.meter.start_step();
        let is_best = self.progress.best.is_none_or(|(_, best)| loss < best);
        if is_best {
            self.progress.best = Some((self.progress.step, loss));
        }
        self.progress.stale_evaluations = if is_best { 0 } else { self.progress.stale_evaluations + 1 };
        is_best
    }

    /// Returns whether there are steps left to do, of `total`.
    ///
    /// # Errors
    /// Names what could not be written of the checkpoint that was being saved.
    pub(crate) fn has_steps(&mut self, total: u64, settings: &TrainingSettings) -> Result<bool> {
        let ended = self.saves.ended();
        self.settle(ended)?;
        Ok(self.progress.step < total && !self.is_out_of_patience(settings))
    }

    fn is_out_of_patience(&self, settings: &TrainingSettings) -> bool {
        settings.patience > 0 && self.progress.stale_evaluations >= settings.patience
    }

    /// Returns the exit code with which the run must stop now: that of a signal, or of its time limit.
    pub(crate) fn stop_code(&self, settings: &TrainingSettings) -> Option<u8> {
        let is_over = settings.time_limit.is_reached(self.clock.0.elapsed());
        self.stop.exit_code().or(is_over.then_some(time_limit::EXIT_CODE))
    }

    /// Ends a run that was asked to stop and has saved a checkpoint, from which it can be resumed. Returns the exit code.
    pub(crate) fn stop(mut self, code: u8) -> u8 {
        self.manifest.insert("state".into(), "interrupted".into());
        let written = self.write_manifest();
        self.warn(written);
        self.write_report();
        self.meter.end(&format!(
            "stopped after step {} and saved a checkpoint; run the same command to resume",
            self.progress.step
        ));
        code
    }

    /// Ends a run that did all its steps: writes the model into the run's folder itself.
    ///
    /// # Errors
    /// Names what cannot be written.
    pub(crate) fn finish(
        mut self,
        learner: &mut Learner,
        outgoing: &CheckpointWriter<'_>,
        settings: &TrainingSettings,
    ) -> Result<u8> {
        self.await_earlier()?;
        learner.sync_to_host()?;
        let last = &learner.state().parameters;
        let best = match self.progress.best {
            Some((step, _)) if settings.keep == Kept::Best && step != self.progress.step => {
                Some(checkpoints::load_weights(&self.folder.join("checkpoints"), step, last)?)
            }
            _ => None,
        };
        let is_best = best.is_some();
        let named = best.as_ref().unwrap_or(last).named();
        own::set_new_ones_aside(&self.folder, &self.model_files)?;
        self.manifest.insert(own::WRITES_MODEL.into(), true.into());
        self.write_manifest()?;
        let files = outgoing.write(&self.folder, &named, settings.saved_precision())?.files;
        self.manifest.remove(own::WRITES_MODEL);
        self.manifest.insert("state".into(), "finished".into());
        self.manifest.insert("finished".into(), now().into());
        self.manifest.insert("files".into(), serde_json::to_value(files)?);
        self.write_manifest()?;
        let card = model_card::write(&self.folder, &self.manifest, &outgoing.inherited.license);
        self.warn(card);
        self.write_report();
        let best = self.progress.best.map_or_else(String::new, |(step, loss)| match is_best {
            true => {
                format!("; the result is that of step {step}, whose evaluation loss {loss:.4} is the best")
            }
            false => format!("; the best evaluation loss is {loss:.4}, in checkpoints/step-{step}"),
        });
        if self.is_out_of_patience(settings) {
            let count = self.progress.stale_evaluations;
            self.line(&format!(
                "the last {count} evaluations were no better than the best: the run ends here"
            ));
        }
        self.meter.end(&format!(
            "finished {} steps: the model is in {}, its curves are in {}{best}",
            self.progress.step,
            self.folder.display(),
            self.folder.join("report.html").display()
        ));
        Ok(0)
    }

    fn write_manifest(&mut self) -> Result<()> {
        let text = self.manifest_text()?;
        Ok(files::atomic::write(&self.folder.join("run.json"), text)?)
    }

    /// Returns the text of run.json as of now.
    fn manifest_text(&mut self) -> Result<String> {
        self.manifest.insert("progress".into(), serde_json::to_value(&self.progress)?);
        Ok(format!("{:#}\n", Value::Object(self.manifest.clone())))
    }

    /// The report is for people and can be made again: it ends no run.
    fn write_report(&self) {
        let written = run_report::write(&self.folder);
        self.warn(written);
    }

    fn warn(&self, result: Result<()>) {
        if let Err(error) = result {
            let error = terminal::errors::one_line(&error);
            self.meter.line(&format!("warning: {error}; the training continues"));
        }
    }

    fn print_start(&self, total: u64) {
        let resumed = match self.progress.step {
            0 => String::new(),
            step => format!(", resumed after step {step}"),
        };
        let device = self.manifest["machine"]["device"].as_str().unwrap_or("cpu");
        self.meter.line(&format!("{total} steps on {device}{resumed}; writing to {}", self.folder.display()));
        for note in self.manifest["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.meter.line(&format!("note: {note}"));
        }
    }
}

/// Returns the newest checkpoint of the previous run in the folder, whose weights replace those of `parameters`, and
/// notes on what was damaged; takes over that run's history.
fn resume(
    folder: &RunFolder,
    manifest: &mut Map<String, Value>,
    parameters: &mut Parameters,
) -> Result<(Newest, Vec<String>)> {
    let Some(previous) = previous_run(&folder.out)? else { return Ok((Newest::default(), Vec::new())) };
    let changes = changes(&previous, manifest);
    let checkpoints = folder.out.join("checkpoints");
    checkpoints::remove_unfinished(&checkpoints)?;
    let newest = checkpoints::load_newest(&checkpoints, parameters)?;
    let has_lost =
        newest.checkpoint.is_none() && previous.steps() > 0 && !checkpoints::diverged(&checkpoints);
    ensure!(
        !has_lost,
        "`--out {}` contains a run of {} steps, but no checkpoint of it is left to resume from; give `--restart` to start over (what is in the folder is set aside, not deleted)",
        folder.out.display(),
        previous.steps()
    );
    let progress = newest.checkpoint.as_ref().map(|(progress, _)| progress);
    keep_history(manifest, &previous.manifest, &changes, progress);
    let mut events = Vec::from_iter(previous.note.clone());
    events.extend(newest.unreadable.iter().map(|note| format!("{note}; resuming from an earlier one")));
    if previous.has_finished()
        && let Some(damage) = model_damage(&folder.out, &previous)
    {
        let aside = set_changed_aside(&folder.out, &previous)?;
        let aside =
            aside.map_or(String::new(), |path| format!(", what was changed is in {}", path.display()));
        events
            .push(format!("the model of the finished run is damaged ({damage}); it is written again{aside}"));
    }
    Ok((newest, events))
}

fn changes(previous: &Previous, about: &Map<String, Value>) -> Vec<Change> {
    run_folder::changes(&configuration_before(&previous.manifest, about), &about["configuration"])
}

/// Returns the configuration of the previous run. If the size of micro-batches is automatic now, and is the one that was set
/// before, it is automatic there too: that is no change.
fn configuration_before(previous: &Map<String, Value>, about: &Map<String, Value>) -> Value {
    let key = "micro_batch_tokens";
    let mut before = previous.get("configuration").cloned().unwrap_or_default();
    let size_now = about.get("machine").and_then(|machine| machine.get(key));
    if about["configuration"][key] == "auto" && size_now.is_some() && before.get(key) == size_now {
        before[key] = "auto".into();
    }
    before
}

/// Prints that a run has finished before, and returns its exit code. What it left beside its report, if it was killed
/// after it had finished, is removed; that is no reason to fail.
pub(crate) fn report_finished(folder: &RunFolder) -> u8 {
    if let Ok(lock) = Lock::acquire_unless(folder.no_lock, &folder.out, "posttrain")
        && lock.is_held()
    {
        let _ = files::atomic::remove_abandoned(&folder.out, Duration::ZERO);
    }
    terminal::message!(
        "this run has finished: its model is in {}; give `--restart` to train it again",
        folder.out.display()
    );
    0
}

/// Values with names of their own, as a run logs them.
pub(crate) fn borrowed(values: &[(String, f64)]) -> Vec<(&str, f64)> {
    values.iter().map(|(name, value)| (name.as_str(), *value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_automatic_size_of_micro_batches_that_is_the_one_before_is_no_change() {
        let run = |set: Value, size: u64| {
            let run = json!({"configuration": {"micro_batch_tokens": set}, "machine": {"micro_batch_tokens": size}});
            run.as_object().cloned().unwrap_or_default()
        };
        let changes = |before: Map<String, Value>, now: Map<String, Value>| {
            changes(&Previous { manifest: before, note: None }, &now).len()
        };
        assert_eq!(changes(run(json!(4096), 4096), run(json!("auto"), 4096)), 0);
        assert_eq!(changes(run(json!("auto"), 8192), run(json!("auto"), 4096)), 0);
        assert_eq!(changes(run(json!(4096), 4096), run(json!("auto"), 8192)), 1);
        assert_eq!(changes(run(json!(4096), 4096), run(json!(2048), 2048)), 1);
    }
}
