//! Rows from a file or a folder, one at a time, so that memory does not grow with the data.

use crate::configs::Choice;
use crate::layout::Layout;
use crate::recorded::Recorded;
use crate::source::{self, ChosenFiles, Format, Object, chosen_files};
use crate::{Error, Row};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// A row and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedRow {
    /// The row.
    pub row: Row,
    /// Its file.
    pub file: PathBuf,
    /// Its line (its row in Parquet), from 1.
    pub number: usize,
}

/// The object of a row as it is in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRow {
    /// The object.
    pub object: Map<String, Value>,
    /// The layout of its file.
    pub layout: Layout,
    /// Its file.
    pub file: PathBuf,
    /// Its line (its row in Parquet), from 1.
    pub number: usize,
}

/// The rows of a path, in the order of its files' names.
#[allow(missing_debug_implementations, reason = "holds an open reader")]
pub struct Rows {
    raw: RawRows,
}

/// The objects of a path's rows, in the order of its files' names.
#[allow(missing_debug_implementations, reason = "holds an open reader")]
pub struct RawRows {
    /// Files that are not open yet.
    files: VecDeque<PathBuf>,
    open: Option<OpenFile>,
    layouts: Vec<(PathBuf, Layout)>,
    skipped: Vec<(PathBuf, String)>,
    recorded: Recorded,
    is_folder: bool,
}

struct OpenFile {
    path: PathBuf,
    /// Of its first row.
    layout: Option<Layout>,
    objects: Box<dyn Iterator<Item = Object> + Send>,
}

/// Opens a file or every data file below a folder.
///
/// # Errors
/// When the path is missing or contains no data. Broken rows are errors of the iterator.
pub fn read(path: &Path) -> Result<Rows, Error> {
    read_chosen(path, Choice::default())
}

/// Opens a file, or the files of a folder that its dataset card assigns to a configuration and a split.
///
/// # Errors
/// As [`read()`], and when the card has no such configuration or split.
pub fn read_chosen(path: &Path, choice: Choice<'_>) -> Result<Rows, Error> {
    Ok(Rows { raw: open(path, choice)? })
}

/// The rows as objects, to write them back with all their columns.
///
/// # Errors
/// Those of [`read()`].
pub fn read_raw(path: &Path) -> Result<RawRows, Error> {
    open(path, Choice::default())
}

fn open(path: &Path, choice: Choice<'_>) -> Result<RawRows, Error> {
    let is_folder = path.is_dir();
    let ChosenFiles { files, left_out, recorded } = chosen_files(path, choice)?;
    let (files, skipped) = (files.into(), left_out);
    Ok(RawRows { files, open: None, layouts: Vec::new(), skipped, recorded, is_folder })
}

impl RawRow {
    /// The row.
    ///
    /// # Errors
    /// Names the file, the line and what was expected.
    pub fn row(self) -> Result<LocatedRow, Error> {
        let Self { object, layout, file, number } = self;
        match layout.row(object) {
            Ok(row) => Ok(LocatedRow { row, file, number }),
            Err(reason) => Err(row_error(&file, number, reason)),
        }
    }
}

impl Rows {
    /// The layout of each file read so far.
    pub fn layouts(&self) -> &[(PathBuf, Layout)] {
        self.raw.layouts()
    }

    /// The files of a folder that contain no rows and the links that lead out of it, with the reason. A file named by itself is an error instead.
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        self.raw.skipped()
    }
}

impl Iterator for Rows {
    type Item = Result<LocatedRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.raw.next()?.and_then(RawRow::row))
    }
}

impl RawRows {
    /// The layout of each file read so far.
    pub fn layouts(&self) -> &[(PathBuf, Layout)] {
        &self.layouts
    }

    /// The files of a folder that contain no rows and the links that lead out of it, with the reason. A file named by itself is an error instead.
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        &self.skipped
    }

    /// Opens the next file; `None` after the last.
    fn open_next(&mut self) -> Option<Result<(), Error>> {
        let path = self.files.pop_front()?;
        // All of it is read anyway.
        let opened = self.recorded.check_content(&path).and_then(|()| source::objects(&path));
        Some(opened.map(|objects| self.open = Some(OpenFile { path, layout: None, objects })))
    }
}

impl Iterator for RawRows {
    type Item = Result<RawRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_next()? {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            let (number, object) = match open.objects.next() {
                None => {
                    self.open = None;
                    continue;
                }
                Some(Err(error)) => {
                    // After a broken line the numbers of later ones cannot be trusted.
                    self.open = None;
                    return Some(Err(error));
                }
                Some(Ok(numbered)) => numbered,
            };
            let file = open.path.clone();
            let layout = match open.layout.map_or_else(|| Layout::of(&object), Ok) {
                Ok(layout) => layout,
                // Folders contain other JSON files too, such as an index of the data files.
                Err(reason) if self.is_folder && Format::of(&file) == Some(Format::Json) => {
                    self.skipped.push((file, reason));
                    self.open = None;
                    continue;
                }
                Err(reason) => return Some(Err(row_error(&file, number, reason))),
            };
            if open.layout.replace(layout).is_none() {
                self.layouts.push((file.clone(), layout));
            }
            return Some(Ok(RawRow { object, layout, file, number }));
        }
    }
}

fn row_error(file: &Path, number: usize, reason: String) -> Error {
    let unit = Format::of(file).map_or("line", Format::unit);
    Error::Row { path: file.to_owned(), unit, number, reason }
}
