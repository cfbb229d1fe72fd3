//! The check of a whole store: the database's structure, and the checksum of every answer and row.

use super::checksums::{Checksum, answer_checksum, row_checksum};
use super::records::CallKey;
use super::schema::OLD_VERSION;
use super::wal::beside;
use super::{open, wal};
use anyhow::Result;
use rusqlite::config::DbConfig;
use std::path::Path;

/// What a store contains, and what of it is damaged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreState {
    pub(crate) answers: u64,
    pub(crate) rows: u64,
    /// What is damaged, in words.
    pub(crate) problems: Vec<String>,
}

/// Checks all of a store, which is not changed.
///
/// # Errors
/// When it cannot be opened at all.
pub(crate) fn verify(path: &Path) -> Result<StoreState> {
    let path = &open::location(path)?;
    let mut state = StoreState::default();
    if let Some(commits) = wal::lost_commits(&beside(path, "-wal"))? {
        state.problems.push(format!("{commits} commits in the log cannot be read"));
    }
    let connection = open::connection(path)?;
    // Closing would merge the log, and drop what of it cannot be read.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let read = || -> rusqlite::Result<StoreState> {
        let mut state = StoreState::default();
        state.problems.extend(open::problems(&connection, 20)?);
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let checksum = if version == OLD_VERSION { "NULL" } else { "checksum" };
        let mut answers = connection.prepare(&format!("SELECT key, step, reply, {checksum} FROM answers"))?;
        let mut answers = answers.query([])?;
        while let Some(row) = answers.next()? {
            let (key, step, reply): (CallKey, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let checksum: Option<Checksum> = row.get(3)?;
            state.answers += 1;
            if checksum.is_some_and(|checksum| checksum != answer_checksum(&key, &reply)) {
                state
                    .problems
                    .push(format!("an answer of step `{step}` contains other bytes than were recorded"));
            }
        }
        let mut rows =
            connection.prepare(&format!("SELECT task, position, id, body, {checksum} FROM rows"))?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let (task, position, id, body): (String, i64, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let checksum: Option<Checksum> = row.get(4)?;
            state.rows += 1;
            if checksum.is_some_and(|checksum| checksum != row_checksum(&task, position as usize, &body)) {
                state.problems.push(format!("row {id} of `{task}` contains other bytes than were recorded"));
            }
        }
        Ok(state)
    };
    match read() {
        Ok(found) => {
            (state.answers, state.rows) = (found.answers, found.rows);
            state.problems.extend(found.problems);
        }
        Err(error) => state.problems.push(format!("it cannot be read: {error}")),
    }
    Ok(state)
}
