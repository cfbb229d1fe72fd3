//! The metrics of a run: metrics.jsonl and TensorBoard events. They are for people, so what cannot be written is reported
//! once, and the training continues.

use crate::checkpoints::Progress;
use crate::tensorboard::Events;
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The key that a scoring of benchmark tasks always has: how long it took.
pub(super) const SCORING_SECONDS: &str = "benchmark_seconds";

/// The files that metrics are written to.
#[derive(Debug)]
pub(super) struct Metrics {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in `file`.
    length: u64,
    has_failed: bool,
    /// The last step that earlier processes scored benchmark tasks at.
    scored: Option<u64>,
    /// `None` after they could not be written.
    events: Option<Events>,
}

impl Metrics {
    /// Opens both files for a run of which `step` steps are done. Lines of later steps are removed: they will be
    /// repeated. Also returns a note if lines of earlier steps are missing.
    ///
    /// # Errors
    /// When metrics.jsonl cannot be written.
    pub(super) fn open(folder: &Path, step: u64) -> Result<(Self, Option<String>)> {
        let path = folder.join("metrics.jsonl");
        // Not text: a disk may have left anything.
        let bytes = if path.is_file() { std::fs::read(&path).unwrap_or_default() } else { Vec::new() };
        let step_of = |line: &&[u8]| serde_json::from_slice::<Value>(line).ok()?["step"].as_u64();
        let kept: Vec<&[u8]> = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| step_of(line).is_some_and(|line_step| line_step <= step && step > 0))
            .collect();
        let text: Vec<u8> =
            kept.iter().flat_map(|line| [line, b"\n".as_slice()]).flatten().copied().collect();
        if path.is_file() {
            files::atomic::write(&path, &text)?;
        }
        // A checkpoint is always preceded by a line of its step.
        let last = kept.last().and_then(step_of).unwrap_or_default();
        let note = (last < step).then(|| {
            format!(
                "{} has no lines of the steps {} to {step}; its curves have a gap",
                path.display(),
                last + 1
            )
        });
        let is_scored = |line: &&[u8]| {
            serde_json::from_slice::<Value>(line).is_ok_and(|line| line.get(SCORING_SECONDS).is_some())
        };
        let scored = kept.iter().rfind(|line| is_scored(line)).and_then(step_of);
        let file = files::owned::append(&path)?;
        let events = Events::create(&folder.join("tensorboard"), step);
        let events = events.map_err(|error| warn_events(&error)).ok();
        Ok((Self { path, file, length: text.len() as u64, has_failed: false, scored, events }, note))
    }

    /// Whether an earlier process has scored benchmark tasks at a step.
    pub(super) fn has_scores(&self, step: u64) -> bool {
        self.scored == Some(step)
    }

    /// Writes values at the current step.
    pub(super) fn write(&mut self, progress: &Progress, values: &[(&str, f64)]) {
        let mut line = Map::new();
        line.insert("step".into(), progress.step.into());
        for (name, value) in values {
            line.insert((*name).to_owned(), json!(value));
        }
        line.insert("num_tokens".into(), progress.num_tokens.into());
        line.insert("seconds".into(), json!((progress.seconds * 1e3).round() / 1e3));
        // One write, so that a killed run leaves no partial line.
        let line = format!("{}\n", Value::Object(line));
        match self.file.write_all(line.as_bytes()) {
            Ok(()) => self.length += line.len() as u64,
            Err(error) => {
                // The next line must not be joined to a part of this one; a reader skips it where this fails, too.
                let _ = self.file.set_len(self.length);
                self.warn(&error);
            }
        }
        let tagged: Vec<(String, f64)> = values.iter().map(|(name, value)| (tag(name), *value)).collect();
        let tagged: Vec<(&str, f64)> = tagged.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
        let written = self.events.as_mut().map(|events| events.scalars(progress.step, &tagged));
        if let Some(Err(error)) = written {
            warn_events(&error);
            self.events = None;
        }
    }

    /// Returns metrics.jsonl, to be synced. If it was removed while the run wrote it, its lines are gone: a new one begins.
    pub(super) fn file(&mut self) -> Option<File> {
        if !self.path.is_file() {
            let path = self.path.display();
            terminal::message!(
                "warning: {path} was removed while this run was writing it; the training continues, earlier metrics are lost"
            );
            let folder = self.path.parent().unwrap_or(Path::new("."));
            let opened = files::atomic::create_folder(folder).and_then(|()| files::owned::append(&self.path));
            match opened {
                Ok(file) => (self.file, self.length) = (file, 0),
                Err(error) => self.warn(&error),
            }
        }
        self.file.try_clone().map_err(|error| self.warn(&error)).ok()
    }

    fn warn(&mut self, error: &dyn std::error::Error) {
        if !self.has_failed {
            let path = self.path.display();
            terminal::message!(
                "warning: cannot write {path}: {error}; the training continues, its curves have gaps"
            );
        }
        self.has_failed = true;
    }
}

