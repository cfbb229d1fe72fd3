//! From a path to JSON objects: which files contain data, how they are compressed, and on which line each object is.

use crate::Error;
use crate::configs::Choice;
use crate::recorded::Recorded;
use parquet_rows::ParquetRows;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use text::{Elements, Lines, Paragraphs};

pub(crate) use text::Object;

mod parquet_rows;
mod text;

/// The format that a file's name states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLines,
    Json,
    Parquet,
    Text,
}

impl Format {
    /// The format of an extension, before `.gz` or `.zst`; `None` for any other file.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        // A name need not be UTF-8 for its extension to be read.
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "json" => Some(Self::Json),
            "parquet" => Some(Self::Parquet),
            "txt" => Some(Self::Text),
            _ => None,
        }
    }

    /// What errors count in this format.
    pub(crate) fn unit(self) -> &'static str {
        if self == Self::Parquet { "row" } else { "line" }
    }
}

/// The files of a path that are read.
#[derive(Debug, Default)]
pub(crate) struct ChosenFiles {
    pub(crate) files: Vec<PathBuf>,
    /// Links that lead out of the folder, with the reason why they are not followed.
    pub(crate) left_out: Vec<(PathBuf, String)>,
    pub(crate) recorded: Recorded,
}

/// The data files of a path, sorted: the file itself, or those below a folder that its dataset card selects; all of them
/// without a card. Links that lead out of the folder are left out; [`left_out`] names them.
///
/// # Errors
/// When the path is missing or contains no data file; when it is an unfinished or damaged dataset of this project.
pub fn data_files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(chosen_files(path, Choice::default())?.files)
}

/// The links below a folder that are not followed, each with the reason.
///
/// # Errors
/// When the folder cannot be read.
pub fn left_out(path: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut chosen = ChosenFiles::default();
    if path.is_dir() {
        Collector::new(path)?.collect(path, &mut chosen)?;
    }
    Ok(chosen.left_out)
}

/// The data files of a path that belong to a configuration and a split.
pub(crate) fn chosen_files(path: &Path, choice: Choice<'_>) -> Result<ChosenFiles, Error> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::file("read", path, error))?;
    let mut chosen = ChosenFiles { recorded: Recorded::of(path)?, ..ChosenFiles::default() };
    if metadata.is_file() {
        if let Some(name) = choice.config.or(choice.split) {
            let reason =
                format!("a single file has no configuration or split `{name}`; remove it, or give a folder");
            return Err(Error::NotData { path: path.to_owned(), reason });
        }
        if Format::of(path).is_none() {
            return Err(Error::NotData {
                path: path.to_owned(),
                reason: "not a data file; expected .jsonl, .json, .parquet or .txt, also with .gz or .zst"
                    .to_owned(),
            });
        }
        chosen.files.push(path.to_owned());
    } else {
        Collector::new(path)?.collect(path, &mut chosen)?;
        chosen.files.sort();
        chosen.files = crate::configs::chosen(path, std::mem::take(&mut chosen.files), choice)?;
        if let (true, Some((link, reason))) = (chosen.files.is_empty(), chosen.left_out.first()) {
            return Err(Error::NotData { path: link.to_owned(), reason: reason.to_owned() });
        }
        if chosen.files.is_empty() {
            let reason = "the folder contains no .jsonl, .json, .parquet or .txt file".to_owned();
            return Err(Error::NotData { path: path.to_owned(), reason });
        }
    }
    chosen.recorded.check(&chosen.files, metadata.is_dir())?;
    Ok(chosen)
}

/// Whether a file's name states that it contains rows.
pub fn is_data(name: &str) -> bool {
    Format::of(Path::new(name)).is_some()
}

/// Finds the data files below a folder, without leaving it.
struct Collector {
    root: PathBuf,
    /// The files that the links of a snapshot in the cache of the Hugging Face hub lead to.
    blobs: Option<PathBuf>,
    seen: HashSet<PathBuf>,
}

impl Collector {
    fn new(folder: &Path) -> Result<Self, Error> {
        let root = folder.canonicalize().map_err(|error| Error::file("read", folder, error))?;
        let snapshots =
            root.ancestors().find(|above| above.file_name().is_some_and(|name| name == "snapshots"));
        let blobs = snapshots.and_then(Path::parent).map(|repository| repository.join("blobs"));
        Ok(Self { root, blobs, seen: HashSet::new() })
    }

    fn collect(&mut self, folder: &Path, chosen: &mut ChosenFiles) -> Result<(), Error> {
        let real = folder.canonicalize().map_err(|error| Error::file("read", folder, error))?;
        // A symbolic link may point to a folder above it.
        if !self.seen.insert(real) {
            return Ok(());
        }
        let entries = std::fs::read_dir(folder).map_err(|error| Error::file("read", folder, error))?;
        for entry in entries {
            let path = entry.map_err(|error| Error::file("read", folder, error))?.path();
            let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let is_wanted = |path: &Path| path.is_dir() || Format::of(path).is_some();
            if is_hidden || !is_wanted(&path) {
                continue;
            }
            if let Some(target) = self.outside(&path) {
                let reason = format!(
                    "it is a link to {}, outside the dataset; copy what it leads to if it belongs to the dataset",
                    target.display()
                );
                chosen.left_out.push((path, reason));
            } else if path.is_dir() {
                self.collect(&path, chosen)?;
            } else {
                chosen.files.push(path);
            }
        }
        Ok(())
    }

    /// Where a link leads that leaves the folder.
    fn outside(&self, path: &Path) -> Option<PathBuf> {
        path.symlink_metadata().ok().filter(|metadata| metadata.file_type().is_symlink())?;
        // A link to nothing is an error when it is read.
        let target = path.canonicalize().ok()?;
        let is_inside = target.starts_with(&self.root)
            || self.blobs.as_ref().is_some_and(|blobs| target.starts_with(blobs));
        (!is_inside).then_some(target)
    }
}

/// The object of a row with its line (its row in Parquet), from 1.
pub type FileObject = Result<(usize, Map<String, Value>), Error>;

/// The objects of one file, whatever their fields, each with its line (its row in Parquet), from 1.
///
/// # Errors
/// When the file cannot be read or is no data file. Broken rows are errors of the iterator.
pub fn file_objects(path: &Path) -> Result<impl Iterator<Item = FileObject> + Send, Error> {
    objects(path)
}

/// The objects of one file, as a stream. The first character decides whether JSON is an array or lines, whatever the
/// name states.
pub(crate) fn objects(path: &Path) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    match Format::of(path) {
        Some(Format::Parquet) => Ok(Box::new(ParquetRows::open(path)?)),
        Some(Format::Text) => Ok(Box::new(Paragraphs::new(Lines::open(path)?))),
        _ => {
            let mut lines = Lines::open(path)?;
            match lines.first_character() {
                Some(b'[') => Ok(Box::new(Elements::read(lines)?)),
                Some(b'{') if Format::of(path) == Some(Format::Json) => {
                    Ok(Box::new(lines.whole_objects()?.into_iter()))
                }
                _ => Ok(Box::new(std::iter::from_fn(move || lines.next_object()))),
            }
        }
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
