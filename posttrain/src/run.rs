//! A run's folder: run.json (what ran and how it stands), metrics.jsonl, TensorBoard events, report.html,
//! checkpoints/, and at the end the trained model itself. Knows whether to begin, to resume or to refuse.

use crate::checkpoints::{self, Progress};
use crate::learner::Learner;
use crate::meter::Meter;
use crate::model::Parameters;
use crate::optimizer::Optimizer;
use crate::recipe::Training;
use crate::report;
use crate::tensorboard::Events;
use anyhow::{Context, Result};
use kernels::Element;
use serde_json::{Map, Value, json};
use smollm::checkpoint::Outgoing;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

mod folder;

use folder::{
    changes, clear, earlier, keep_history, lock, notes, open_metrics, refuse_changes, refuse_other_command,
    refuse_own_model, write_whole,
};

/// Where a run writes, and what it does where one stands already.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// The run's folder; the same command again resumes an unfinished run
    #[arg(long)]
    pub out: PathBuf,
    /// Begin anew, whatever the folder's run holds
    #[arg(long)]
    pub restart: bool,
    /// Resume although settings or data changed; run.json keeps what changed and when
    #[arg(long)]
    pub accept_changes: bool,
}

/// A run that goes on.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    manifest: Map<String, Value>,
    metrics: File,
    events: Events,
    /// Where it stands.
    pub progress: Progress,
    meter: Meter,
    /// When this part of the run began, and the seconds before it.
    clock: (Instant, f64),
    interrupted: Arc<AtomicUsize>,
    /// Held while the run goes on, so that no second one writes here.
    _lock: File,
}

/// How a command finds the folder.
#[derive(Debug)]
pub enum Begun {
    /// Train; the optimizer is that of the last checkpoint, or new.
    Train(Box<Run>, Optimizer),
    /// The same run has finished here already.
    Finished,
}

impl Run {
    /// Looks at the folder before anything is computed for it: whether this very run has finished there.
    ///
    /// # Errors
    /// When the folder is somebody else's, or holds a run of another configuration.
    pub fn look(place: &Place, about: &Map<String, Value>) -> Result<bool> {
        let folder = &place.out;
        refuse_own_model(folder, about)?;
        refuse_other_command(folder, about)?;
        if place.restart {
            return Ok(false);
        }
        let Some(earlier) = earlier(folder)? else { return Ok(false) };
        let changes = changes(&earlier["configuration"], &about["configuration"]);
        refuse_changes(folder, &changes, place.accept_changes)?;
        Ok(changes.is_empty() && earlier.get("state") == Some(&json!("finished")))
    }

    /// Begins a run of `total` steps, or resumes the one that stands in the folder: its weights are then put into
    /// `parameters`.
    ///
    /// # Errors
    /// When the folder is somebody else's, in use, or holds a run of another configuration.
    pub fn begin(
        place: &Place,
        about: Map<String, Value>,
        parameters: &mut Parameters,
        total: u64,
        training: &Training,
    ) -> Result<Begun> {
        let folder = &place.out;
        let cannot = || format!("cannot write to --out {}", folder.display());
        std::fs::create_dir_all(folder).with_context(cannot)?;
        let lock = lock(folder)?;
        if Self::look(place, &about)? {
            return Ok(Begun::Finished);
        }
        if place.restart {
            clear(folder)?;
        }
        let earlier = earlier(folder)?;
        let mut manifest = about;
        let mut resumed = None;
        if let Some(earlier) = &earlier {
            let changes = changes(&earlier["configuration"], &manifest["configuration"]);
            let checkpoints = folder.join("checkpoints");
            checkpoints::remove_unfinished(&checkpoints)?;
            let checkpoints::Newest { found, unreadable } =
                checkpoints::load_newest(&checkpoints, parameters)?;
            keep_history(&mut manifest, earlier, &changes, found.as_ref().map(|(found, _)| found));
            notes(&mut manifest).extend(unreadable.into_iter().map(Value::from));
            resumed = found;
        }
        let weights = parameters.values.len();
        let (progress, optimizer) = resumed.unwrap_or_else(|| (Progress::default(), Optimizer::new(weights)));
        let metrics = open_metrics(folder, progress.step)?;
        let meter = Meter::new(&parameters.config, training, total, progress.step)?;
        manifest.insert("state".into(), "running".into());
        manifest.insert("mfu_convention".into(), meter.convention().into());
        let mut run = Self {
            folder: folder.clone(),
            manifest,
            metrics,
            events: Events::create(&folder.join("tensorboard"), progress.step)?,
            clock: (Instant::now(), progress.seconds),
            progress,
            meter,
            interrupted: interrupts()?,
            _lock: lock,
        };
        run.write_manifest()?;
        run.tell(total);
        Ok(Begun::Train(Box::new(run), optimizer))
    }

