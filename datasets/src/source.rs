//! From a path to JSON objects: which files contain data, how they are compressed, and on which line each object is.

use crate::Error;
use crate::configs::Choice;
use crate::limits::RowLimits;
use crate::plain::Beside;
use crate::recorded::Recorded;
use batches::row_object;
use csv_rows::CsvRows;
use json::line_object;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use text::{Lines, Paragraphs};

pub(crate) use chosen::ChosenFiles;
pub(crate) use format::Format;
pub(crate) use json::IsRow;
pub(crate) use mend::has_large_integers;
pub(crate) use quick_object::{NumberedPlain, Origin, Quick, QuickObject};
pub(crate) use text::{NumberedObject, Object};

pub(crate) mod batches;
mod chosen;
mod collect;
mod compression;
mod csv_rows;
mod format;
mod json;
mod mend;
mod quick_object;
mod text;
mod values;

use collect::Collector;

/// What is read, for errors.
const READ: &str = ".jsonl, .json, .parquet, .arrow, .csv, .tsv or .txt";

/// The data files of a path, sorted: the file itself, or those below a folder that its dataset card or their names assign
/// to the configuration and the split. [`left_out`] names those that neither assigns.
///
/// # Errors
/// When the path is missing or contains no data file; when it is an unfinished or damaged dataset of this project.
pub fn data_files(path: &Path, choice: Choice<'_>) -> Result<Vec<PathBuf>, Error> {
    Ok(chosen_files(path, choice)?.files)
}

/// The files below a folder that are not read although their names state that they contain rows, each with the reason:
/// links that lead out of it, and files of no split where the names of others name splits.
///
/// # Errors
/// Those of [`data_files`].
pub fn left_out(path: &Path, choice: Choice<'_>) -> Result<Vec<(PathBuf, String)>, Error> {
    Ok(chosen_files(path, choice)?.left_out)
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
                reason: format!("not a data file; expected {READ}, also with .gz, .zst, .xz or .bz2"),
            });
        }
        chosen.files.push(path.to_owned());
    } else {
        Collector::new(path)?.collect(path, &mut chosen)?;
        chosen.files.sort();
        let names = crate::configs::chosen(path, std::mem::take(&mut chosen.files), choice)?;
        chosen.files = names.files;
        chosen.left_out.extend(names.left_out);
        if let (true, Some((link, reason))) = (chosen.files.is_empty(), chosen.left_out.first()) {
            return Err(Error::NotData { path: link.to_owned(), reason: reason.to_owned() });
        }
        if chosen.files.is_empty() {
            let reason = format!("the folder contains no {READ} file");
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

/// The name of the format that a file's name states; the same bytes are other rows in another format.
pub fn format_name(path: &Path) -> &'static str {
    Format::of(path).map_or("", Format::name)
}

/// The object of a row with its line (its row in Parquet), from 1.
pub type FileObject = Result<(usize, Map<String, Value>), Error>;

/// The objects of one file, whatever their fields, each with its line (its row in Parquet), from 1.
///
/// # Errors
/// When the file cannot be read or is no data file. Broken rows are errors of the iterator.
pub fn file_objects(path: &Path) -> Result<impl Iterator<Item = FileObject> + Send + use<>, Error> {
    Ok(objects(path, |_| true, RowLimits::default())?
        .map(|object| object.map(|row| (row.number, row.object))))
}

/// The objects of one file, as a stream. The first character decides whether JSON is an array or lines, whatever the
/// name states; of a single object that `is_row` does not accept, the rows within it.
pub(crate) fn objects(
    path: &Path,
    is_row: IsRow,
    limits: RowLimits,
) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    compression::refuse_foreign(path)?;
    let format = Format::of(path);
    match format {
        Some(Format::Parquet) => batches::objects(path, false, limits),
        Some(Format::Arrow) => batches::objects(path, true, limits),
        Some(Format::Csv) => Ok(Box::new(CsvRows::open(path, b',', limits)?)),
        Some(Format::Tsv) => Ok(Box::new(CsvRows::open(path, b'\t', limits)?)),
        Some(Format::Text) => Ok(Box::new(Paragraphs::new(Lines::open(path, limits)?))),
        _ => json::objects(Lines::open(path, limits)?, format == Some(Format::Json), is_row),
    }
}

impl Origin {
    /// The object of the row.
    pub(crate) fn object(&self, number: usize) -> Object {
        match self {
            Self::Line { path, text, range } => line_object(path, text, number, range.clone())
                .unwrap_or_else(|| {
                    let (path, reason) = (path.to_path_buf(), "is blank".to_owned());
                    Err(Error::Row { path, unit: "line", number, reason })
                }),
            Self::Batch { path, batch, index, limits } => row_object(path, batch, *index, number, *limits),
        }
    }
}

impl Quick {
    /// The object of the row.
    pub(crate) fn into_object(self) -> Object {
        match self {
            Self::Object(object) => Ok(object),
            Self::Plain(plain) => plain.origin.object(plain.number),
        }
    }
}

/// As [`objects`]; plain conversations of JSON lines, Parquet and Arrow are not made objects.
pub(crate) fn quick_objects(
    path: &Path,
    is_row: IsRow,
    limits: RowLimits,
    beside: Beside,
) -> Result<Box<dyn Iterator<Item = QuickObject> + Send>, Error> {
    let format = Format::of(path);
    if let Some(Format::Csv | Format::Tsv | Format::Text) = format {
        return Ok(Box::new(objects(path, is_row, limits)?.map(|object| object.map(Quick::Object))));
    }
    compression::refuse_foreign(path)?;
    match format {
        Some(Format::Parquet) => batches::quick_objects(path, false, limits, beside),
        Some(Format::Arrow) => batches::quick_objects(path, true, limits, beside),
        _ => json::quick_objects(Lines::open(path, limits)?, format == Some(Format::Json), is_row, beside),
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests;
