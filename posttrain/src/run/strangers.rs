//! What in a run's folder is not the run's: the user's files there are neither replaced nor written through. A folder without
//! a run must be empty, as for the other commands; beside a run everything may be whose name the run does not use.

use super::folder::{Previous, RunFolder, is_run, previous_run};
use super::own::{FOLDERS, MODEL, WORKING, WRITES_MODEL, is_of_model, names};
use anyhow::{Result, anyhow};
use files::manifest::FILE_NAME as LIST;
use files::owned;
use serde_json::{Map, Value};
use std::path::Path;

/// Refuses a folder with what this run would replace or write through. Nothing is written.
///
/// # Errors
/// Names the entry.
fn refuse(folder: &Path, previous: Option<&Previous>, command: &str) -> Result<()> {
    refuse_links(folder, WORKING.iter().chain(&MODEL).chain(&FOLDERS))?;
    let is_foreign = |name: &String| match previous {
        None => !is_neutral(name) && !is_of_a_start(folder, name),
        Some(previous) => is_of_model(name) && !is_own(name, previous),
    };
    match names(folder)?.into_iter().find(is_foreign) {
        Some(entry) => Err(foreign(folder, &entry, command)),
        None => Ok(()),
    }
}

fn foreign(folder: &Path, entry: &str, command: &str) -> anyhow::Error {
    anyhow!(
        "{} contains {entry}, which `posttrain {command}` did not write; move it away, or give another folder",
        folder.display()
    )
}

impl RunFolder {
    /// Refuses a folder that contains what `posttrain COMMAND` did not write, before anything is read for the run. What needs
    /// the run's settings is looked at again when it starts, and a run that has finished writes nothing.
    ///
    /// # Errors
    /// Names the entry.
    pub(crate) fn look(&self, command: &str) -> Result<()> {
        match previous_run(&self.out) {
            Ok(Some(previous)) if previous.has_finished() => Ok(()),
            Ok(previous) => refuse_unless_restarted(&self.out, self.restart, previous.as_ref(), command),
            Err(_) => Ok(()),
        }
    }
}

/// As [`refuse`]; what a run that starts over would replace is set aside, whoever wrote it.
///
/// # Errors
/// Names the entry.
pub(super) fn refuse_unless_restarted(
    folder: &Path,
    restart: bool,
    previous: Option<&Previous>,
    command: &str,
) -> Result<()> {
    if previous.is_some_and(|previous| !previous.manifest.contains_key("command")) {
        return Err(foreign(folder, "run.json", command));
    }
    match restart && is_run(folder) {
        true => refuse_links(folder, FOLDERS.iter()),
        false => refuse(folder, previous, command),
    }
}

/// Refuses links under names that a run uses. What else is in their place is no way out of the folder: it is an error when it
/// is written, or a warning where the training can do without.
fn refuse_links<'a>(folder: &Path, names: impl Iterator<Item = &'a &'static str>) -> Result<()> {
    for path in names.map(|name| folder.join(name)) {
        if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            owned::refuse_links(&path)?;
        }
    }
    Ok(())
}

/// Whether the previous run wrote an entry of its model. Where its list is lost, it did.
fn is_own(name: &str, previous: &Previous) -> bool {
    let of_run = |name: &str| previous.manifest.get(name);
    let Some(files) = of_run("files").and_then(Value::as_object) else {
        return previous.has_finished() || previous.note.is_some() || of_run(WRITES_MODEL).is_some();
    };
    let is_listed = |files: &Map<String, Value>| {
        files.contains_key(name) || files.keys().any(|file| file.starts_with(&format!("{name}/")))
    };
    name == LIST || is_listed(files) || of_run(WRITES_MODEL).is_some()
}

/// Whether an entry is one that a run left which was ended before its run.json was written.
fn is_of_a_start(folder: &Path, name: &str) -> bool {
    let path = folder.join(name);
    let only = |is_ours: fn(&str) -> bool| {
        names(&path).is_ok_and(|names| path.is_dir() && names.iter().all(|name| is_ours(name)))
    };
    match name {
        "metrics.jsonl" => path.metadata().is_ok_and(|found| found.is_file() && found.len() == 0),
        "tensorboard" => only(|name| name.starts_with("events.out.tfevents.")),
        "cache" => only(|name| name == "tokens"),
        _ => false,
    }
}

/// What no run replaces: hidden entries, runs that were set aside, and what a file system brings along.
fn is_neutral(name: &str) -> bool {
    name.starts_with('.') || name.starts_with("set-aside-") || name == "lost+found"
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::super::own::{model_names, set_new_ones_aside};
    use super::*;
    use serde_json::json;

    fn previous(manifest: &Value) -> Previous {
        Previous { manifest: manifest.as_object().unwrap().clone(), note: None }
    }

    #[test]
    fn a_model_is_the_runs_if_it_is_listed_or_was_being_written() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let ours = [
            json!({"state": "running", WRITES_MODEL: true}),
            json!({"state": "running", "files": {"config.json": {}}}),
            json!({"state": "finished"}),
        ];
        for manifest in ours {
            refuse(folder.path(), Some(&previous(&manifest)), "sft").unwrap();
        }
        for manifest in [json!({"state": "running"}), json!({"state": "finished", "files": {"LICENSE": {}}})]
        {
            let error = refuse(folder.path(), Some(&previous(&manifest)), "sft").unwrap_err().to_string();
            assert!(error.contains("contains config.json, which `posttrain sft` did not write"), "{error}");
        }
        assert!(refuse(folder.path(), None, "sft").is_err());
    }

    #[test]
    fn what_came_while_a_run_was_trained_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("config.json"), "of an earlier model").unwrap();
        let known = model_names(folder.path()).unwrap();
        for name in ["LICENSE", "tokenizer.json", "README.md"] {
            std::fs::write(path(name), "mine").unwrap();
        }
        set_new_ones_aside(folder.path(), &known).unwrap();
        for name in ["set-aside-1/LICENSE", "set-aside-1/tokenizer.json", "README.md"] {
            assert_eq!(std::fs::read_to_string(path(name)).unwrap(), "mine");
        }
        assert!(path("config.json").exists() && !path("LICENSE").exists());
    }
}
