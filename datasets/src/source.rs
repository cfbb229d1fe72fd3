//! From a path to JSON objects: which files contain data, how they are compressed, and on which line each object is.

use crate::Error;
use crate::configs::Choice;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use text::{Elements, Lines, Paragraphs};

pub(crate) use text::Object;

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
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
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

/// The data files of a path, sorted: the file itself, or those below a folder that its dataset card selects; all of them
/// without a card.
///
/// # Errors
/// When the path is missing or contains no data file.
pub fn data_files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    chosen_files(path, Choice::default())
}

/// The data files of a path that belong to a configuration and a split.
pub(crate) fn chosen_files(path: &Path, choice: Choice<'_>) -> Result<Vec<PathBuf>, Error> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::file("read", path, error))?;
    if metadata.is_file() {
        if let Some(name) = choice.config.or(choice.split) {
            let reason =
                format!("a single file has no configuration or split `{name}`; remove it, or give a folder");
            return Err(Error::NotData { path: path.to_owned(), reason });
        }
        return match Format::of(path) {
            Some(_) => Ok(vec![path.to_owned()]),
            None => Err(Error::NotData {
                path: path.to_owned(),
                reason: "not a data file; expected .jsonl, .json, .parquet or .txt, also with .gz or .zst"
                    .to_owned(),
            }),
        };
    }
    let mut files = Vec::new();
    collect(path, &mut files, &mut HashSet::new())?;
    files.sort();
    let files = crate::configs::chosen(path, files, choice)?;
    if files.is_empty() {
        let reason = "the folder contains no .jsonl, .json, .parquet or .txt file".to_owned();
        return Err(Error::NotData { path: path.to_owned(), reason });
    }
    Ok(files)
}

/// Whether a file's name states that it contains rows.
pub fn is_data(name: &str) -> bool {
    Format::of(Path::new(name)).is_some()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>, seen: &mut HashSet<PathBuf>) -> Result<(), Error> {
    let real = folder.canonicalize().map_err(|error| Error::file("read", folder, error))?;
    // A symbolic link may point to a folder above it.
    if !seen.insert(real) {
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(|error| Error::file("read", folder, error))?;
    for entry in entries {
        let path = entry.map_err(|error| Error::file("read", folder, error))?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, files, seen)?;
        } else if Format::of(&path).is_some() {
            files.push(path);
        }
    }
    Ok(())
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
        Some(Format::Parquet) => parquet_objects(path),
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

fn parquet_objects(path: &Path) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    let not_data = |error: parquet::errors::ParquetError| Error::NotData {
        path: path.to_owned(),
        reason: format!("not a whole Parquet file ({error})"),
    };
    let file = File::open(path).map_err(|error| Error::file("read", path, error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(not_data)?;
    let batches = builder.with_batch_size(256).build().map_err(not_data)?;
    let path = path.to_owned();
    let mut number = 0;
    Ok(Box::new(batches.flat_map(move |batch| {
        let rows: Vec<Object> =
            match batch.map_err(|error| error.to_string()).and_then(|batch| batch_objects(&batch)) {
                Ok(objects) => objects
                    .into_iter()
                    .map(|object| {
                        number += 1;
                        Ok((number, object))
                    })
                    .collect(),
                Err(reason) => {
                    vec![Err(Error::Row { path: path.clone(), unit: "row", number: number + 1, reason })]
                }
            };
        rows
    })))
}

fn batch_objects(batch: &arrow::array::RecordBatch) -> Result<Vec<Map<String, Value>>, String> {
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
    serde_json::from_slice(&writer.into_inner()).map_err(|error| error.to_string())
}
