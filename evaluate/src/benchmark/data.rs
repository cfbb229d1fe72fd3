//! The rows of datasets, wherever the user has them: one file, a folder of datasets in the hub's tree or under short
//! names, or the hub's own cache.

use crate::task::{DataSet, Row};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The extensions of data files, without those of compression.
const FORMATS: [&str; 4] = [".jsonl", ".parquet", ".json", ".ndjson"];

/// The place that `--data` names, and what was read of it.
pub(super) struct Data {
    root: PathBuf,
    read: BTreeMap<PathBuf, (Rc<Vec<Row>>, String)>,
}

/// Rows and the SHA-256 of each file that they come from.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) files: BTreeMap<String, String>,
}

impl Data {
    /// Refuses a place that does not exist.
    pub(super) fn open(root: &Path) -> Result<Self> {
        ensure!(
            root.exists(),
            "{} does not exist; give `--data` a data file, a folder of datasets or the hub's cache",
            root.display()
        );
        Ok(Self { root: root.to_owned(), read: BTreeMap::new() })
    }

    /// All rows of a dataset's split.
    ///
    /// # Errors
    /// Names the dataset and how to get it, or the file and the row that cannot be read.
    pub(super) fn rows(&mut self, set: &DataSet) -> Result<Rows> {
        let (mut rows, mut files) = (Vec::new(), BTreeMap::new());
        let paths = match self.root.is_file() {
            true => vec![self.root.clone()],
            false => locate(&self.root, set)?,
        };
        for path in paths {
            let (file_rows, hash) = self.read_file(&path)?;
            files.insert(self.name(&path), hash);
            match &set.only {
                None => rows.extend(file_rows.iter().cloned()),
                Some((column, wanted)) => rows.extend(only(&file_rows, column, wanted)),
            }
        }
        if let Some((column, range)) = &set.numbers {
            rows.retain(|row| {
                row.columns.get(*column).and_then(Value::as_u64).is_none_or(|one| range.contains(&one))
            });
        }
        ensure!(!rows.is_empty(), "{} has no rows in {}", set.name(), self.root.display());
        Ok(Rows { rows, files })
    }

    fn read_file(&mut self, path: &Path) -> Result<(Rc<Vec<Row>>, String)> {
        if let Some((rows, hash)) = self.read.get(path) {
            return Ok((Rc::clone(rows), hash.clone()));
        }
        let place = self.name(path);
        let objects = datasets::file_objects(path)?.map(|object| {
            let (number, columns) = object?;
            Ok(Row { columns, place: format!("{place}, row {number}") })
        });
        let rows = Rc::new(objects.collect::<Result<Vec<Row>, datasets::Error>>()?);
        let hash = files::hash::sha256_of_file(path)?;
        self.read.insert(path.to_owned(), (Rc::clone(&rows), hash.clone()));
        Ok((rows, hash))
    }

    /// A path as results name it: below `--data`.
    fn name(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.root).ok().filter(|below| !below.as_os_str().is_empty());
        let file_name = || path.file_name().map(PathBuf::from).unwrap_or_default();
        below.map_or_else(file_name, Path::to_owned).display().to_string()
    }
}

/// Rows with a value in a column; a file without the column is of one subject already.
fn only(rows: &[Row], column: &str, wanted: &str) -> Vec<Row> {
    let has = |row: &&Row| row.columns.get(column).is_none_or(|value| value.as_str() == Some(wanted));
    rows.iter().filter(has).cloned().collect()
}

/// The files of a split below a folder, in the order of their names.
fn locate(root: &Path, set: &DataSet) -> Result<Vec<PathBuf>> {
    let name = set.repository.rsplit('/').next().unwrap_or_default();
    let mut stems: Vec<String> = set.files.iter().map(|file| (*file).to_owned()).collect();
    stems.push(set.split.to_owned());
    stems.extend(
        [set.config, name]
            .iter()
            .flat_map(|prefix| [format!("{prefix}-{}", set.split), format!("{prefix}_{}", set.split)]),
    );
    let mut folders = Vec::new();
    for base in bases(root, set, name)? {
        let subject = set.only.as_ref().map(|(_, subject)| base.join(subject));
        let inner = [base.join(set.config), base.join("data").join(set.config), base.join("data"), base];
        folders.extend(inner.into_iter().chain(subject));
    }
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for stem in &stems {
            let files = files_with_stem(folder, stem)?;
            if !files.is_empty() {
                return Ok(files);
            }
        }
    }
    let place = root.display();
    bail!(
        "{} is not below {place}; download it with `hf download --repo-type dataset {1} --local-dir \
         {place}/{1}`, or put {2}.jsonl in {place}/{1}{3}{4}",
        set.name(),
        set.repository,
        stems[0],
        if set.config.is_empty() { "" } else { "/" },
        set.config
    )
}

