//! Why a page was kept or dropped: its way through the stages, from what a run left in its folder.

use crate::run::{DROPPED, FOLDER};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::fmt::Write;
use std::io::BufRead;
use std::path::Path;

/// Describes the way of a page, named by its `row` (file and offset, or file and line) or by its address.
///
/// # Errors
/// When the folder holds no finished run, or no page of that name.
pub fn why(out: &Path, name: &str) -> Result<String> {
    let manifest = out.join(FOLDER.description);
    let manifest = std::fs::read(&manifest).with_context(|| {
        format!("cannot read {}; it is written when a run is finished", manifest.display())
    })?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let stages: Vec<&str> = manifest["dropped"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|stage| stage["stage"].as_str())
        .collect();
    let is_named = |row: &Map<String, Value>| {
        ["row", "url"].iter().any(|column| row.get(*column).and_then(Value::as_str) == Some(name))
    };
    let path = out.join(DROPPED);
    let file = std::fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for line in std::io::BufReader::new(file).lines() {
        let line = line?;
        // Most lines are other pages; only a line with the name is parsed.
        if !line.contains(&serde_json::to_string(name)?) {
            continue;
        }
        let row: Map<String, Value> = serde_json::from_str(&line)?;
        if is_named(&row) {
            return Ok(dropped(&row, &stages));
        }
    }
    let mut files: Vec<_> =
        std::fs::read_dir(out.join("data"))?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        for row in datasets::file_objects(&file)? {
            let (_, row) = row?;
            if is_named(&row) {
                return Ok(kept(&row, &stages));
            }
        }
    }
    bail!(
        "{} has no page {name}; pages are named by the columns `row` and `url` of the dataset and of {DROPPED}",
        out.display()
    )
}

fn text<'a>(row: &'a Map<String, Value>, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn heading(row: &Map<String, Value>) -> String {
    let mut heading = text(row, "row").to_owned();
    for name in ["url", "title"] {
        if !text(row, name).is_empty() {
            let _ = write!(heading, "\n  {name}: {}", text(row, name));
        }
    }
    heading
}

fn measured(values: &Map<String, Value>, into: &mut String) {
    for (name, value) in values {
        if !value.is_null() && !matches!(name.as_str(), "text" | "row" | "url" | "date" | "title") {
            let _ = write!(into, "\n  {name}: {value}");
        }
    }
}

fn dropped(row: &Map<String, Value>, stages: &[&str]) -> String {
    let mut described = heading(row);
    if let Some(Value::Object(values)) = row.get("values") {
        measured(values, &mut described);
    }
    let stage = text(row, "stage");
    let before: Vec<&str> = stages.iter().copied().take_while(|name| *name != stage).collect();
    if !before.is_empty() {
        let _ = write!(described, "\npassed {}", before.join(", "));
    }
    let _ = write!(described, "\ndropped by {stage}: {}", text(row, "reason"));
    let shown = |name: &str| row.get(name).filter(|value| !value.is_null());
    if let Some(value) = shown("value") {
        let _ = write!(
            described,
            ", {}{value}",
            if text(row, "measure").is_empty() {
                String::new()
            } else {
                format!("{} ", text(row, "measure"))
            }
        );
    }
    if let Some(limit) = shown("limit") {
        let _ = write!(described, ", limit {limit}");
    }
    described
}

fn kept(row: &Map<String, Value>, stages: &[&str]) -> String {
    let mut described = heading(row);
    measured(row, &mut described);
    let _ = write!(
        described,
        "\npassed {}\nkept, {} characters",
        stages.join(", "),
        text(row, "text").chars().count()
    );
    described
}
