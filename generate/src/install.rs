//! The last step of every command that writes a dataset: the new result takes the place of the earlier one.

use anyhow::Result;
use datasets::write::{Shard, contents};
use files::atomic::NewFolder;
use files::output_folder::OutputFolder;
use serde_json::{Map, json};

/// Installs a new result with these shards. Files of the earlier one that somebody edited are kept aside.
pub(crate) fn install(folder: &OutputFolder, new: NewFolder, shards: &[Shard]) -> Result<()> {
    let known = contents(new.path(), shards);
    let rows = shards.iter().map(|shard| shard.rows).sum::<usize>();
    let about = Map::from_iter([
        ("version".to_owned(), json!(env!("CARGO_PKG_VERSION"))),
        ("rows_in_shards".to_owned(), json!(rows)),
    ]);
    for kept in folder.install(new, about, known)? {
        terminal::message!("note: a file was changed after it was written; it is kept as {}", kept.display());
    }
    Ok(())
}
