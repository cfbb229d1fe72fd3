//! The folder of results: `NAME.json` (what was scored and the figures), `NAME.replies.jsonl` beside it, and
//! `scoreboard.json`, which keeps the models' order. A `NAME.json` vouches for its replies: it is written last.

use crate::figures::Figures;
use crate::replies::Reply;
use anyhow::{Context, Result, bail};
use datasets::write::{remove, write_atomic, write_jsonl};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const SCOREBOARD: &str = "scoreboard";

/// One model, scored.
#[derive(Debug, Clone)]
pub(crate) struct Scored {
    /// Its name in tables.
    pub(crate) name: String,
    /// Where it lay, its size, its hash.
    pub(crate) model: Map<String, Value>,
    /// All that decides the replies.
    pub(crate) inputs: Map<String, Value>,
    /// What a reader should know.
    pub(crate) notes: Vec<String>,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    pub(crate) replies: Vec<Reply>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    program: String,
    name: String,
    model: Map<String, Value>,
    inputs: Map<String, Value>,
    notes: Vec<String>,
    seconds: f64,
    replies: usize,
    replies_sha256: String,
}

impl Scored {
    /// Its figures.
    pub(crate) fn figures(&self) -> Figures {
        Figures::of(&self.replies)
    }

    /// Writes both files, whole or not at all, the manifest last.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let (manifest, replies) = paths(folder, &self.name);
        // Until the new one is written, no manifest vouches for replies that are not its own.
        remove(&manifest)?;
        write_jsonl::<_, datasets::Error>(&replies, self.replies.iter().map(Ok))?;
        let about = Manifest {
            program: concat!("smoleval ", env!("CARGO_PKG_VERSION")).to_owned(),
            name: self.name.clone(),
            model: self.model.clone(),
            inputs: self.inputs.clone(),
            notes: self.notes.clone(),
            seconds: (self.seconds * 10.0).round() / 10.0,
            replies: self.replies.len(),
            replies_sha256: datasets::write::sha256(&replies)?,
        };
        let mut about = serde_json::to_value(about)?;
        about["figures"] = serde_json::to_value(self.figures())?;
        write_atomic(&manifest, format!("{about:#}\n").as_bytes())?;
        Ok(())
    }

    /// What was scored under this name; none where nothing whole is there.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub(crate) fn read(folder: &Path, name: &str) -> Result<Option<Self>> {
        let (manifest, replies) = paths(folder, name);
        if !manifest.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        let about: Manifest = serde_json::from_str(&text).with_context(|| {
            format!("{} is no result of smoleval; remove it, or name another --out", manifest.display())
        })?;
        if datasets::write::sha256(&replies).ok().as_deref() != Some(&about.replies_sha256) {
            return Ok(None);
        }
        let Manifest { name, model, inputs, notes, seconds, .. } = about;
        let rows = lines(&replies, "smoleval score")?.into_iter().map(|(_, row)| row).collect();
        Ok(Some(Self { name, model, inputs, notes, seconds, replies: rows }))
    }
}

fn paths(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.json")), folder.join(format!("{name}.replies.jsonl")))
}

/// Refuses a name that is no plain file's, or the scoreboard's.
///
/// # Errors
/// Says what a name is.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || name == SCOREBOARD || !name.chars().all(plain) {
        bail!(
            "{name:?} cannot name a model's results: letters, digits, - _ . it takes; write --model NAME=DIR"
        );
    }
    Ok(())
}

/// The rows of a JSONL file that `made_by` writes, each with its line from 1.
///
/// # Errors
/// Names the file and the line, and the command where the file is missing.
pub(crate) fn lines<T: serde::de::DeserializeOwned>(path: &Path, made_by: &str) -> Result<Vec<(usize, T)>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no {}: `{made_by}` writes it", path.display())
        }
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let whole = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let parsed = whole.map(|(line, number)| {
        let row = serde_json::from_str(line).with_context(|| format!("{}, line {number}", path.display()))?;
        Ok((number, row))
    });
    parsed.collect()
}

/// Names in the order in which they are shown.
///
/// # Errors
/// When the folder cannot be read, or holds no results.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let listed = earlier(folder);
    if listed.is_empty() {
        bail!("{} holds no results: `smoleval score --out {0}` writes them", folder.display());
    }
    Ok(listed)
}

/// Puts names that were scored now beside those of earlier. Their order is the last one asked for.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn list(folder: &Path, scored: &[String]) -> Result<()> {
    let names = joined(earlier(folder), scored);
    let path = folder.join(format!("{SCOREBOARD}.json"));
    Ok(write_atomic(&path, format!("{:#}\n", json!({ "models": names })).as_bytes())?)
}

fn earlier(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(format!("{SCOREBOARD}.json"))).unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let names = value["models"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names
        .filter(|name| check_name(name).is_ok() && paths(folder, name).0.is_file())
        .map(str::to_owned)
        .collect()
}

/// Earlier names keep their places unless the new order contradicts it.
fn joined(earlier: Vec<String>, scored: &[String]) -> Vec<String> {
    let places: Vec<Option<usize>> =
        scored.iter().map(|name| earlier.iter().position(|one| one == name)).collect();
    let known: Vec<usize> = places.iter().copied().flatten().collect();
    // New names at the end of what is known contradict nothing.
    if known.is_sorted() && places.iter().skip(known.len()).all(Option::is_none) {
        let new = scored.iter().filter(|name| !earlier.contains(name)).cloned().collect::<Vec<_>>();
        return [earlier, new].concat();
    }
    let mut names = earlier;
    names.retain(|name| !scored.contains(name));
    names.extend(scored.iter().cloned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_keep_their_order() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let order = |earlier, scored| joined(names(earlier), &names(scored)).join(" ");
        assert_eq!(order("", "base sft"), "base sft");
        assert_eq!(order("base sft", "sft dpo"), "base sft dpo");
        assert_eq!(order("base sft dpo", "base"), "base sft dpo");
        assert_eq!(order("base sft dpo", "dpo sft"), "base dpo sft");
        assert_eq!(order("sft", "base sft"), "base sft");
    }

    #[test]
    fn names_are_plain() {
        assert!(["sft", "step-250", "v1.2_b"].iter().all(|name| check_name(name).is_ok()));
        assert!(
            ["", "../up", ".hidden", "scoreboard", "a b", "é"].iter().all(|name| check_name(name).is_err())
        );
    }
}
