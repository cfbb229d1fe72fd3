//! What the manifest of a folder that this project wrote says of its files. A reader asks it, so that half a dataset, two
//! datasets in one folder and damaged shards are refused instead of trained on.

use crate::Error;
use files::checksum::Content;
use files::manifest::{FILE_NAME, Manifest};
use files::output_folder::{DESCRIPTIONS, NEW_RESULT, described_shards, is_ours, is_shard};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How far above a file its dataset's folder is: `data/CONFIGURATION/SHARD`.
const LEVELS: usize = 4;

/// The files of a dataset as they were written, by absolute path; empty for datasets of others.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    files: BTreeMap<PathBuf, Content>,
    /// The dataset's folder and the file that lists its files.
    source: Option<(PathBuf, &'static str)>,
}

impl Recorded {
    /// What is recorded of the files at `path`, which is a file or a folder.
    ///
    /// # Errors
    /// When the dataset is unfinished, or its list is damaged.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let Ok(path) = path.canonicalize() else { return Ok(Self::default()) };
        for folder in path.ancestors().take(LEVELS) {
            let below = path.strip_prefix(folder).unwrap_or(Path::new(""));
            if !(below.as_os_str().is_empty() || below.starts_with("data") || below.components().count() == 1)
            {
                continue;
            }
            refuse_unfinished(folder, below)?;
            if let Some(recorded) = Self::of_folder(folder)? {
                return Ok(recorded);
            }
        }
        Ok(Self::default())
    }

    /// The list in a folder; `None` if it has none of this project's.
    fn of_folder(folder: &Path) -> Result<Option<Self>, Error> {
        let listed = match Manifest::read(&folder.join(FILE_NAME)) {
            Ok(None) => None,
            Ok(Some(manifest)) if manifest.about.get("program").is_some_and(is_ours) => {
                Some((FILE_NAME, manifest.files))
            }
            Ok(Some(_)) => return Ok(None),
            // Another program's file of that name is none of our business.
            Err(_) if DESCRIPTIONS.iter().all(|(name, _)| !folder.join(name).is_file()) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Datasets of earlier versions have no list of their own.
        let described = || described_shards(folder).map(|(source, _, files)| (source, files));
        let Some((source, files)) = listed.or_else(described) else { return Ok(None) };
        let files = files.into_iter().map(|(name, content)| (folder.join(name), content)).collect();
        Ok(Some(Self { files, source: Some((folder.to_owned(), source)) }))
    }

    /// Compares the lengths of the files that are about to be read; those of a folder also with what should be among them.
    ///
    /// # Errors
    /// Names the first shard that is missing, not listed, longer or shorter.
    pub(crate) fn check(&self, files: &[PathBuf], is_folder: bool) -> Result<(), Error> {
        let Some((folder, source)) = &self.source else { return Ok(()) };
        let mut folders = HashSet::new();
        for file in files {
            let Ok(path) = file.canonicalize() else { continue };
            match self.files.get(&path) {
                Some(content) => self.check_length(file, &path, content)?,
                None if is_shard(&path.to_string_lossy()) => {
                    let reason = format!("{source} does not list it, so that it belongs to another dataset");
                    return Err(damaged(file, folder, &reason));
                }
                None => {}
            }
            // Of a single file the others are not asked for.
            if is_folder {
                folders.extend(path.parent().map(Path::to_owned));
            }
        }
        let is_read_with_them = |path: &PathBuf| path.parent().is_some_and(|parent| folders.contains(parent));
        match self
            .files
            .keys()
            .find(|path| is_shard(&path.to_string_lossy()) && is_read_with_them(path) && !path.is_file())
        {
            Some(missing) => {
                Err(damaged(missing, folder, &format!("{source} lists it, and it does not exist")))
            }
            None => Ok(()),
        }
    }

    fn check_length(&self, file: &Path, path: &Path, content: &Content) -> Result<(), Error> {
        let Some((folder, source)) = &self.source else { return Ok(()) };
        let length = path.metadata().map_err(|error| Error::file("read", file, error))?.len();
        if length == content.bytes {
            return Ok(());
        }
        let reason = format!("it has {length} bytes, {source} lists {}", content.bytes);
        Err(damaged(file, folder, &reason))
    }

    /// Compares the content of a file that is about to be read whole, once in a process.
    ///
    /// # Errors
    /// When it is not what was written.
    pub(crate) fn check_content(&self, file: &Path) -> Result<(), Error> {
        static CHECKED: Mutex<Option<HashSet<(PathBuf, u64, SystemTime)>>> = Mutex::new(None);
        let (Some((folder, source)), Ok(path)) = (&self.source, file.canonicalize()) else { return Ok(()) };
        let Some(content) = self.files.get(&path) else { return Ok(()) };
        let Some(algorithm) = content.algorithm() else { return Ok(()) };
        self.check_length(file, &path, content)?;
        let changed = path.metadata().and_then(|metadata| metadata.modified());
        let changed = changed.map_err(|error| Error::file("read", file, error))?;
        let key = (path, content.bytes, changed);
        let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.get_or_insert_default().contains(&key) {
            return Ok(());
        }
        if Content::of_file(file, algorithm)? != *content {
            let reason = format!("it contains other bytes than {source} lists");
            return Err(damaged(file, folder, &reason));
        }
        checked.get_or_insert_default().insert(key);
        Ok(())
    }
}

