//! Rows from a file or a folder, one at a time, so that memory does not grow with the data. All commands read here.

use crate::error::InvalidRow;
use crate::layout::Layout;
use crate::options::{NamedColumn, ReadOptions};
use crate::plain::Beside;
use crate::quick::{PlainRow, QuickRow};
use crate::raw_row::{LocatedRow, RawRow, row_error};
use crate::recorded::Recorded;
use crate::source::{self, ChosenFiles, Format, NumberedObject, Quick, QuickObject, chosen_files};
use crate::trees::{Trees, is_flat_message};
use crate::{Error, RowLimits};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    columns: Arc<[NamedColumn]>,
    skip_invalid: bool,
    limits: RowLimits,
    invalid: Vec<InvalidRow>,
    surrogates: usize,
    /// What is read of plain conversations, which are not made objects then.
    quick: Option<Beside>,
}

struct OpenFile {
    path: PathBuf,
    shared_path: Arc<Path>,
    /// Of its first row.
    layout: Option<Layout>,
    objects: QuickObjects,
}

/// The rows of a file.
type QuickObjects = Box<dyn Iterator<Item = QuickObject> + Send>;

/// Opens a file or the data files below a folder.
///
/// # Errors
/// When the path is missing or contains no data. Broken rows are errors of the iterator, which goes on after them.
pub fn read(path: &Path) -> Result<Rows, Error> {
    read_with(path, &ReadOptions::default())
}

/// As [`read()`], as the options say: of a configuration and a split, with columns by name, without invalid rows.
///
/// # Errors
/// As [`read()`], and when the card has no such configuration or split.
pub fn read_with(path: &Path, options: &ReadOptions) -> Result<Rows, Error> {
    Ok(Rows { raw: RawRows::quick(path, options, Beside::Kept)? })
}

/// The rows as objects, to write them back with all their columns.
///
/// # Errors
/// Those of [`read()`].
pub fn read_raw(path: &Path) -> Result<RawRows, Error> {
    read_raw_with(path, &ReadOptions::default())
}

/// As [`read_raw`], as the options say.
///
/// # Errors
/// Those of [`read_with`].
pub fn read_raw_with(path: &Path, options: &ReadOptions) -> Result<RawRows, Error> {
    let chosen = chosen_files(path, options.choice())?;
    Ok(RawRows::new(chosen, path.is_dir(), options))
}

impl RawRows {
    /// As [`read_raw_with`], plain conversations as such. Columns that the user names make rows of their own.
    fn quick(path: &Path, options: &ReadOptions, beside: Beside) -> Result<Self, Error> {
        let rows = read_raw_with(path, options)?;
        Ok(Self { quick: Some(beside).filter(|_| options.columns.is_empty()), ..rows })
    }
}

impl Rows {
    /// The layout of each file read so far.
    pub fn layouts(&self) -> &[(PathBuf, Layout)] {
        self.raw.layouts()
    }

    /// The files of a folder that are not read although they look like data, with the reason. A file named by itself is an
    /// error instead.
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        self.raw.skipped()
    }

    /// Takes the rows that were left out since the last call.
    pub fn take_invalid(&mut self) -> Vec<InvalidRow> {
        self.raw.take_invalid()
    }

    /// Characters read so far that were halves of surrogate pairs and became U+FFFD.
    pub fn surrogates(&self) -> usize {
        self.raw.surrogates
    }
}

impl Iterator for Rows {
    type Item = Result<LocatedRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = self.raw.next_quick()?.and_then(|row| match row {
                QuickRow::Plain(plain) => Ok(plain.located()),
                QuickRow::Raw(raw) => raw.row(),
            });
            match row {
                Err(error) if self.raw.skip_invalid && error.is_of_one_row() => {
                    self.raw.invalid.push(invalid(&error));
                }
                row => return Some(row),
            }
        }
    }
}

impl RawRows {
    fn new(chosen: ChosenFiles, is_folder: bool, options: &ReadOptions) -> Self {
        let ChosenFiles { files, left_out, recorded } = chosen;
        Self {
            files: files.into(),
            open: None,
            layouts: Vec::new(),
            skipped: left_out,
            recorded,
            is_folder,
            columns: options.columns.as_slice().into(),
            skip_invalid: options.skip_invalid,
            limits: options.limits,
            invalid: Vec::new(),
            surrogates: 0,
            quick: None,
        }
    }

    /// The layout of each file read so far.
    pub fn layouts(&self) -> &[(PathBuf, Layout)] {
        &self.layouts
    }

