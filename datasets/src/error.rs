//! What can be wrong with data on disk: each error names the file, the line and what was expected.

use std::path::{Path, PathBuf};

/// Why rows cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
    /// The file holds no data this project reads.
    #[error("{}: {reason}", path.display())]
    NotData {
        /// The file or folder.
        path: PathBuf,
        /// What was found and what is read.
        reason: String,
    },
    /// One row cannot be used.
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
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }
}
