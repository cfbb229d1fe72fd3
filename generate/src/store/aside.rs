//! A store makes room for another one: it becomes a single file first, so that one rename moves all of it and a kill
//! cannot leave its log beside the next store.

use super::{Store, lock};
use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

impl Store {
    /// Moves a store that no run holds to `place`; returns what to say of batches that a provider still works on.
    pub(crate) fn move_aside(path: &Path, place: &Path) -> Result<Vec<String>> {
        let _lock = lock(&path.with_extension("lock"))?;
        let abandoned = into_one_file(path).with_context(|| {
            format!(
                "{} cannot be read as a store; move it and what is beside it away by hand",
                path.display()
            )
        })?;
        std::fs::rename(path, place)
            .with_context(|| format!("cannot move {} to {}", path.display(), place.display()))?;
        Ok(abandoned)
    }
}

fn into_one_file(path: &Path) -> Result<Vec<String>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    let abandoned = open_batches(&connection);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("delete") {
        bail!("another program has it open");
    }
    Ok(abandoned)
}

/// A store of another version may have no batches.
fn open_batches(connection: &Connection) -> Vec<String> {
    let text = "SELECT coalesce('batch ' || remote, 'the batch of file ' || file), count(*) FROM batches
                JOIN batch_calls ON number = batch WHERE NOT ended AND file NOT NULL GROUP BY number";
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(text)?;
        let batches = statement.query_map([], |row| {
            Ok(format!("{} with {} calls", row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
        })?;
        batches.collect()
    };
    read().unwrap_or_default()
}
