//! What can be wrong with data on disk. Every error names the file, the line and what was expected.

use std::path::{Path, PathBuf};

/// A row that was left out because it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRow {
    /// Its file.
    pub file: PathBuf,
    /// Its line (its row in Parquet and Arrow), from 1.
    pub number: usize,
    /// File, line and reason in one line.
    pub reason: String,
}

/// Why rows cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A file or folder contains no data that this project reads.
    #[error("{}: {reason}", path.display())]
    NotData {
        /// The file or folder.
        path: PathBuf,
        /// What was found and what is read.
        reason: String,
    },
    /// A row cannot be used.
    #[error("{}, {unit} {number}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// "line" or "row".
        unit: &'static str,
        /// Its number, from 1.
        number: usize,
        /// What was expected and what was found.
        reason: String,
    },
    /// A file cannot be read from here on. Unlike a row that cannot be used, this is never left out: rows of unknown number
    /// are lost.
    #[error("{}, {unit} {number}: {reason}; the rest of the file is lost", path.display())]
    Rest {
        /// The file.
        path: PathBuf,
        /// "line" or "row".
        unit: &'static str,
        /// The number of the first row that is lost, from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// Whether it is about one row, so that `--skip-invalid` can leave the row out and go on with the next one.
    pub fn is_of_one_row(&self) -> bool {
        matches!(self, Self::Row { .. })
    }

    /// What is listed of the row that it is about, where that row is left out; `None` if it is about more than one row.
    pub fn invalid_row(&self) -> Option<InvalidRow> {
        match self {
            Self::Row { path, number, .. } => {
                Some(InvalidRow { file: path.clone(), number: *number, reason: self.to_string() })
            }
            _ => None,
        }
    }

    pub(crate) fn file(action: &'static str, path: &Path, reason: std::io::Error) -> Self {
        files::Error::file(action, path, reason).into()
    }
}