/// The folders that may be the dataset's repository, the most certain first.
fn bases(root: &Path, set: &DataSet, name: &str) -> Result<Vec<PathBuf>> {
    let mut bases = Vec::new();
    let cached = format!("datasets--{}", set.repository.replace('/', "--"));
    for parent in [root.to_owned(), root.join("hub")] {
        bases.extend(snapshots(&parent.join(&cached))?);
        bases.extend([parent.join(set.repository), parent.join(name)]);
        bases.extend(set.folders.iter().map(|folder| parent.join(folder)));
    }
    // The folder itself, if it is the repository and not a folder of several.
    let root_name = root.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let is_it = |folder: &str| Some(folder) == root_name.as_deref();
    if is_it(name) || set.folders.iter().any(|folder| is_it(folder)) || is_it(&cached) {
        bases.extend(snapshots(root)?);
        bases.push(root.to_owned());
    }
    if root.components().any(|part| part.as_os_str() == cached.as_str()) {
        bases.push(root.to_owned());
    }
    Ok(bases)
}

/// The snapshots of a repository in the hub's cache: the one that `main` names, or all.
fn snapshots(repository: &Path) -> Result<Vec<PathBuf>> {
    let folder = repository.join("snapshots");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    if let Ok(commit) = std::fs::read_to_string(repository.join("refs/main")) {
        let snapshot = folder.join(commit.trim());
        if snapshot.is_dir() {
            return Ok(vec![snapshot]);
        }
    }
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    Ok(found)
}

/// `STEM.jsonl`, or the shards `STEM-00000-of-00002.parquet`, also compressed.
fn files_with_stem(folder: &Path, stem: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
        let bare = FORMATS.iter().find_map(|format| name.strip_suffix(format));
        bare.is_some_and(|bare| bare == stem || bare.strip_prefix(stem).is_some_and(is_shard))
    });
    files.sort();
    // The same rows in two formats are not two shards.
    let first_is_whole = files.first().is_some_and(|path| !path.to_string_lossy().contains("-of-"));
    files.truncate(if first_is_whole { 1 } else { usize::MAX });
    Ok(files)
}

/// Whether the rest of a name is `-00000-of-00002`.
fn is_shard(rest: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = rest.strip_prefix('-').and_then(|rest| rest.split_once("-of-"));
    numbers.is_some_and(|(index, count)| digits(index) && digits(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str) -> PathBuf {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, "{\"question\": \"q\"}\n").expect("a file");
        path
    }

    #[test]
    fn a_split_is_found_in_every_layout() {
        let set = DataSet { folders: &["arc"], ..DataSet::new("allenai/ai2_arc", "ARC-Easy", "test") };
        for name in [
            "allenai/ai2_arc/ARC-Easy/test-00000-of-00001.parquet",
            "ai2_arc/ARC-Easy/test.jsonl",
            "arc/ARC-Easy/test.jsonl.gz",
            "datasets--allenai--ai2_arc/snapshots/210d026/ARC-Easy/test-00000-of-00001.parquet",
            "hub/datasets--allenai--ai2_arc/snapshots/210d026/ARC-Easy/test-00000-of-00001.parquet",
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let path = write(folder.path(), name);
            write(folder.path(), "ai2_arc/ARC-Challenge/test.jsonl");
            write(folder.path(), "other/test.jsonl");
            assert_eq!(locate(folder.path(), &set).expect("a file"), [path], "{name}");
        }
    }

    #[test]
    fn the_files_of_another_dataset_are_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "test.jsonl");
        write(folder.path(), "piqa/validation-first2000.jsonl");
        let arc = DataSet::new("allenai/ai2_arc", "ARC-Easy", "test");
        let error = locate(folder.path(), &arc).expect_err("not there").to_string();
        assert!(error.contains("allenai/ai2_arc") && error.contains("hf download"), "{error}");
        assert!(locate(folder.path(), &DataSet::new("baber/piqa", "", "validation")).is_err());
    }

    #[test]
    fn shards_are_read_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = write(folder.path(), "mmlu/all/test-00000-of-00002.parquet");
        let second = write(folder.path(), "mmlu/all/test-00001-of-00002.parquet");
        assert_eq!(
            locate(folder.path(), &DataSet::new("cais/mmlu", "all", "test")).expect("files"),
            [first, second]
        );
    }
}
