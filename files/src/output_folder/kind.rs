//! What kind of results a folder contains.

use crate::Error;
use std::path::Path;

/// The name of a new result that is whole and not installed yet.
pub const NEW_RESULT: &str = ".new-result";

/// Which program fills a folder, and how its files are named.
#[derive(Debug, PartialEq, Eq)]
pub struct FolderKind {
    /// The command, for messages: `smoltalk mix`.
    pub program: &'static str,
    /// The file that describes the result, such as `mix.json`.
    pub description: &'static str,
    /// The other files at the top of the folder.
    pub files: &'static [&'static str],
    /// Files with which the program works, such as a store. They are never part of a result.
    pub working: &'static [&'static str],
}

impl FolderKind {
    /// The error for an entry that the program did not write.
    pub(super) fn foreign(&self, folder: &Path, entry: &str) -> Error {
        Error::Foreign { folder: folder.to_owned(), entry: entry.to_owned(), program: self.program }
    }
}
