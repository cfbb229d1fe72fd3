//! A store as a single file: its log is merged, so that one rename moves all of it and a kill cannot leave the log
//! beside the next store.

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

/// Merges the log of a store that no run uses. Returns a description of each batch that a provider still works on.
pub(crate) fn into_single_file(path: &Path) -> Result<Vec<String>> {
    merge_log(path).with_context(|| {
        format!("{} cannot be read as a store; move it and the files beside it away by hand", path.display())
    })
}

fn merge_log(path: &Path) -> Result<Vec<String>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let batches = open_batches(&connection);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("delete") {
        bail!("another program has the file open");
    }
    Ok(batches)
}

/// The batches that have not ended; none in a store of another version that has no table of batches.
fn open_batches(connection: &Connection) -> Vec<String> {
    let query = "SELECT coalesce('batch ' || remote, 'the batch of file ' || file), count(*) FROM batches
                 JOIN batch_calls ON number = batch WHERE NOT ended AND file NOT NULL GROUP BY number";
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(query)?;
        let batches = statement.query_map([], |row| {
            Ok(format!("{} with {} calls", row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        })?;
        batches.collect()
    };
    read().unwrap_or_default()
}
