//! What a run of benchmark tasks is given.

use super::options::Options;
use crate::task::TasksOfFile;
use std::path::Path;

/// What is scored, and where.
pub(crate) struct Settings<'a> {
    /// Names and locations.
    pub(crate) models: &'a [(String, String)],
    /// `None` is the hub.
    pub(crate) data: Option<&'a Path>,
    pub(crate) out: &'a Path,
    pub(crate) limit: Option<usize>,
    pub(crate) restart: bool,
    /// Whether rows that cannot be read are left out.
    pub(crate) skip_invalid: bool,
    pub(crate) options: &'a Options,
    /// Tasks beside the program's own.
    pub(crate) more_tasks: &'a [TasksOfFile],
}