    /// Says something that should not be missed, and keeps it in run.json; once, however often it is said.
    pub fn note_once(&mut self, note: &str) {
        let known = notes(&mut self.manifest);
        if !known.iter().any(|said| said == note) {
            known.push(note.into());
            self.meter.line(&format!("note: {note}"));
        }
    }

    /// Counts a step's tokens and the work they took: `attended` is Σ length² of its sequences, `trained` how many
    /// went through the head.
    pub fn step_done(&mut self, tokens: usize, attended: f64, trained: usize) {
        self.progress.step += 1;
        self.progress.num_tokens += tokens as u64;
        self.progress.seconds = self.clock.1 + self.clock.0.elapsed().as_secs_f64();
        self.meter.step(tokens, attended, trained);
    }

    /// Logs numbers at the present step: metrics.jsonl, TensorBoard, the progress line.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn log(&mut self, values: &[(&str, f64)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), self.progress.step.into());
        for (name, value) in values {
            line.insert((*name).to_owned(), json!(value));
        }
        line.insert("num_tokens".into(), self.progress.num_tokens.into());
        line.insert("seconds".into(), json!((self.progress.seconds * 1e3).round() / 1e3));
        // In one piece, so that a kill tears at most nothing.
        self.metrics
            .write_all(format!("{}\n", Value::Object(line)).as_bytes())
            .with_context(|| format!("cannot write {}", self.folder.join("metrics.jsonl").display()))?;
        let tagged: Vec<(String, f64)> = values.iter().map(|(name, value)| (tag(name), *value)).collect();
        let tagged: Vec<(&str, f64)> = tagged.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
        self.events.scalars(self.progress.step, &tagged)
    }

    /// Logs a training step with the speed since the last one, and shows it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log_training(&mut self, values: &[(&str, f64)]) -> Result<()> {
        let (tokens_per_second, mfu) = self.meter.rates();
        let mut all = values.to_vec();
        all.extend([("tokens_per_second", tokens_per_second), ("mfu", mfu)]);
        self.log(&all)?;
        self.meter.show(self.progress.step, values);
        Ok(())
    }

    /// Shows a line above the progress.
    pub fn line(&self, text: &str) {
        self.meter.line(text);
    }

    /// Remembers an evaluation; whether it is the best so far.
    pub fn evaluated(&mut self, loss: f64) -> bool {
        self.meter.line(&format!("step {}: evaluation loss {loss:.4}", self.progress.step));
        self.meter.go_on();
        let better = self.progress.best.is_none_or(|(_, best)| loss < best);
        if better {
            self.progress.best = Some((self.progress.step, loss));
        }
        better
    }

    /// Saves a checkpoint of the present step, drops those beyond the limit, and writes the report.
    ///
    /// # Errors
    /// Names what cannot be written; earlier checkpoints still stand.
    pub fn save<E: Element>(
        &mut self,
        learner: &mut Learner<E>,
        outgoing: &Outgoing<'_>,
        training: &Training,
    ) -> Result<()> {
        learner.bring_home()?;
        let checkpoints = self.folder.join("checkpoints");
        refuse_odd_weights(&learner.parameters, self.progress.step)?;
        let (parameters, optimizer) = (&learner.parameters, &learner.optimizer);
        self.metrics.sync_data().context("cannot write metrics.jsonl")?;
        checkpoints::save(&checkpoints, outgoing, parameters, optimizer, &self.progress, training.saved())?;
        let best = self.progress.best.map(|(step, _)| step);
        checkpoints::rotate(&checkpoints, training.save_total_limit, best)?;
        self.write_manifest()?;
        report::write(&self.folder)?;
        self.meter.go_on();
        Ok(())
    }

    /// What to say of a step that came to nothing; a checkpoint that leads straight to it is set aside, so that
    /// resuming does not run into it again.
    pub fn diverged(&self, error: anyhow::Error) -> anyhow::Error {
        let step = self.progress.step;
        let place = checkpoints::place(&self.folder.join("checkpoints"), step);
        let aside = place.with_file_name(format!("diverged-step-{step}"));
        match place.is_dir().then(|| std::fs::rename(&place, &aside)) {
            Some(Ok(())) => error.context(format!("{} is set aside as {}", place.display(), aside.display())),
            _ => error,
        }
    }

    /// The signal that asked the run to stop, as an exit code.
    pub fn interrupted(&self) -> Option<u8> {
        match self.interrupted.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(128 + signal as u8),
        }
    }

    /// Ends a run that was asked to stop; it can be resumed.
    ///
    /// # Errors
    /// When run.json or the report cannot be written.
    pub fn stop(mut self, code: u8) -> Result<u8> {
        self.manifest.insert("state".into(), "interrupted".into());
        self.write_manifest()?;
        report::write(&self.folder)?;
        self.meter.end(&format!(
            "stopped after step {}, which is saved; the same command goes on from there",
            self.progress.step
        ));
        Ok(code)
    }

    /// Ends a run that did all its steps: the model is written into the run's folder itself.
    ///
    /// # Errors
    /// Names what cannot be written.
    pub fn finish<E: Element>(
        mut self,
        learner: &mut Learner<E>,
        outgoing: &Outgoing<'_>,
        training: &Training,
    ) -> Result<u8> {
        learner.bring_home()?;
        outgoing.write(&self.folder, &learner.parameters.named(), training.saved())?;
        self.manifest.insert("state".into(), "finished".into());
        self.manifest.insert("finished".into(), now().into());
        self.write_manifest()?;
        report::write(&self.folder)?;
        let best = self.progress.best.map_or_else(String::new, |(step, loss)| {
            format!("; best evaluation {loss:.4} in checkpoints/step-{step}")
        });
        self.meter.end(&format!(
            "{} steps done: the model is {}, its curves {}{best}",
            self.progress.step,
            self.folder.display(),
            self.folder.join("report.html").display()
        ));
        Ok(0)
    }

    fn write_manifest(&mut self) -> Result<()> {
        self.manifest.insert("progress".into(), serde_json::to_value(&self.progress)?);
        write_whole(&self.folder.join("run.json"), &format!("{:#}\n", Value::Object(self.manifest.clone())))
    }

    fn tell(&self, total: u64) {
        let begins = match self.progress.step {
            0 => String::new(),
            step => format!(", resumed after step {step}"),
        };
        let device = self.manifest["machine"]["device"].as_str().unwrap_or("cpu");
        self.meter.line(&format!("{total} steps on {device}{begins}; writing to {}", self.folder.display()));
        for note in self.manifest["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            self.meter.line(&format!("note: {note}"));
        }
    }
}

