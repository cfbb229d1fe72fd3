//! The reader of JSON Lines files.

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads the rows of a file, each with the number of its line, from 1. Blank lines are skipped.
///
/// # Errors
/// Names the file and the line; for a missing file, `hint` says what to do.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, hint: &str) -> Result<Vec<(usize, T)>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("{} does not exist; {hint}", path.display())
        }
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let rows = lines.map(|(line, number)| {
        let row = serde_json::from_str(line).with_context(|| format!("{}, line {number}", path.display()))?;
        Ok((number, row))
    });
    rows.collect()
}
