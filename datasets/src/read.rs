//! Rows from a file or a folder, one at a time: memory does not grow with the data.

use crate::configs::Choice;
use crate::layout::Layout;
use crate::source::{Format, Object, chosen_files, objects};
use crate::{Error, Row};
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

/// The rows of a path, in the order of its files' names.
#[allow(missing_debug_implementations, reason = "holds an open reader")]
pub struct Rows {
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
    let in_folder = path.is_dir();
    let waiting = chosen_files(path, choice)?.into();
    Ok(Rows { waiting, current: None, layouts: Vec::new(), skipped: Vec::new(), in_folder })
}

impl Rows {
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
        match objects(&file) {
            Ok(objects) => self.current = Some(Reading { file, layout: None, objects }),
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(()))
    }
}

impl Iterator for Rows {
    type Item = Result<Located, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(reading) = &mut self.current else {
                match self.open_next()? {
                    Ok(()) => continue,
                    Err(error) => return Some(Err(error)),
                }
            };
            match reading.objects.next() {
                None => self.current = None,
                Some(Err(error)) => {
                    // What follows a broken line cannot be trusted to be where it seems.
                    self.current = None;
                    return Some(Err(error));
                }
                Some(Ok((number, object))) => {
                    let unit = Format::of(&reading.file).map_or("line", Format::unit);
                    let file = reading.file.clone();
                    let failed = |reason| Error::Row { path: file.clone(), unit, number, reason };
                    let layout = match reading.layout {
                        Some(layout) => layout,
                        None => match Layout::of(&object) {
                            Ok(layout) => {
                                self.layouts.push((file.clone(), layout));
                                reading.layout = Some(layout);
                                layout
                            }
                            // Folders hold other JSON too, such as an index of the files.
                            Err(reason) if self.in_folder && Format::of(&file) == Some(Format::Json) => {
                                self.skipped.push((file, reason));
                                self.current = None;
                                continue;
                            }
                            Err(reason) => return Some(Err(failed(reason))),
                        },
                    };
                    return Some(
                        layout
                            .row(object)
                            .map(|row| Located { row, file: file.clone(), number })
                            .map_err(failed),
                    );
                }
            }
        }
    }
}
