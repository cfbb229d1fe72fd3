//! The errors of this crate. Each names the file or the value at fault and what to do about it.

use std::path::{Path, PathBuf};

/// Why a checkpoint, a tokenizer or a template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The name is neither a folder nor a hub id.
    #[error(
        "there is no checkpoint `{0}`: it is neither a folder nor a hub id (`owner/name`); give one of the two"
    )]
    NoCheckpoint(String),
    /// The name could be a hub id, but begins with a folder of this machine, as a mistyped path does.
    #[error(
        "there is no folder {name}, and it is not asked from the hub, because {folder} is a folder here; correct the path, or give \
         `{name}@main` for the hub's"
    )]
    NoFolder {
        /// The name.
        name: String,
        /// The folder that it begins with.
        folder: String,
    },
    /// A file of the checkpoint is missing.
    #[error("{} has no {missing}; {hint}", folder.display())]
    Incomplete {
        /// The checkpoint folder.
        folder: PathBuf,
        /// The missing file.
        missing: &'static str,
        /// What the folder must contain.
        hint: &'static str,
    },
    /// A file was read, but its content cannot be used.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it, with the value.
        reason: String,
    },
    /// The model can be run, but not trained.
    #[error("{name} {reason}")]
    NotTrainable {
        /// The name by which the checkpoint was opened.
        name: String,
        /// What training does not have.
        reason: String,
    },
    /// The hub did not return the checkpoint or the dataset.
    #[error("cannot get {id} from the hub: {reason}")]
    Hub {
        /// The hub id.
        id: String,
        /// Why, and what to do.
        reason: hub::Error,
    },
    /// A dataset on the hub has nothing that can be read.
    #[error("{id} on the hub: {reason}")]
    Dataset {
        /// The hub id.
        id: String,
        /// What is missing, and what to do.
        reason: String,
    },
    /// Neither a file or folder of data nor a hub id.
    #[error("cannot read {}: it is no file, no folder and no Hugging Face id (owner/name); correct the path", .0.display())]
    NoData(PathBuf),
    /// The chat template cannot be parsed or rendered.
    #[error("chat template: {0}")]
    Template(String),
    /// The template was rendered, but the span of each message in the text cannot be determined.
    #[error("chat template: cannot determine which tokens belong to message {message}: {reason}")]
    Spans {
        /// Index of the message, from 0.
        message: usize,
        /// Why its span is unknown.
        reason: String,
    },
    /// The tokenizer cannot encode or decode.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path, reason: std::io::Error) -> Self {
        files::Error::file(action, path, reason).into()
    }

    pub(crate) fn invalid(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Invalid { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Reads a whole text file; the error names it.
pub(crate) fn read_to_string(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::file("read", path, error))
}
