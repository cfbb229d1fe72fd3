//! `smoltalk verify`: compares a folder that this project wrote, byte for byte, with what was written, and says what can
//! be had back. Nothing in the folder is changed.

use crate::run::{FOLDER, IN_FLIGHT_FILE, STORE_FILE};
use crate::store;
use anyhow::{Result, bail};
use files::manifest::{Depth, FILE_NAME, Manifest};
use files::output_folder::{NEW_RESULT, described_shards, is_shard};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Folders in a folder that are searched for lists, such as `checkpoints/step-100`.
const LEVELS: usize = 3;
/// The exit code of a folder that differs from what was written.
const DIFFERS: u8 = 1;
/// Options of `smoltalk verify`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder that `smoltalk gen`, `mix` or `clean`, a training run or a checkpoint consists of
    path: PathBuf,
}

/// What was found in a folder and those in it.
#[derive(Debug, Default)]
struct Findings {
    /// Files, answers and rows that were compared.
    checked: Vec<String>,
    problems: Vec<String>,
    remedies: Vec<String>,
}

/// Compares the folder; returns the exit code: 0 if everything is as it was written, 1 if not.
///
/// # Errors
/// When the folder contains nothing that can be compared.
pub fn run(options: &Options) -> Result<u8> {
    let path = &options.path;
    if !path.is_dir() {
        bail!("{} is not a folder; give one that this project wrote", path.display());
    }
    let mut findings = Findings::default();
    findings.look(path, LEVELS)?;
    if findings.checked.is_empty() && findings.problems.is_empty() {
        bail!(
            "{} contains no {FILE_NAME}, no store and no description of a dataset; there is nothing to compare it with",
            path.display()
        );
    }
    for line in findings.checked.iter().chain(&findings.problems) {
        terminal::results!("{line}")?;
    }
    findings.remedies.dedup();
    for remedy in &findings.remedies {
        terminal::results!("remedy: {remedy}")?;
    }
    match findings.problems.len() {
        0 => terminal::results!("{}: nothing differs from what was written", path.display())?,
        1 => terminal::results!("{}: 1 difference", path.display())?,
        count => terminal::results!("{}: {count} differences", path.display())?,
    }
    Ok(if findings.problems.is_empty() { 0 } else { DIFFERS })
}