    /// The files of a folder that are not read although they look like data, with the reason. A file named by itself is an
    /// error instead.
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        &self.skipped
    }

    /// Takes the rows that were left out since the last call.
    pub fn take_invalid(&mut self) -> Vec<InvalidRow> {
        std::mem::take(&mut self.invalid)
    }

    /// Characters read so far that were halves of surrogate pairs and became U+FFFD.
    pub fn surrogates(&self) -> usize {
        self.surrogates
    }

    /// Opens the next file; `None` after the last.
    fn open_next(&mut self) -> Option<Result<(), Error>> {
        let path = self.files.pop_front()?;
        // All of it is read anyway.
        let opened = self.recorded.check_content(&path).and_then(|()| match self.quick {
            Some(beside) => source::quick_objects(&path, has_layout, self.limits, beside),
            None => {
                let objects = source::objects(&path, has_layout, self.limits)?;
                Ok(Box::new(objects.map(|object| object.map(Quick::Object))) as QuickObjects)
            }
        });
        Some(opened.map(|objects| {
            let (objects, shared_path) = (with_trees(&path, objects), path.as_path().into());
            self.open = Some(OpenFile { objects, path, shared_path, layout: None });
        }))
    }

    /// The next row that can be read, or the error of one that cannot.
    fn next_row(&mut self) -> Option<Result<QuickRow, Error>> {
        loop {
            let Some(open) = &mut self.open else {
                match self.open_next()? {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            let quick = match open.objects.next() {
                None => {
                    self.open = None;
                    continue;
                }
                // The next line is another row: what is broken as a whole ends by itself.
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(quick)) => quick,
            };
            let limits = self.limits;
            let quick = match (quick, open.layout) {
                (Quick::Plain(plain), None | Some(Layout::Messages)) => {
                    if open.layout.replace(Layout::Messages).is_none() {
                        self.layouts.push((open.path.clone(), Layout::Messages));
                    }
                    return Some(Ok(QuickRow::Plain(PlainRow::new(plain, open.shared_path.clone(), limits))));
                }
                (quick, _) => quick,
            };
            let NumberedObject { number, object, surrogates } = match quick.into_object() {
                Ok(object) => object,
                Err(error) => return Some(Err(error)),
            };
            self.surrogates += surrogates;
            let file = open.path.clone();
            let layout = match open.layout.map_or_else(|| Layout::of(&object, &self.columns), Ok) {
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
            let columns = self.columns.clone();
            return Some(Ok(QuickRow::Raw(RawRow { object, layout, file, number, columns, limits })));
        }
    }

    /// The next row; with `--skip-invalid` the next one that can be used.
    pub(crate) fn next_quick(&mut self) -> Option<Result<QuickRow, Error>> {
        loop {
            match self.next_row()? {
                Err(error) if self.skip_invalid && error.is_of_one_row() => {
                    self.invalid.push(invalid(&error));
                }
                row => return Some(row),
            }
        }
    }
}

impl Iterator for RawRows {
    type Item = Result<RawRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_quick()?.and_then(QuickRow::raw))
    }
}

/// The objects of a file; messages of Open-Assistant's trees, one per line, are put together.
fn with_trees(path: &Path, objects: QuickObjects) -> QuickObjects {
    let mut objects = objects.peekable();
    match objects.peek() {
        Some(Ok(Quick::Object(first))) if is_flat_message(&first.object) => {
            let objects = objects.map(|quick| quick.and_then(Quick::into_object));
            let trees = Trees::new(path.to_owned(), Box::new(objects));
            Box::new(trees.map(|tree| tree.map(Quick::Object)))
        }
        _ => Box::new(objects),
    }
}

fn has_layout(object: &Map<String, Value>) -> bool {
    Layout::of(object, &[]).is_ok()
}

/// What is listed of a row that is left out; the caller checked that it is about one.
fn invalid(error: &Error) -> InvalidRow {
    error.invalid_row().unwrap_or_else(|| InvalidRow {
        file: PathBuf::new(),
        number: 0,
        reason: error.to_string(),
    })
}

/// The rows of a path, in the order of its files' names.
#[allow(missing_debug_implementations, reason = "holds an open reader")]
pub struct QuickRows(RawRows);

/// As [`read_raw_with`], plain conversations as such.
///
/// # Errors
/// Those of [`read_with`].
pub fn read_quick_with(path: &Path, options: &ReadOptions) -> Result<QuickRows, Error> {
    Ok(QuickRows(RawRows::quick(path, options, Beside::Named)?))
}

impl QuickRows {
    /// The layout of each file read so far.
    pub fn layouts(&self) -> &[(PathBuf, Layout)] {
        self.0.layouts()
    }

    /// The files of a folder that are not read although they look like data, with the reason.
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        self.0.skipped()
    }

    /// Takes the rows that were left out since the last call.
    pub fn take_invalid(&mut self) -> Vec<InvalidRow> {
        self.0.take_invalid()
    }

    /// Characters read so far that were halves of surrogate pairs and became U+FFFD.
    pub fn surrogates(&self) -> usize {
        self.0.surrogates()
    }
}

impl Iterator for QuickRows {
    type Item = Result<QuickRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_quick()
    }
}