/// A run's entries of run.json that every command has.
pub fn about(
    command: &str,
    model: &str,
    data: &Value,
    configuration: &Value,
    said: &[String],
) -> Map<String, Value> {
    let entries = json!({
        "command": command,
        "state": "running",
        "model": model,
        "data": data,
        "started": now(),
        "configuration": configuration,
        "notes": said,
        "machine": {
            "version": env!("CARGO_PKG_VERSION"),
            "kernels": format!("{:?}", kernels::path()).to_lowercase(),
            "threads": rayon::current_num_threads(),
        },
    });
    entries.as_object().cloned().unwrap_or_default()
}

/// Weights that are no numbers are never saved.
fn refuse_odd_weights(parameters: &Parameters, step: u64) -> Result<()> {
    let odd = parameters.values.iter().filter(|weight| !weight.is_finite()).count();
    anyhow::ensure!(
        odd == 0,
        "{odd} weights are not finite after step {step}: not saved, earlier checkpoints still stand; lower learning_rate"
    );
    Ok(())
}

/// Data files, and what they are used for.
pub fn used(train: &[PathBuf], eval: &[PathBuf]) -> Value {
    let entry = |path: &PathBuf, purpose: &str| (path.display().to_string(), json!(purpose));
    let train = train.iter().map(|path| entry(path, "train"));
    Value::Object(train.chain(eval.iter().map(|path| entry(path, "eval"))).collect())
}

/// Steps between two events: what was asked for, or a tenth of the run.
pub fn interval(asked: u64, total: u64) -> u64 {
    if asked > 0 { asked } else { total.div_ceil(10).max(1) }
}

fn now() -> String {
    chrono::Local::now().format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// Losses and what else TensorBoard groups by what stands before the slash.
fn tag(name: &str) -> String {
    match name.strip_prefix("eval_") {
        Some(name) => format!("eval/{name}"),
        None if name.contains('/') => name.to_owned(),
        None => format!("train/{name}"),
    }
}

/// A number that becomes the signal's when Ctrl-C or SIGTERM arrives; a second Ctrl-C ends the process at once.
fn interrupts() -> Result<Arc<AtomicUsize>> {
    let asked = Arc::new(AtomicUsize::new(0));
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let again = Arc::new(std::sync::atomic::AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            signal_hook::flag::register(signal, Arc::clone(&again))?;
            signal_hook::flag::register_usize(signal, Arc::clone(&asked), signal as usize)?;
        }
    }
    Ok(asked)
}
