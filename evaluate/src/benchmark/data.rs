//! The rows of datasets, wherever the user has them: one file, a folder of datasets in the hub's tree or under short
//! names, the hub's own cache, or the hub itself.

use super::split_files::{incomplete, split_names, stems};
use crate::task::{DataSet, Row};
use anyhow::{Context, Result, bail, ensure};
use hub::{Id, Kind, Repository, Settings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The place that `--data` names, and what was read of it.
pub(super) struct Data {
    place: Place,
    read: BTreeMap<PathBuf, (Rc<Vec<Row>>, String)>,
    /// Whether rows that cannot be read are left out.
    skip_invalid: bool,
}

enum Place {
    /// A file or a folder.
    Local(PathBuf),
    /// The hub's cache and the hub: each dataset under its own id, or all of them in this one.
    Hub(Option<Id>),
}

/// A data file, and its name in results.
#[derive(Debug, PartialEq)]
struct DataFile {
    path: PathBuf,
    name: String,
}

/// Rows and the SHA-256 of each file that they come from.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) files: BTreeMap<String, String>,
}

impl Data {
    /// `None` is the hub. Refuses a place that neither exists nor can be a hub id.
    pub(super) fn open(place: Option<&Path>, skip_invalid: bool) -> Result<Self> {
        let place = match place {
            None => Place::Hub(None),
            Some(path) if path.exists() => Place::Local(path.to_owned()),
            Some(path) => Place::Hub(Some(path.to_str().and_then(Id::parse).with_context(|| {
                format!(
                    "{} does not exist; give `--data` a data file, a folder of datasets, the hub's cache or a \
                     dataset's hub id (`owner/name`), or leave it out for the tasks' own datasets on the hub",
                    path.display()
                )
            })?)),
        };
        Ok(Self { place, read: BTreeMap::new(), skip_invalid })
    }