/// Refuses the folder of a dataset that is not finished. `below` is what is read of it.
fn refuse_unfinished(folder: &Path, below: &Path) -> Result<(), Error> {
    let unfinished = |reason: &str| Error::NotData { path: folder.to_owned(), reason: reason.to_owned() };
    if below.as_os_str().is_empty() || below.starts_with("data") {
        if folder.join(NEW_RESULT).is_dir() {
            return Err(unfinished(
                "contains parts of two datasets, because writing the newer one was interrupted; run the command that \
                 wrote it again, which completes it",
            ));
        }
        let is_run = ["store.sqlite", "calls-in-flight"].iter().all(|name| folder.join(name).is_file());
        if is_run && !folder.join("run.json").is_file() {
            return Err(unfinished(
                "contains a run of `smoltalk gen` whose dataset is not written; run the same command again to finish it",
            ));
        }
    }
    Ok(())
}

fn damaged(file: &Path, folder: &Path, reason: &str) -> Error {
    let reason = format!(
        "{reason}; restore it, or write the dataset again (`smoltalk verify {}` lists everything that differs)",
        folder.display()
    );
    files::Error::Damaged { path: file.to_owned(), reason }.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use crate::write::{Column, ColumnType, contents, write_shards};
    use files::checksum::Content;
    use files::manifest::{FILE_NAME, Manifest};
    use serde_json::{Map, json};
    use std::num::NonZeroUsize;
    use std::path::{Path, PathBuf};

    /// A mix of four rows in two shards.
    fn mix(folder: &Path) -> Vec<PathBuf> {
        let columns = [Column { name: "text".into(), kind: ColumnType::Text }];
        let row = |index: usize| {
            Ok::<_, crate::Error>(Map::from_iter([("text".to_owned(), json!(format!("row {index}")))]))
        };
        let two = NonZeroUsize::new(2).unwrap();
        let shards =
            write_shards(&folder.join("data/default"), "train", &columns, 4, two, (0..4).map(row)).unwrap();
        let card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/default/train-*.parquet\n---\n";
        std::fs::write(folder.join("README.md"), card).unwrap();
        let entries: Vec<_> = shards.iter().map(|shard| shard.entry(folder)).collect();
        let description = json!({"program": "smoltalk 0.1.0", "shards": entries});
        std::fs::write(folder.join("mix.json"), description.to_string()).unwrap();
        let about = Map::from_iter([("program".to_owned(), json!("smoltalk mix"))]);
        Manifest { about, files: contents(folder, &shards) }.write(&folder.join(FILE_NAME)).unwrap();
        shards.into_iter().map(|shard| shard.path).collect()
    }

    fn rows(path: &Path) -> Result<usize, String> {
        let rows = crate::read(path).map_err(|error| error.to_string())?;
        rows.map(|row| row.map_err(|error| error.to_string()))
            .collect::<Result<Vec<_>, _>>()
            .map(|rows| rows.len())
    }

    #[test]
    fn a_whole_dataset_and_its_parts_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let shards = mix(folder.path());
        assert_eq!(rows(folder.path()), Ok(4));
        assert_eq!(rows(&folder.path().join("data/default")), Ok(4));
        assert_eq!(rows(&shards[1]), Ok(2));
        // What the user adds under another name of the split is read as before.
        std::fs::write(folder.path().join("data/default/train-more.jsonl"), "{\"text\": \"more\"}").unwrap();
        assert_eq!(rows(&folder.path().join("data/default")), Ok(5));
    }

    #[test]
    fn lengths_missing_shards_and_those_of_another_mix_are_noticed() {
        type Damage = fn(&[PathBuf]);
        let damages: [(&str, Damage); 3] = [
            ("does not exist", |shards| std::fs::remove_file(&shards[0]).unwrap()),
            ("bytes, ", |shards| std::fs::write(&shards[0], "").unwrap()),
            ("belongs to another dataset", |shards| {
                let other = shards[0].with_file_name("train-00000-of-00001.parquet");
                std::fs::copy(&shards[0], other).map(drop).unwrap();
            }),
        ];
        for list in [FILE_NAME, "mix.json"] {
            for (expected, damage) in damages {
                let folder = tempfile::tempdir().unwrap();
                let shards = mix(folder.path());
                if list == "mix.json" {
                    std::fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
                }
                damage(&shards);
                let error = rows(folder.path()).unwrap_err();
                assert!(error.contains(expected) && error.contains(list), "{error}");
                assert!(error.contains("smoltalk verify"), "{error}");
            }
        }
    }

    /// 100 single bits: none goes by, whether Parquet notices it or not.
    #[test]
    fn no_flipped_bit_of_a_shard_goes_by() {
        let folder = tempfile::tempdir().unwrap();
        let shards = mix(folder.path());
        let whole = std::fs::read(&shards[0]).unwrap();
        for flip in 0..100_usize {
            let bit = flip * 7919 % (8 * whole.len());
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // The file of the process before may have the same time of change: another one.
            std::fs::remove_file(&shards[0]).unwrap();
            std::fs::write(&shards[0], &bytes).unwrap();
            let error = rows(folder.path()).unwrap_err();
            assert!(error.contains("contains other bytes than"), "bit {bit}: {error}");
        }
        std::fs::write(&shards[0], &whole).unwrap();
        assert_eq!(rows(folder.path()), Ok(4));
    }

    #[test]
    fn unfinished_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        mix(folder.path());
        std::fs::create_dir(folder.path().join(".new-result")).unwrap();
        let error = rows(folder.path()).unwrap_err();
        assert!(error.contains("parts of two datasets") && error.contains("run the command"), "{error}");
        let run = tempfile::tempdir().unwrap();
        for name in ["store.sqlite", "calls-in-flight", "rows.jsonl"] {
            std::fs::write(run.path().join(name), "{\"text\": \"a\"}").unwrap();
        }
        assert!(rows(run.path()).unwrap_err().contains("whose dataset is not written"));
        let mut manifest = Manifest::default();
        manifest.insert("a", Content { bytes: 1, checksum: "sha256:00".into() });
        manifest.write(&folder.path().join(FILE_NAME)).unwrap();
        std::fs::remove_dir(folder.path().join(".new-result")).unwrap();
        assert_eq!(rows(folder.path()), Ok(4), "a list of another program says nothing of these files");
    }
}
