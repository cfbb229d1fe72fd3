//! The folders of results, of which nothing is replaced that the same command did not write.

use anyhow::Result;
use files::output_folder::{FolderKind, OutputFolder};
use serde_json::Map;
use std::collections::BTreeMap;
use std::path::Path;

/// Fills a folder: `write` gets an empty one, whose files then take the places of the earlier result's.
///
/// # Errors
/// Names an entry that the command did not write, or a file that cannot be written.
pub(crate) fn fill(
    out: &Path,
    kind: &'static FolderKind,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = OutputFolder::open(out, kind, false)?;
    let new = folder.new_result()?;
    write(new.path())?;
    for kept in folder.install(new, Map::new(), BTreeMap::new())? {
        terminal::message!("note: a file was changed after it was written; it is kept as {}", kept.display());
    }
    Ok(())
}
