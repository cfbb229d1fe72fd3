//! Where the rows of a command are: a path, or a dataset on the Hugging Face hub, of which the files of its configuration and
//! split are downloaded.

use anyhow::Result;
use datasets::ReadOptions;
use std::path::{Path, PathBuf};

/// The path on this machine.
///
/// # Errors
/// When it is neither a file, a folder nor a hub id, or cannot be downloaded.
pub(crate) fn located(data: &Path, reading: &ReadOptions) -> Result<PathBuf> {
    let choose = |card: Option<&str>, names: &[String]| datasets::choose(card, names, reading.choice());
    Ok(checkpoint::located_data(data, choose, datasets::is_data)?)
}
