//! The `run.json` that other programs of the project write beside their results.

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// Reads a folder's `run.json`.
///
/// # Errors
/// Names the file, and the program that writes it.
pub(super) fn read(folder: &Path, program: &str) -> Result<Map<String, Value>> {
    let path = folder.join("run.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}, which `{program}` writes", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a JSON object", path.display()))
}