    /// All rows of a dataset's split.
    ///
    /// # Errors
    /// Names the dataset and how to get it, or the file and the row that cannot be read.
    pub(super) fn rows(&mut self, set: &DataSet) -> Result<Rows> {
        let found = match &self.place {
            Place::Local(file) if file.is_file() => {
                vec![DataFile { path: file.clone(), name: file_name(file) }]
            }
            Place::Local(root) => locate(root, set)?,
            Place::Hub(id) => fetch(id.as_ref(), set)?,
        };
        let (mut rows, mut files) = (Vec::new(), BTreeMap::new());
        for file in &found {
            let (file_rows, hash) = self.read_file(file)?;
            files.insert(file.name.clone(), hash);
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
        let names = || found.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ");
        ensure!(!rows.is_empty(), "{} has no rows in {}", set.name(), names());
        Ok(Rows { rows, files })
    }

    fn read_file(&mut self, file: &DataFile) -> Result<(Rc<Vec<Row>>, String)> {
        if let Some((rows, hash)) = self.read.get(&file.path) {
            return Ok((Rc::clone(rows), hash.clone()));
        }
        let skip_invalid = self.skip_invalid;
        let objects = datasets::file_objects(&file.path)?.filter_map(|object| match object {
            Ok((number, columns)) => Some(Ok(Row { columns, place: format!("{}, row {number}", file.name) })),
            Err(error) if skip_invalid && error.is_of_one_row() => {
                terminal::message!("warning: left out: {error}");
                None
            }
            Err(error) => Some(Err(error)),
        });
        let rows = Rc::new(objects.collect::<Result<Vec<Row>, datasets::Error>>()?);
        let hash = files::hash::sha256_of_file(&file.path)?;
        self.read.insert(file.path.clone(), (Rc::clone(&rows), hash.clone()));
        Ok((rows, hash))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Rows with a value in a column; a file without the column is of one subject already.
fn only(rows: &[Row], column: &str, wanted: &str) -> Vec<Row> {
    let has = |row: &&Row| row.columns.get(column).is_none_or(|value| value.as_str() == Some(wanted));
    rows.iter().filter(has).cloned().collect()
}

/// The files of a split on the hub. What the cache has whole needs no network.
fn fetch(id: Option<&Id>, set: &DataSet) -> Result<Vec<DataFile>> {
    let stem = stems(set).remove(0);
    let own = Id::parse(set.repository).filter(|_| set.is_on_hub);
    let Some(id) = id.or(own.as_ref()) else {
        bail!(
            "{} is not on the hub; put {stem}.json (or .jsonl) in FOLDER/{} and give `--data FOLDER` with all datasets in it",
            set.name(),
            set.folders.first().unwrap_or(&"")
        );
    };
    let settings = Settings::from_environment()?;
    let cached = Repository::open(settings.clone().offline(), Kind::Dataset, id);
    let cached = cached.ok().and_then(|repository| {
        let names = names_on_hub(&repository, set).filter(|names| incomplete(names).is_none())?;
        let folder = repository.fetch(&names).ok()?;
        Some(hub_files(id, &repository, &folder, &names))
    });
    if let Some(files) = cached {
        return Ok(files);
    }
    let repository = Repository::open(settings, Kind::Dataset, id).with_context(|| set.name())?;
    let names = names_on_hub(&repository, set).with_context(|| {
        format!(
            "the dataset {id} on the hub has no {stem} of {}; give `--data FOLDER` with the file",
            set.name()
        )
    })?;
    if let Some(reason) = incomplete(&names) {
        bail!("{} on the hub: {reason}", set.name());
    }
    let folder = repository.fetch(&names).with_context(|| set.name())?;
    Ok(hub_files(id, &repository, &folder, &names))
}

fn hub_files(id: &Id, repository: &Repository, folder: &Path, names: &[String]) -> Vec<DataFile> {
    let file = |name: &String| DataFile {
        path: folder.join(name),
        name: format!("{}@{}/{name}", id.repository(), repository.commit()),
    };
    names.iter().map(file).collect()
}

/// The names of a split's files in a repository.
fn names_on_hub(repository: &Repository, set: &DataSet) -> Option<Vec<String>> {
    let folders = inner_folders(set);
    let in_folder = |folder: &str| {
        let own = repository.names().iter().filter_map(|name| {
            let (parent, file) = name.rsplit_once('/').unwrap_or(("", name));
            (parent == folder).then(|| file.to_owned())
        });
        own.collect::<Vec<String>>()
    };
    for folder in &folders {
        let names = in_folder(folder);
        for stem in stems(set) {
            let found = split_names(names.clone(), &stem);
            if !found.is_empty() {
                let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
                return Some(found.into_iter().map(|name| format!("{prefix}{name}")).collect());
            }
        }
    }
    None
}

/// The folders of a repository that may have a configuration's files, the most certain first.
fn inner_folders(set: &DataSet) -> Vec<String> {
    let mut folders = match set.config {
        "" => vec![String::new(), "data".to_owned()],
        config => vec![config.to_owned(), format!("data/{config}"), "data".to_owned(), String::new()],
    };
    folders.extend(set.only.as_ref().map(|(_, subject)| subject.clone()));
    folders
}

/// The files of a split below a folder, in the order of their names.
fn locate(root: &Path, set: &DataSet) -> Result<Vec<DataFile>> {
    let short = set.repository.rsplit('/').next().unwrap_or_default();
    let bases = bases(root, set, short)?;
    let folders = bases.iter().flat_map(|base| inner_folders(set).into_iter().map(|inner| base.join(inner)));
    for folder in folders.filter(|folder| folder.is_dir()) {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        for stem in stems(set) {
            let found = split_names(names.clone(), &stem);
            if let Some(reason) = incomplete(&found) {
                bail!("{}: {reason} in {}; download the others", set.name(), folder.display());
            }
            if !found.is_empty() {
                let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
                let file = |path: PathBuf| DataFile { name: name(&path), path };
                return Ok(found.into_iter().map(|name| file(folder.join(name))).collect());
            }
        }
    }
    bail!("{}", missing(root, set))
}

/// How to get what is not below a folder.
fn missing(root: &Path, set: &DataSet) -> String {
    let (place, name, stem) = (root.display(), set.name(), stems(set).remove(0));
    if !set.is_on_hub {
        let folder = set.folders.first().unwrap_or(&"");
        return format!("{name} is not below {place}; put {stem}.json (or .jsonl) in {place}/{folder}");
    }
    format!(
        "{name} is not below {place}; download it with `hf download --repo-type dataset {0} --local-dir \
         {place}/{0}`, put {stem}.jsonl in {place}/{0}{1}{2}, or leave `--data` out to fetch it",
        set.repository,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str) -> PathBuf {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, "{\"question\": \"q\"}\n").expect("a file");
        path
    }

    fn paths(files: Vec<DataFile>) -> Vec<PathBuf> {
        files.into_iter().map(|file| file.path).collect()
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
            assert_eq!(paths(locate(folder.path(), &set).expect("a file")), [path], "{name}");
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
            paths(locate(folder.path(), &DataSet::new("cais/mmlu", "all", "test")).expect("files")),
            [first, second.clone()]
        );
        std::fs::remove_file(second).expect("removed");
        let error = locate(folder.path(), &DataSet::new("cais/mmlu", "all", "test")).expect_err("half of it");
        assert!(error.to_string().contains("1 of 2 shards"), "{error}");
    }
}
