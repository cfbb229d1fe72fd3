//! Rows from a file or a folder, one at a time: memory does not grow with the data.

use crate::configs::Choice;
use crate::layout::Layout;
use crate::source::{Format, Object, chosen_files};
use crate::{Error, Row};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// A row and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The row.
    pub row: Row,
    /// Its file.
    pub file: PathBuf,
    /// Its line (its row in Parquet), from 1.
    pub number: usize,
}

/// An object of a data file, as it is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The object.
    pub object: Map<String, Value>,
    /// How its file lays rows out.
    pub layout: Layout,
    /// Its file.
    pub file: PathBuf,
    /// Its line (its row in Parquet), from 1.
    pub number: usize,
}

/// The rows of a path, in the order of its files' names.
#[allow(missing_debug_implementations, reason = "holds an open reader")]
pub struct Rows {
    objects: Objects,
}

/// The objects that a path's rows are made of, in the order of its files' names.
#[allow(missing_debug_implementations, reason = "holds an open reader")]
pub struct Objects {
    waiting: VecDeque<PathBuf>,
    current: Option<Reading>,
    layouts: Vec<(PathBuf, Layout)>,
    skipped: Vec<(PathBuf, String)>,
    in_folder: bool,
}

struct Reading {
    file: PathBuf,
    layout: Option<Layout>,
    objects: Box<dyn Iterator<Item = Object> + Send>,
}

/// Opens a file or every data file below a folder.
///
/// # Errors
/// When the path is missing or holds no data; broken rows are errors of the iterator.
pub fn read(path: &Path) -> Result<Rows, Error> {
    read_chosen(path, Choice::default())
}

/// Opens a file, or of a folder the files of a configuration and a split that its card names.
///
/// # Errors
/// As [`read()`], and when the card has no such configuration or split.
pub fn read_chosen(path: &Path, choice: Choice<'_>) -> Result<Rows, Error> {
    Ok(Rows { objects: open(path, choice)? })
}

/// The same rows before they are turned into ours: for what goes back to disk as it came.
///
/// # Errors
/// Those of [`read`].
pub fn objects(path: &Path) -> Result<Objects, Error> {
    open(path, Choice::default())
}

fn open(path: &Path, choice: Choice<'_>) -> Result<Objects, Error> {
    let in_folder = path.is_dir();
    let waiting = chosen_files(path, choice)?.into();
    Ok(Objects { waiting, current: None, layouts: Vec::new(), skipped: Vec::new(), in_folder })
}

impl Found {
    /// The row.
    ///
    /// # Errors
    /// Names the file, the line and what was expected.
    pub fn row(self) -> Result<Located, Error> {
        let Self { object, layout, file, number } = self;
        match layout.row(object) {
            Ok(row) => Ok(Located { row, file, number }),
            Err(reason) => Err(row_error(&file, number, reason)),
        }
    }
}

impl Rows {
    /// The layout found in each file read so far.
    pub fn layouts(&self) -> &[(PathBuf, Layout)] {
        self.objects.layouts()
    }

    /// Files of a folder that hold no rows, and why; a file named by itself is an error instead.
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        self.objects.skipped()
    }
}

impl Iterator for Rows {
    type Item = Result<Located, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.objects.next()?.and_then(Found::row))
    }
}

impl Objects {
    /// The layout found in each file read so far.
    pub fn layouts(&self) -> &[(PathBuf, Layout)] {
        &self.layouts
    }

    /// Files of a folder that hold no rows, and why; a file named by itself is an error instead.
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        &self.skipped
    }

    /// Opens the next file; its error is an error of the rows unless it is one file of many.
    fn open_next(&mut self) -> Option<Result<(), Error>> {
        let file = self.waiting.pop_front()?;
        match crate::source::objects(&file) {
            Ok(objects) => self.current = Some(Reading { file, layout: None, objects }),
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(()))
    }
}

impl Iterator for Objects {
    type Item = Result<Found, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(reading) = &mut self.current else {
                match self.open_next()? {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            let (number, object) = match reading.objects.next() {
                None => {
                    self.current = None;
                    continue;
                }
                Some(Err(error)) => {
                    // What follows a broken line cannot be trusted to be where it seems.
                    self.current = None;
                    return Some(Err(error));
                }
                Some(Ok(found)) => found,
            };
            let file = reading.file.clone();
            let layout = match reading.layout.map_or_else(|| Layout::of(&object), Ok) {
                Ok(layout) => layout,
                // Folders hold other JSON too, such as an index of the files.
                Err(reason) if self.in_folder && Format::of(&file) == Some(Format::Json) => {
                    self.skipped.push((file, reason));
                    self.current = None;
                    continue;
                }
                Err(reason) => return Some(Err(row_error(&file, number, reason))),
            };
            if reading.layout.replace(layout).is_none() {
                self.layouts.push((file.clone(), layout));
            }
            return Some(Ok(Found { object, layout, file, number }));
        }
    }
}

fn row_error(file: &Path, number: usize, reason: String) -> Error {
    let unit = Format::of(file).map_or("line", Format::unit);
    Error::Row { path: file.to_owned(), unit, number, reason }
}