fn warn_events(error: &anyhow::Error) {
    let error = terminal::errors::one_line(error);
    terminal::message!("warning: {error}; the training continues without TensorBoard events");
}

/// Returns a metric's name in TensorBoard, which groups by the part before the slash.
fn tag(name: &str) -> String {
    match name.strip_prefix("eval_") {
        Some(name) => format!("eval/{name}"),
        None if name.contains('/') => name.to_owned(),
        None => format!("train/{name}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_removed_file_begins_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut metrics, _) = Metrics::open(folder.path(), 0).unwrap();
        metrics.write(&at(1), &[("loss", 0.5)]);
        std::fs::remove_dir_all(folder.path()).unwrap();
        metrics.file().unwrap().sync_data().unwrap();
        metrics.write(&at(2), &[("loss", 0.25)]);
        let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        assert!(text.starts_with("{\"step\":2,") && text.lines().count() == 1, "{text}");
    }

    fn at(step: u64) -> Progress {
        Progress { step, ..Progress::default() }
    }

    /// Bytes that are no text, a line of zeros, a torn line and lines of later steps are dropped, and gaps are reported.
    #[test]
    fn a_damaged_file_loses_its_damaged_lines_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let lines =
            [b"{\"step\":1}\n".as_slice(), b"\xff\xfe\n\0\0\0\n", b"{\"step\":2}\n{\"step\":5}\n{\"st"];
        std::fs::write(&path, lines.concat()).unwrap();
        let (mut metrics, note) = Metrics::open(folder.path(), 2).unwrap();
        assert_eq!(note, None);
        metrics.write(&at(3), &[("loss", 0.5)]);
        let text = std::fs::read_to_string(&path).unwrap();
        let expected =
            "{\"step\":1}\n{\"step\":2}\n{\"step\":3,\"loss\":0.5,\"num_tokens\":0,\"seconds\":0.0}\n";
        assert_eq!(text, expected);
        let (_, note) = Metrics::open(folder.path(), 9).unwrap();
        assert!(note.unwrap().contains("no lines of the steps 4 to 9"));
    }

    /// What a signal stopped is scored when the run resumes; what was scored is not scored again.
    #[test]
    fn the_last_scored_step_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let lines = "{\"step\":2,\"benchmark_seconds\":1.5}\n{\"step\":3,\"loss\":1.0}\n{\"step\":4,\"benchmark_seconds\":2}\n";
        std::fs::write(folder.path().join("metrics.jsonl"), lines).unwrap();
        let (metrics, _) = Metrics::open(folder.path(), 4).unwrap();
        assert!(metrics.has_scores(4));
        let (metrics, _) = Metrics::open(folder.path(), 3).unwrap();
        assert!(metrics.has_scores(2) && !metrics.has_scores(3) && !metrics.has_scores(4));
    }

    /// TensorBoard's folder is a file: no reason not to train.
    #[test]
    fn events_that_cannot_be_written_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tensorboard"), "").unwrap();
        let (mut metrics, _) = Metrics::open(folder.path(), 0).unwrap();
        assert!(metrics.events.is_none());
        metrics.write(&at(1), &[("loss", 0.5)]);
        metrics.file().unwrap().sync_data().unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap().lines().count(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_does_not_end_the_training() {
        let folder = tempfile::tempdir().unwrap();
        let (mut metrics, _) = Metrics::open(folder.path(), 0).unwrap();
        metrics.file = File::options().write(true).open("/dev/full").unwrap();
        metrics.events = None;
        metrics.write(&at(1), &[("loss", 0.5)]);
        metrics.write(&at(2), &[("loss", 0.5)]);
        assert!(metrics.has_failed && metrics.length == 0);
    }
}
