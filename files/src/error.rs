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
    /// A path that should be a file, or absent, is something else.
    #[error("{} is {found}, and nothing is written through it; remove it, or give another folder", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A path that should be a folder, or absent, is something else.
    #[error("{} is {found} where a folder is needed; remove it, or give another folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The folder contains something that would be replaced and that the program did not write.
    #[error(
        "{} contains {entry}, which `{program}` did not write; move it away, or give another folder",
        folder.display()
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// The first such entry.
        entry: String,
        /// The command that would write into the folder.
        program: &'static str,
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
