//! The metrics of a run: metrics.jsonl and TensorBoard events.

use crate::checkpoints::Progress;
use crate::tensorboard::Events;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The files that metrics are written to.
#[derive(Debug)]
pub(super) struct Metrics {
    path: PathBuf,
    file: File,
    events: Events,
}

impl Metrics {
    /// Opens both files for a run of which `step` steps are done. Lines of later steps are removed: they will be
    /// repeated.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub(super) fn open(folder: &Path, step: u64) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let cannot = || format!("cannot write {}", path.display());
        if path.is_file() {
            let text = std::fs::read_to_string(&path).with_context(cannot)?;
            let step_of = |line: &str| serde_json::from_str::<Value>(line).ok()?["step"].as_u64();
            let kept: String = text
                .lines()
                .filter(|line| step_of(line).is_some_and(|line_step| line_step <= step && step > 0))
                .map(|line| format!("{line}\n"))
                .collect();
            files::atomic::write(&path, kept)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path).with_context(cannot)?;
        let events = Events::create(&folder.join("tensorboard"), step)?;
        Ok(Self { path, file, events })
    }

    /// Writes values at the current step.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub(super) fn write(&mut self, progress: &Progress, values: &[(&str, f64)]) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), progress.step.into());
        for (name, value) in values {
            line.insert((*name).to_owned(), json!(value));
        }
        line.insert("num_tokens".into(), progress.num_tokens.into());
        line.insert("seconds".into(), json!((progress.seconds * 1e3).round() / 1e3));
        // One write, so that a killed run leaves no partial line.
        self.file
            .write_all(format!("{}\n", Value::Object(line)).as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        let tagged: Vec<(String, f64)> = values.iter().map(|(name, value)| (tag(name), *value)).collect();
        let tagged: Vec<(&str, f64)> = tagged.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
        self.events.scalars(progress.step, &tagged)
    }

    /// Waits until metrics.jsonl is on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Returns a metric's name in TensorBoard, which groups by the part before the slash.
fn tag(name: &str) -> String {
    match name.strip_prefix("eval_") {
        Some(name) => format!("eval/{name}"),
        None if name.contains('/') => name.to_owned(),
        None => format!("train/{name}"),
    }
}
