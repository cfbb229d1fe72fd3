//! One store of several: what the workers of a shared run recorded, together.

use super::database::Store;
use anyhow::{Context, Result};
use rusqlite::Connection;
use std::path::Path;

/// Answers and rows are copied with their checksums, which are compared whenever they are read; the ledger is summed.
const ADD: &str = "
INSERT OR IGNORE INTO answers (key, model, step, reply, checksum)
    SELECT key, model, step, reply, checksum FROM part.answers ORDER BY number;
INSERT OR IGNORE INTO rows SELECT task, position, id, kept, body, checksum FROM part.rows;
INSERT INTO ledger SELECT * FROM part.ledger WHERE true ON CONFLICT DO UPDATE SET
    calls = calls + excluded.calls, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
    completion_tokens = completion_tokens + excluded.completion_tokens,
    microdollars = microdollars + excluded.microdollars;
";

/// Adds everything in the store `part`, a single file, to an open one.
pub(crate) fn merge(store: &Store, part: &Path) -> Result<()> {
    let add = |connection: &Connection| {
        connection.execute("ATTACH ?1 AS part", [part.to_string_lossy()])?;
        let added = connection.execute_batch(&format!("BEGIN; {ADD} COMMIT;"));
        let detached = connection.execute("DETACH part", []);
        added.and(detached.map(drop))
    };
    store.with_connection(add).with_context(|| format!("{} cannot be read as a store", part.display()))
}

/// Writes everything of an open store to a new single file, which needs no log beside it.
pub(crate) fn write_whole(store: &Store, path: &Path) -> Result<()> {
    store
        .with_connection(|connection| connection.execute("VACUUM INTO ?1", [path.to_string_lossy()]))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
