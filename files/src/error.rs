//! Why a file or a run's folder cannot be used. Every message names the path.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file or a folder cannot be used. The text contains the operating system's reason, so [`std::error::Error::source`]
/// is `None`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {reason}", path.display())]
    File {
        /// What was attempted, such as "read" or "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        reason: io::Error,
    },
    /// A file or a folder does not contain what was written.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// Another process holds the folder's lock.
    #[error(
        "{} is in use by another run{holder}; wait for it to end, or give another folder",
        folder.display()
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who holds it, in parentheses; empty if unknown.
        holder: String,
    },
    /// The file system has no locks.
    #[error(
        "{} is on a file system without locks ({reason}); give `--no-lock` if no other run uses the folder, or another folder",
        folder.display()
    )]
    NoLocks {
        /// The folder.
        folder: PathBuf,
        /// The operating system's reason.
        reason: io::Error,
    },
    /// The folder contains a run with other settings.
    #[error("{} contains a run with other settings ({changes}); {remedy}", folder.display())]
    Changed {
        /// The folder.
        folder: PathBuf,
        /// Every setting that differs.
        changes: String,
        /// What the user can do.
        remedy: &'static str,
    },
}

impl Error {
    /// The error of an attempt to `action` ("read", "write", "create") a path.
    pub fn file(action: &'static str, path: &Path, reason: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), reason }
    }
}