impl Findings {
    fn look(&mut self, folder: &Path, levels: usize) -> Result<()> {
        if folder.join(NEW_RESULT).is_dir() {
            self.problem(folder, "a newer dataset is whole and not yet in place");
            self.remedies.push("run the command that wrote the dataset again, which completes it".to_owned());
        } else {
            self.compare_files(folder);
        }
        self.compare_store(folder)?;
        if levels == 0 {
            return Ok(());
        }
        let mut folders: Vec<PathBuf> =
            std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
        folders.retain(|path| {
            path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) && !is_hidden(path)
        });
        folders.sort();
        folders.iter().try_for_each(|inner| self.look(inner, levels - 1))
    }

    fn problem(&mut self, path: &Path, reason: &str) {
        self.problems.push(format!("{}: {reason}", path.display()));
    }

    /// Compares the files that the folder's list, or the description of a dataset of an earlier version, names.
    fn compare_files(&mut self, folder: &Path) {
        let list = folder.join(FILE_NAME);
        let (manifest, program) = match Manifest::read(&list) {
            Ok(Some(manifest)) => {
                let program =
                    manifest.about.get("program").and_then(Value::as_str).unwrap_or_default().to_owned();
                (manifest, program)
            }
            Ok(None) => match described_shards(folder) {
                Some((_, program, files)) => (Manifest { files, ..Manifest::default() }, program.to_owned()),
                None => return,
            },
            Err(error) => {
                self.problems.push(error.to_string());
                self.remedies.push(format!(
                    "without {FILE_NAME} nothing else can be compared: restore it from a backup"
                ));
                return;
            }
        };
        let before = self.problems.len();
        for difference in manifest.differences(folder, Depth::Checksums) {
            self.problem(folder, &difference.to_string());
        }
        if program.starts_with("smoltalk ") {
            for name in unlisted_shards(folder, &manifest) {
                self.problem(folder, &format!("{name} belongs to another dataset: it is not listed"));
            }
        }
        let count = manifest.files.len();
        self.checked.push(format!("{}: {count} files compared", folder.display()));
        if self.problems.len() > before {
            self.remedies.push(remedy(&program).to_owned());
        }
    }

    fn compare_store(&mut self, folder: &Path) -> Result<()> {
        let path = folder.join(STORE_FILE);
        if !path.is_file() || !folder.join(IN_FLIGHT_FILE).is_file() {
            return Ok(());
        }
        let state = store::verify(&path)?;
        self.checked.push(format!(
            "{}: {} answers and {} rows compared",
            path.display(),
            state.answers,
            state.rows
        ));
        for problem in &state.problems {
            self.problem(&path, problem);
        }
        if !state.problems.is_empty() {
            self.remedies.push(
                "put a backup of the store in its place, or run `smoltalk gen` with `--repair`: what is whole is kept, \
                 the rest is asked for again"
                    .to_owned(),
            );
        }
        if !folder.join(FOLDER.description).is_file() {
            self.problem(folder, "the run has written no dataset");
            self.remedies.push("run the same `smoltalk gen` command again, which finishes it".to_owned());
        }
        Ok(())
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Files below `data` that are named as shards and not listed.
fn unlisted_shards(folder: &Path, manifest: &Manifest) -> Vec<String> {
    let names = |path: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let mut found = Vec::new();
    for name in names(&folder.join("data")) {
        let inner = format!("data/{name}");
        found.extend(names(&folder.join(&inner)).into_iter().map(|shard| format!("{inner}/{shard}")));
        found.push(inner);
    }
    found.retain(|name| is_shard(name) && !manifest.files.contains_key(name));
    found
}

/// How a folder of this program is written again.
fn remedy(program: &str) -> &'static str {
    match program {
        "smoltalk gen" => {
            "the dataset follows from store.sqlite: run the same `smoltalk gen` command again; no recorded answer is asked again"
        }
        "smoltalk mix" => {
            "run the same `smoltalk mix` command again: the same sources give the same bytes; mix.json contains the recipe"
        }
        "smoltalk clean" => {
            "run the same `smoltalk clean` command again: the same input gives the same bytes"
        }
        _ => "restore the files from a backup, or run the command that wrote them again",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use files::checksum::Algorithm;
    use serde_json::json;

    const SHARD: &str = "data/default/train-00000-of-00001.parquet";

    fn mix(folder: &Path) {
        std::fs::create_dir_all(folder.join("data/default")).unwrap();
        for name in [SHARD, "README.md", "mix.json"] {
            std::fs::write(folder.join(name), format!("the content of {name}")).unwrap();
        }
        let mut manifest =
            Manifest::of(folder, &[SHARD, "README.md", "mix.json"], Algorithm::Sha256).unwrap();
        manifest.about.insert("program".into(), json!("smoltalk mix"));
        manifest.write(&folder.join(FILE_NAME)).unwrap();
    }

    fn problems(folder: &Path) -> (String, String) {
        let mut findings = Findings::default();
        findings.look(folder, LEVELS).unwrap();
        let code = run(&Options { path: folder.to_owned() }).unwrap();
        assert_eq!(code, u8::from(!findings.problems.is_empty()));
        (findings.problems.join("\n"), findings.remedies.join("\n"))
    }

    #[test]
    fn whole_folders_and_every_kind_of_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        mix(folder.path());
        assert_eq!(problems(folder.path()), (String::new(), String::new()));
        type Damage<'a> = Box<dyn Fn() + 'a>;
        let damages: [(&str, Damage<'_>); 5] = [
            (
                "contains other bytes than were written",
                Box::new(|| {
                    let mut bytes = std::fs::read(path(SHARD)).unwrap();
                    bytes[3] ^= 1;
                    std::fs::write(path(SHARD), bytes).unwrap();
                }),
            ),
            ("bytes instead of", Box::new(|| std::fs::write(path("README.md"), "").unwrap())),
            ("is missing", Box::new(|| std::fs::remove_file(path("mix.json")).unwrap())),
            (
                "belongs to another dataset",
                Box::new(|| {
                    std::fs::write(path("data/default/train-00001-of-00002.parquet"), "").unwrap();
                }),
            ),
            ("checksums.json is damaged", Box::new(|| std::fs::write(path(FILE_NAME), "{}").unwrap())),
        ];
        for (expected, damage) in damages {
            damage();
            let (problems, remedies) = problems(folder.path());
            assert!(problems.contains(expected) && !remedies.is_empty(), "{expected}: {problems}");
            std::fs::remove_dir_all(path("data")).unwrap();
            mix(folder.path());
        }
        std::fs::create_dir(path(".new-result")).unwrap();
        let (problems, remedies) = problems(folder.path());
        assert!(problems.contains("not yet in place") && remedies.contains("completes it"), "{problems}");
    }

    #[test]
    fn lists_in_folders_below_are_compared_and_other_folders_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(&Options { path: folder.path().to_owned() }).unwrap_err().to_string();
        assert!(error.contains("nothing to compare"), "{error}");
        let checkpoint = folder.path().join("checkpoints/step-2");
        std::fs::create_dir_all(&checkpoint).unwrap();
        std::fs::write(checkpoint.join("model.safetensors"), "weights").unwrap();
        Manifest::of(&checkpoint, &["model.safetensors"], Algorithm::Xxh3)
            .unwrap()
            .write(&checkpoint.join(FILE_NAME))
            .unwrap();
        assert_eq!(problems(folder.path()).0, "");
        std::fs::write(checkpoint.join("model.safetensors"), "wreckts").unwrap();
        assert!(problems(folder.path()).0.contains("step-2: model.safetensors contains other bytes"));
    }
}
