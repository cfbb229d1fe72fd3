//! What in a run's folder is the run's, by name: what it writes while it trains, and its model.

use crate::{interventions, samples};
use anyhow::Result;
use checkpoint::{TEMPLATES_FOLDER, adapter, is_license};
use files::manifest::FILE_NAME as LIST;
use files::run_folder;
use std::path::Path;

/// Files that a run writes while it trains.
pub(super) const WORKING: [&str; 5] =
    ["run.json", "metrics.jsonl", samples::FILE_NAME, interventions::FILE_NAME, "report.html"];
/// Folders that a run writes into.
pub(super) const FOLDERS: [&str; 3] = ["checkpoints", "tensorboard", TEMPLATES_FOLDER];
/// Files of the model that a run writes at its end; its licenses have names of their own.
pub(super) const MODEL: [&str; 9] = [
    adapter::WEIGHTS_FILE,
    "model.safetensors",
    adapter::CONFIG_FILE,
    LIST,
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];
/// The entry of run.json of a run that began to write its model: its files are there without being listed.
pub(super) const WRITES_MODEL: &str = "writes_model";

/// The entries of the folder that a model would replace, the weights first.
pub(super) fn model_names(folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = names(folder)?.into_iter().filter(|name| is_of_model(name)).collect();
    names.sort_by_key(|name| MODEL.iter().position(|model| model == name).unwrap_or(MODEL.len()));
    Ok(names)
}

/// Sets aside what would be replaced by a model and was not there when the run began to train.
///
/// # Errors
/// Names what cannot be moved.
pub(super) fn set_new_ones_aside(folder: &Path, known: &[String]) -> Result<()> {
    let names = model_names(folder)?;
    let new: Vec<&str> = names.iter().filter(|name| !known.contains(name)).map(String::as_str).collect();
    if let Some(aside) = run_folder::set_aside(folder, &new)? {
        terminal::message!(
            "note: {} came into the run's folder while it was trained, and is kept in {}",
            new.join(", "),
            aside.display()
        );
    }
    Ok(())
}

/// Whether a run's model has an entry with this name.
pub(super) fn is_of_model(name: &str) -> bool {
    MODEL.contains(&name) || name == TEMPLATES_FOLDER || is_license(name)
}

/// The names in a folder, sorted; none in one that does not exist.
pub(super) fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot = |reason| files::Error::file("read", folder, reason);
    let entries = match std::fs::read_dir(folder) {
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(cannot)?,
    };
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<std::io::Result<Vec<_>>>().map_err(cannot)?;
    names.sort();
    Ok(names)
}
