//! run.json: what runs, with which settings and data, and how far it is.

use super::own::WRITES_MODEL;
use crate::checkpoints::Progress;
use files::run_folder::Change;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Returns the entries of run.json that all commands have.
pub(crate) fn about(
    command: &str,
    model: &str,
    data: &Value,
    configuration: &Value,
    notes: &[String],
) -> Map<String, Value> {
    let entries = json!({
        "command": command,
        "state": "running",
        "model": model,
        "data": data,
        "started": now(),
        "configuration": configuration,
        "notes": notes,
        "machine": {
            "version": env!("CARGO_PKG_VERSION"),
            "kernels": format!("{:?}", kernels::isa()).to_lowercase(),
            "threads": rayon::current_num_threads(),
        },
    });
    entries.as_object().cloned().unwrap_or_default()
}

/// Returns data files and what they are used for.
pub(crate) fn data_purposes(train: &[PathBuf], eval: &[PathBuf]) -> Value {
    let entry = |path: &PathBuf, purpose: &str| (path.display().to_string(), json!(purpose));
    let train = train.iter().map(|path| entry(path, "train"));
    Value::Object(train.chain(eval.iter().map(|path| entry(path, "eval"))).collect())
}

/// Returns the current local time.
pub(crate) fn now() -> String {
    chrono::Local::now().format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// Returns the notes of run.json, which are created where there are none.
pub(super) fn notes(manifest: &mut Map<String, Value>) -> &mut Vec<Value> {
    let notes = manifest.entry("notes").or_insert_with(|| Value::Array(Vec::new()));
    if !notes.is_array() {
        *notes = Value::Array(Vec::new());
    }
    notes.as_array_mut().expect("made an array above")
}

/// Adds a note on what happened on resuming to the newest entry of the run's lineage: it is not a property of the run, so
/// that later resumes do not repeat it.
pub(super) fn add_to_lineage(manifest: &mut Map<String, Value>, note: &str) {
    let entry =
        manifest.get_mut("lineage").and_then(Value::as_array_mut).and_then(|lineage| lineage.last_mut());
    if let Some(Value::Object(entry)) = entry {
        let notes = entry.entry("notes").or_insert_with(|| json!([]));
        notes.as_array_mut().into_iter().for_each(|notes| notes.push(note.into()));
    }
}

/// Takes over from the previous run.json when the run started and its notes, and records the resume and what changed.
pub(super) fn keep_history(
    manifest: &mut Map<String, Value>,
    previous: &Map<String, Value>,
    changes: &[Change],
    resumed: Option<&Progress>,
) {
    manifest.insert("started".into(), previous.get("started").cloned().unwrap_or_default());
    // Which files of the folder are the run's: a resumed run may replace them.
    for name in ["files", WRITES_MODEL] {
        manifest.extend(previous.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    let mut lineage = previous.get("lineage").and_then(Value::as_array).cloned().unwrap_or_default();
    let changes: Vec<Value> = changes
        .iter()
        .map(|change| json!({"field": change.name, "before": change.before, "now": change.now}))
        .collect();
    let step = resumed.map_or(0, |progress| progress.step);
    let new_notes = notes(manifest).clone();
    let previous_notes = previous.get("notes").and_then(Value::as_array).cloned().unwrap_or_default();
    notes(manifest).extend(previous_notes.into_iter().filter(|note| !new_notes.contains(note)));
    lineage.push(json!({"resumed_after_step": step, "at": now(), "changes": changes}));
    manifest.insert("lineage".into(), lineage.into());
}
