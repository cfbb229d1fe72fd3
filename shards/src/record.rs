//! The record of a run: what is done, in how many shards, with which settings and inputs. It is created once, by the worker
//! that comes first; every other worker compares its own with it.

use crate::Place;
use crate::create::create;
use anyhow::{Context, Result, bail};
use files::run_folder::changes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

/// A part of the work; all shards of one are done before the next begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name, which begins the names of its shards' files.
    pub name: String,
    /// The number of its shards.
    pub shards: usize,
}

impl Stage {
    /// A stage of so many shards.
    pub fn new(name: impl Into<String>, shards: usize) -> Self {
        Self { name: name.into(), shards }
    }

    /// The name of a shard, which is a file's.
    pub(crate) fn unit(&self, shard: usize) -> String {
        format!("{}-{shard:05}", self.name)
    }
}

/// What all workers of a run agree on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The command, such as `smoltalk gen`.
    pub(crate) program: String,
    pub(crate) version: String,
    pub(crate) stages: Vec<Stage>,
    /// Everything that decides the result: recipes, seeds, hashes of inputs.
    pub(crate) settings: Value,
    /// The words of the worker that came first, without its place; for people.
    pub(crate) command: Vec<String>,
    /// What started that worker, and how many there were.
    pub(crate) launcher: String,
    pub(crate) workers: usize,
}

impl Record {
    /// The record that this process would write.
    pub(crate) fn new(program: &str, stages: Vec<Stage>, settings: Value, place: &Place) -> Self {
        Self {
            program: program.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stages,
            settings,
            command: without_place(std::env::args_os().map(|word| word.to_string_lossy().into_owned())),
            launcher: place.launcher.name().to_owned(),
            workers: place.count,
        }
    }

    /// Writes the record unless there is one, and returns the one that counts.
    ///
    /// # Errors
    /// When the one that is there differs in what decides the result.
    pub(crate) fn agree(self, path: &Path) -> Result<Self> {
        // Most workers come later.
        if !path.exists() {
            create(path, &serde_json::to_vec_pretty(&self)?)?;
        }
        let earlier = Self::read(path)?;
        let differences: Vec<String> =
            changes(&earlier.decisive(), &self.decisive()).iter().map(ToString::to_string).collect();
        if !differences.is_empty() {
            bail!(
                "{} is the record of a run with other settings ({}); repeat the earlier settings, or give another folder",
                path.display(),
                differences.join("; ")
            );
        }
        Ok(earlier)
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is not a record of a shared run of this version; give another folder", path.display())
        })
    }

    /// Whether a name in a folder of the run is that of a claim or a part: a shard's, a point, and what follows.
    pub(crate) fn has_named(&self, name: &str) -> bool {
        let unit = name.split_once('.').map(|(unit, _)| unit);
        let Some((stage, shard)) = unit.and_then(|unit| unit.rsplit_once('-')) else { return false };
        shard.parse::<usize>().is_ok() && self.stages.iter().any(|known| known.name == stage)
    }

    /// What must be the same for all workers.
    fn decisive(&self) -> Value {
        let mut settings = self.settings.clone();
        if let Some(settings) = settings.as_object_mut() {
            settings.insert("program".to_owned(), json!(self.program));
            settings.insert("version".to_owned(), json!(self.version));
            let stage = |stage: &Stage| format!("{} x{}", stage.name, stage.shards);
            settings.insert(
                "shards".to_owned(),
                json!(self.stages.iter().map(stage).collect::<Vec<_>>().join(", ")),
            );
        }
        settings
    }
}

/// A command without the flags that say which worker it is.
fn without_place(words: impl Iterator<Item = String>) -> Vec<String> {
    let (mut kept, mut is_value) = (Vec::new(), false);
    for word in words {
        let is_flag = matches!(word.as_str(), "--worker" | "--workers");
        if !is_value && !is_flag && !word.starts_with("--worker=") && !word.starts_with("--workers=") {
            kept.push(word);
        }
        is_value = is_flag;
    }
    if let Some(program) = kept.first_mut() {
        *program = program.rsplit('/').next().unwrap_or_default().to_owned();
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_counts_and_others_are_compared_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let place = Place::find((None, None), &|_| None).unwrap();
        let record = |shards, seed| {
            Record::new("smoltalk gen", vec![Stage::new("rows", shards)], json!({"seed": seed}), &place)
        };
        let first = record(8, 1).agree(&path).unwrap();
        let mut second = record(8, 1);
        second.command = vec!["otherwise".to_owned()];
        assert_eq!(second.agree(&path).unwrap(), first);
        let error = record(9, 2).agree(&path).unwrap_err().to_string();
        assert!(
            error.contains("seed was 1, is 2") && error.contains("rows x8") && error.contains("rows x9"),
            "{error}"
        );
    }

    #[test]
    fn names_of_others_are_known_from_those_of_a_run() {
        let place = Place::find((None, None), &|_| None).unwrap();
        let stages = vec![Stage::new("pass-1", 2), Stage::new("finish", 1)];
        let record = Record::new("smoltalk curate", stages, json!({}), &place);
        for name in ["pass-1-00001.0", "pass-1-00001.12.jsonl", "finish-00000.3"] {
            assert!(record.has_named(name), "{name}");
        }
        for name in ["mine.txt", "finish-00000", "other-00000.0", "pass-1-notes.txt", "finish.0"] {
            assert!(!record.has_named(name), "{name}");
        }
    }

    #[test]
    fn a_command_is_recorded_without_its_place() {
        let words =
            "/usr/bin/smoltalk gen --worker 3 --workers=4 --shards 8 --workers 9 --out o --worker=1 --seed 1";
        let kept = without_place(words.split(' ').map(str::to_owned));
        assert_eq!(kept.join(" "), "smoltalk gen --shards 8 --out o --seed 1");
    }
}
