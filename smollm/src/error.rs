//! The errors of this room: each names the file or the value at fault and what to do about it.

use std::path::{Path, PathBuf};

/// Why a checkpoint, a tokenizer or a template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was being done: "read", "write", "map".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The checkpoint's name is neither a folder nor a hub id.
    #[error("no checkpoint at {0}: it is neither a folder nor a hub id (owner/name)")]
    NoCheckpoint(String),
    /// A checkpoint that ships with the project, asked for where the project is not.
    #[error(
        "{0} is not there: it lies in the project's models/ once models/remake has made it; start in the project's \
         folder, or set SMOL_MODELS to that folder"
    )]
    NotShipped(String),
    /// A file of the checkpoint is missing.
    #[error("{} has no {missing}; {hint}", folder.display())]
    Incomplete {
        /// The checkpoint folder.
        folder: PathBuf,
        /// The file that is not there.
        missing: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A file was read but says something that cannot be used.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it, with the value.
        reason: String,
    },
    /// The hub could not give the checkpoint or the dataset.
    #[error("cannot get {id} from the hub: {reason}; check the name and the network, or pass a folder")]
    Hub {
        /// The hub id asked for.
        id: String,
        /// The hub client's reason.
        reason: String,
    },
    /// The chat template could not be parsed or rendered.
    #[error("chat template: {0}")]
    Template(String),
    /// The template rendered, but where each message lies in the text cannot be known.
    #[error("chat template: cannot tell which tokens belong to message {message}: {reason}")]
    Spans {
        /// Index of the message, from 0.
        message: usize,
        /// Why its span is unknown.
        reason: String,
    },
    /// The tokenizer could not encode or decode.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    pub(crate) fn invalid(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Invalid { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Reads a whole text file, naming it in the error.
pub(crate) fn read_to_string(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::file("read", path, error))
}
