//! Which files of a path are read.

use crate::recorded::Recorded;
use std::path::PathBuf;

/// The files of a path that are read.
#[derive(Debug, Default)]
pub(crate) struct ChosenFiles {
    pub(crate) files: Vec<PathBuf>,
    /// Links that lead out of the folder, and files whose names say nothing where those of others name splits, with the
    /// reason why they are not read.
    pub(crate) left_out: Vec<(PathBuf, String)>,
    pub(crate) recorded: Recorded,
}
