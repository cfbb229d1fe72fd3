//! The folder of results: `NAME.json` (the model, the inputs and the figures), `NAME.replies.jsonl` beside it, and
//! `scoreboard.json` with the order of the models. `NAME.json` is written last and contains the hash of the replies, so
//! replies that belong to another run are noticed.

use crate::figures::Figures;
use crate::jsonl;
use crate::replies::Reply;
use anyhow::{Context, Result, bail, ensure};
use datasets::write::write_jsonl;
use files::{atomic, hash, owned};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const SCOREBOARD: &str = "scoreboard";

/// The results of one model.
#[derive(Debug, Clone)]
pub(crate) struct ModelResults {
    /// Its name in tables.
    pub(crate) name: String,
    /// Its location, its size and its hash.
    pub(crate) model: Map<String, Value>,
    /// Everything that decides the replies and the verdicts.
    pub(crate) inputs: Map<String, Value>,
    /// What a reader of the figures should know.
    pub(crate) notes: Vec<String>,
    /// The time that the evaluation took, in seconds.
    pub(crate) seconds: f64,
    pub(crate) replies: Vec<Reply>,
}

/// `NAME.json` without the figures, which follow from the replies.
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

impl ModelResults {
    /// The figures of the replies.
    pub(crate) fn figures(&self) -> Figures {
        Figures::of_replies(&self.replies)
    }

    /// Writes both files, each whole or not at all, the manifest last.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let (manifest_path, replies_path) = paths(folder, &self.name);
        // Until the new manifest is written there is none, so that no manifest belongs to other replies.
        atomic::remove(&manifest_path)?;
        write_jsonl::<_, datasets::Error>(&replies_path, self.replies.iter().map(Ok))?;
        let manifest = Manifest {
            program: concat!("smoleval ", env!("CARGO_PKG_VERSION")).to_owned(),
            name: self.name.clone(),
            model: self.model.clone(),
            inputs: self.inputs.clone(),
            notes: self.notes.clone(),
            seconds: (self.seconds * 10.0).round() / 10.0,
            replies: self.replies.len(),
            replies_sha256: hash::sha256_of_file(&replies_path)?,
        };
        let mut manifest = serde_json::to_value(manifest)?;
        manifest["figures"] = serde_json::to_value(self.figures())?;
        atomic::write(&manifest_path, format!("{manifest:#}\n"))?;
        Ok(())
    }

    /// Reads the results with this name; none if there is no manifest or its replies are others.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub(crate) fn read(folder: &Path, name: &str) -> Result<Option<Self>> {
        let (manifest_path, replies_path) = paths(folder, name);
        if !manifest_path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&manifest_path)
            .with_context(|| format!("cannot read {}", manifest_path.display()))?;
        let manifest: Manifest = serde_json::from_str(&text).with_context(|| {
            let path = manifest_path.display();
            format!("{path} is not a result of smoleval; remove it, or give another `--out`")
        })?;
        if hash::sha256_of_file(&replies_path).ok().as_deref() != Some(&manifest.replies_sha256) {
            return Ok(None);
        }
        let Manifest { name, model, inputs, notes, seconds, .. } = manifest;
        let rows = jsonl::read(&replies_path, "`smoleval score` writes it")?;
        let replies = rows.into_iter().map(|(_, reply)| reply).collect();
        Ok(Some(Self { name, model, inputs, notes, seconds, replies }))
    }
}

/// The manifest and the replies of a model.
fn paths(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (folder.join(format!("{name}.json")), folder.join(format!("{name}.replies.jsonl")))
}

/// Refuses a file in a result's place that is a link, or whose content is not what this program writes there.
///
/// # Errors
/// Names the file.
pub(crate) fn refuse_unless(path: &Path, is_ours: impl FnOnce(&[u8]) -> bool) -> Result<()> {
    owned::refuse_links(path)?;
    let Ok(bytes) = std::fs::read(path) else { return Ok(()) };
    let path = path.display();
    ensure!(is_ours(&bytes), "{path} is not a result of smoleval; move it away, or give another `--out`");
    Ok(())
}

/// Refuses a folder in which the results of these models would replace what this program did not write. Nothing is written.
///
/// # Errors
/// Names the file.
pub(crate) fn refuse_foreign<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> Result<()> {
    for name in names {
        let (manifest, replies) = paths(folder, name);
        refuse_unless(&manifest, |bytes| serde_json::from_slice::<Manifest>(bytes).is_ok())?;
        refuse_unless(&replies, |bytes| {
            let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            first.is_empty() || serde_json::from_slice::<Reply>(first).is_ok()
        })?;
    }
    refuse_unless(&folder.join(format!("{SCOREBOARD}.json")), |bytes| {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let is_list = value
            .as_object()
            .is_some_and(|value| value.len() == 1 && value.get("models").is_some_and(Value::is_array));
        // A power loss leaves nothing of it, or zeros.
        is_list || bytes.iter().all(|byte| *byte == 0)
    })
}

/// Refuses a name that is not a plain file name, or that is the scoreboard's.
///
/// # Errors
/// Says what a name may contain.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    ensure!(
        !name.is_empty() && !name.starts_with('.') && name != SCOREBOARD && name.chars().all(is_plain),
        "{name:?} cannot be the name of a model's results; give `--model NAME=DIR` with a NAME of letters, digits, \
         `-`, `_` and `.`"
    );
    Ok(())
}

