//! What stands in a run's folder: whose it is, what changed since, and its files, written whole.

use crate::checkpoints::Progress;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

pub(super) fn notes(manifest: &mut Map<String, Value>) -> &mut Vec<Value> {
    let notes = manifest.entry("notes").or_insert_with(|| Value::Array(Vec::new()));
    if !notes.is_array() {
        *notes = Value::Array(Vec::new());
    }
    notes.as_array_mut().expect("made an array above")
}

pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let cannot = || format!("cannot write {}", path.display());
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).with_context(cannot)?;
    if file.try_lock().is_err() {
        bail!("--out {} is in use by another run", folder.display());
    }
    Ok(file)
}

/// The run that stands in the folder; refuses a folder that holds something else.
pub(super) fn earlier(folder: &Path) -> Result<Option<Map<String, Value>>> {
    let path = folder.join("run.json");
    if path.is_file() {
        let broken = || format!("{} cannot be read; --restart begins anew", path.display());
        let text = std::fs::read(&path).with_context(broken)?;
        return serde_json::from_slice(&text).with_context(broken).map(Some);
    }
    if folder.join("config.json").exists() || folder.join("model.safetensors").exists() {
        bail!("--out {} holds a checkpoint that is no run's: choose another folder", folder.display());
    }
    Ok(None)
}

/// A run that wrote over the checkpoint it begins from would lose it.
pub(super) fn refuse_own_model(folder: &Path, manifest: &Map<String, Value>) -> Result<()> {
    let model = manifest["model"].as_str().unwrap_or_default();
    if let (Ok(model), Ok(folder)) = (Path::new(model).canonicalize(), folder.canonicalize())
        && model.starts_with(&folder)
    {
        bail!("--out {} holds the checkpoint to begin from: choose another folder", folder.display());
    }
    Ok(())
}

/// A folder whose model another command made: perhaps the very one this run begins from.
pub(super) fn refuse_other_command(folder: &Path, manifest: &Map<String, Value>) -> Result<()> {
    // What cannot be read, `earlier` speaks of.
    let text = std::fs::read(folder.join("run.json")).unwrap_or_default();
    let run: Value = serde_json::from_slice(&text).unwrap_or_default();
    match run["command"].as_str() {
        Some(command) if manifest["command"] != command => {
            bail!("--out {} holds what `posttrain {command}` made: choose another folder", folder.display())
        }
        _ => Ok(()),
    }
}

pub(super) fn clear(folder: &Path) -> Result<()> {
    if !folder.join("run.json").is_file() {
        return Ok(());
    }
    for name in ["checkpoints", "tensorboard"] {
        let path = folder.join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for name in ["metrics.jsonl", "report.html", "model.safetensors", "config.json", "run.json"] {
        let path = folder.join(name);
        if path.is_file() {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Fields that differ: name, before, now.
pub(super) fn changes(before: &Value, now: &Value) -> Vec<(String, Value, Value)> {
    let (Some(before), Some(now)) = (before.as_object(), now.as_object()) else { return Vec::new() };
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let value = |fields: &Map<String, Value>, name: &String| fields.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .filter(|name| before.get(*name) != now.get(*name))
        .map(|name| (name.clone(), value(before, name), value(now, name)))
        .collect()
}

pub(super) fn refuse_changes(
    folder: &Path,
    changes: &[(String, Value, Value)],
    accepted: bool,
) -> Result<()> {
    if changes.is_empty() || accepted {
        return Ok(());
    }
    let listed: Vec<String> =
        changes.iter().map(|(name, before, now)| format!("{name} was {before}, now {now}")).collect();
    bail!(
        "--out {} holds a run of another configuration: {}; --accept-changes goes on with the new one, --restart begins anew, or choose another folder",
        folder.display(),
        listed.join("; ")
    )
}

/// When the run began, what it said, and what was changed under way.
pub(super) fn keep_history(
    manifest: &mut Map<String, Value>,
    earlier: &Map<String, Value>,
    changes: &[(String, Value, Value)],
    found: Option<&Progress>,
) {
    manifest.insert("started".into(), earlier.get("started").cloned().unwrap_or_default());
    let mut lineage = earlier.get("lineage").and_then(Value::as_array).cloned().unwrap_or_default();
    let changes: Vec<Value> = changes
        .iter()
        .map(|(name, before, now)| json!({"field": name, "before": before, "now": now}))
        .collect();
    let step = found.map_or(0, |progress| progress.step);
    let known = notes(manifest).clone();
    let before = earlier.get("notes").and_then(Value::as_array).cloned().unwrap_or_default();
    notes(manifest).extend(before.into_iter().filter(|note| !known.contains(note)));
    lineage.push(json!({"resumed_after_step": step, "at": super::now(), "changes": changes}));
    manifest.insert("lineage".into(), lineage.into());
}

/// Opens metrics.jsonl, without the lines of steps that will be done again.
pub(super) fn open_metrics(folder: &Path, step: u64) -> Result<File> {
    let path = folder.join("metrics.jsonl");
    let cannot = || format!("cannot write {}", path.display());
    if path.is_file() {
        let text = std::fs::read_to_string(&path).with_context(cannot)?;
        let at = |line: &str| serde_json::from_str::<Value>(line).ok()?["step"].as_u64();
        let kept: String = text
            .lines()
            .filter(|line| at(line).is_some_and(|at| at <= step && step > 0))
            .map(|line| format!("{line}\n"))
            .collect();
        write_whole(&path, &kept)?;
    }
    OpenOptions::new().create(true).append(true).open(&path).with_context(cannot)
}

pub(super) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    });
    if written.is_err() {
        // The error says what failed; half a file beside it helps nobody.
        let _ = std::fs::remove_file(&beside);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}
