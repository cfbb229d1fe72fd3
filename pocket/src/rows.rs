//! Rows on disk.

use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

/// Writes a file of rows, whole or not at all. Nothing is written for a `count` of 0, nor is `rows` advanced.
pub(crate) fn write(path: &Path, count: usize, rows: impl Iterator<Item = Result<Value>>) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let rows = datasets::write::write_jsonl::<_, anyhow::Error>(path, rows.take(count))?;
    terminal::message!("{}: {rows} rows", path.display());
    Ok(())
}