/// The names of the models in the order in which they are shown.
///
/// # Errors
/// When the folder contains no results.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let names = scoreboard(folder);
    if names.is_empty() {
        bail!("{} contains no results; write them with `smoleval score --out {0}`", folder.display());
    }
    Ok(names)
}

/// Adds the names of models to the scoreboard. If their order contradicts the scoreboard's, theirs counts.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn update_scoreboard(folder: &Path, names: &[String]) -> Result<()> {
    let models = merge(scoreboard(folder), names);
    let path = folder.join(format!("{SCOREBOARD}.json"));
    atomic::write(&path, format!("{:#}\n", json!({ "models": models })))?;
    Ok(())
}

/// The names in `scoreboard.json` whose results exist; then those of all other results, in the order of their names:
/// the list may be damaged, or older than they are.
fn scoreboard(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(format!("{SCOREBOARD}.json"))).unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let listed = value["models"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let is_result = |name: &str| {
        let (manifest, replies) = paths(folder, name);
        check_name(name).is_ok() && manifest.is_file() && replies.is_file()
    };
    let mut names: Vec<String> = listed.filter(|name| is_result(name)).map(str::to_owned).collect();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut unlisted: Vec<String> = files
        .filter_map(|file| file.strip_suffix(".json").map(str::to_owned))
        .filter(|name| !names.contains(name) && is_result(name))
        .collect();
    unlisted.sort();
    names.extend(unlisted);
    names
}

/// The old names keep their places unless the order of the new ones contradicts it.
fn merge(old: Vec<String>, new: &[String]) -> Vec<String> {
    let places: Vec<Option<usize>> =
        new.iter().map(|name| old.iter().position(|other| other == name)).collect();
    let known_places: Vec<usize> = places.iter().copied().flatten().collect();
    // Unknown names after all known ones contradict nothing.
    if known_places.is_sorted() && places.iter().skip(known_places.len()).all(Option::is_none) {
        let unknown: Vec<String> = new.iter().filter(|name| !old.contains(name)).cloned().collect();
        return [old, unknown].concat();
    }
    let mut names = old;
    names.retain(|name| !new.contains(name));
    names.extend(new.iter().cloned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_keep_their_order() {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let order = |old, new| merge(names(old), &names(new)).join(" ");
        assert_eq!(order("", "base sft"), "base sft");
        assert_eq!(order("base sft", "sft dpo"), "base sft dpo");
        assert_eq!(order("base sft dpo", "base"), "base sft dpo");
        assert_eq!(order("base sft dpo", "dpo sft"), "base dpo sft");
        assert_eq!(order("sft", "base sft"), "base sft");
    }

    #[test]
    fn results_are_found_without_the_list() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["b", "a"] {
            let results = ModelResults {
                name: name.to_owned(),
                model: Map::new(),
                inputs: Map::new(),
                notes: Vec::new(),
                seconds: 1.0,
                replies: Vec::new(),
            };
            results.write(folder.path()).expect("the folder can be written");
        }
        update_scoreboard(folder.path(), &["b".to_owned(), "a".to_owned()]).expect("it can be written");
        assert_eq!(names(folder.path()).expect("there are results"), ["b", "a"]);
        std::fs::write(folder.path().join("scoreboard.json"), "").expect("it can be written");
        assert_eq!(names(folder.path()).expect("there are results"), ["a", "b"]);
        // A model that is scored again does not drop the others.
        update_scoreboard(folder.path(), &["b".to_owned()]).expect("it can be written");
        assert_eq!(names(folder.path()).expect("there are results"), ["a", "b"]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_result_is_not_replaced() {
        let refused = |name: &str, text: &str| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            std::fs::write(folder.path().join(name), text).expect("it can be written");
            let found = refuse_foreign(folder.path(), ["m"].into_iter());
            assert!(found.as_ref().err().is_none_or(|error| error.to_string().contains(name)), "{found:?}");
            found.is_err()
        };
        for (name, text) in [
            ("scoreboard.json", "{\"points\": 3}"),
            ("scoreboard.json", "mine"),
            ("m.json", "{\"mine\": 1}"),
            ("m.replies.jsonl", "{\"mine\": 1}\n"),
            ("m.replies.jsonl", "mine"),
        ] {
            assert!(refused(name, text), "{name}: {text}");
        }
        for (name, text) in [
            ("scoreboard.json", "{\"models\": [\"a\"]}"),
            ("scoreboard.json", ""),
            ("m.replies.jsonl", ""),
            ("other.json", "mine"),
        ] {
            assert!(!refused(name, text), "{name}: {text}");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let link = folder.path().join("scoreboard.json");
        std::os::unix::fs::symlink("elsewhere", link).expect("a link");
        assert!(refuse_foreign(folder.path(), ["m"].into_iter()).is_err());
    }

    #[test]
    fn names_are_plain() {
        assert!(["sft", "step-250", "v1.2_b"].iter().all(|name| check_name(name).is_ok()));
        assert!(
            ["", "../up", ".hidden", "scoreboard", "a b", "é"].iter().all(|name| check_name(name).is_err())
        );
    }
}
