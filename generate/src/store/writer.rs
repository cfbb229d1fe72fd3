//! The writing thread: everything that gathered since the last commit is in the next one, with its lines of the
//! ledger.

use super::checksums::{Checksum, answer_checksum};
use super::ledger::{AnswerSource, LedgerEntry, Outcome};
use super::records::{CallKey, Reply};
use anyhow::Result;
use rusqlite::{Connection, ErrorCode, Transaction, params};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Maximum number of writes in one commit.
const COMMIT_WRITES: usize = 4096;

/// Size of the file that is written to learn what the system refuses, in bytes.
const PROBE: usize = 128 << 10;

/// A write for the thread.
pub(super) struct Write {
    pub(super) statement: Statement,
    /// Receives the result once it is on disk; `None` if the caller does not wait.
    pub(super) done: Option<oneshot::Sender<Result<(), String>>>,
}

/// What is written.
pub(super) enum Statement {
    Answer { key: CallKey, step: String, reply: String, checksum: Checksum, entry: LedgerEntry },
    Ledger(LedgerEntry),
    Row { task: &'static str, position: usize, id: String, kept: bool, body: String, checksum: Checksum },
}

impl Statement {
    /// An answer and its line of the ledger.
    pub(super) fn answer(key: CallKey, source: &AnswerSource<'_>, reply: &Reply) -> Result<Self> {
        let entry = LedgerEntry {
            model: source.model.to_owned(),
            endpoint: source.endpoint.to_owned(),
            outcome: Outcome::Answered.name().to_owned(),
            calls: 1,
            prompt_tokens: reply.prompt_tokens,
            completion_tokens: reply.completion_tokens,
            microdollars: source.microdollars,
        };
        let reply = serde_json::to_string(reply)?;
        let checksum = answer_checksum(&key, &reply);
        Ok(Self::Answer { key, step: source.step.to_owned(), reply, checksum, entry })
    }
}

/// What each commit is appended to as well.
pub(super) type Append = Box<dyn FnMut(&[Write]) -> io::Result<()> + Send>;

/// Writes until the last sender is dropped.
pub(super) fn write_all(
    mut connection: Connection,
    mut append: Option<Append>,
    receiver: &mpsc::Receiver<Write>,
) {
    while let Ok(first) = receiver.recv() {
        let mut batch = vec![first];
        batch.extend(receiver.try_iter().take(COMMIT_WRITES - 1));
        let result = commit(&mut connection, &batch).map_err(|error| reason(&connection, &error));
        let result = result.and_then(|()| match &mut append {
            Some(append) => append(&batch).map_err(|error| format!("its journal: {error}")),
            None => Ok(()),
        });
        for done in batch.into_iter().filter_map(|write| write.done) {
            // A caller that was dropped does not need the result.
            let _ = done.send(result.clone());
        }
    }
}

/// An error in words. SQLite says "disk I/O error" for all that the system refuses, a quota for example: what it says to a
/// small file in the same folder is added.
fn reason(connection: &Connection, error: &rusqlite::Error) -> String {
    if error.sqlite_error_code() != Some(ErrorCode::SystemIoFailure) {
        return error.to_string();
    }
    let probe = || -> io::Result<()> {
        let folder = connection.path().and_then(|path| Path::new(path).parent());
        let mut file = tempfile::tempfile_in(folder.unwrap_or(Path::new(".")))?;
        file.write_all(&[0; PROBE])?;
        file.sync_data()
    };
    match probe() {
        Ok(()) => error.to_string(),
        Err(system) => format!("{error}: {system}"),
    }
}

pub(super) fn commit(connection: &mut Connection, batch: &[Write]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut entries: BTreeMap<[&str; 3], [u64; 4]> = BTreeMap::new();
    for write in batch {
        match &write.statement {
            Statement::Answer { key, step, reply, checksum, entry } => {
                // The same call sent twice concurrently has one answer, but was billed twice.
                transaction
                    .prepare_cached(
                        "INSERT OR IGNORE INTO answers (key, model, step, reply, checksum)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![key, entry.model, step, reply, checksum])?;
                add(&mut entries, entry);
            }
            Statement::Ledger(entry) => add(&mut entries, entry),
            Statement::Row { task, position, id, kept, body, checksum } => {
                transaction
                    .prepare_cached(
                        "INSERT OR IGNORE INTO rows (task, position, id, kept, body, checksum)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![task, *position as i64, id, kept, body, checksum])?;
            }
        }
    }
    write_ledger(&transaction, &entries)?;
    transaction.commit()
}

fn add<'a>(entries: &mut BTreeMap<[&'a str; 3], [u64; 4]>, entry: &'a LedgerEntry) {
    let sums = entries.entry([&entry.model, &entry.endpoint, &entry.outcome]).or_default();
    let numbers = [entry.calls, entry.prompt_tokens, entry.completion_tokens, entry.microdollars];
    for (sum, number) in sums.iter_mut().zip(numbers) {
        *sum += number;
    }
}

fn write_ledger(
    transaction: &Transaction<'_>,
    entries: &BTreeMap<[&str; 3], [u64; 4]>,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET
             calls = calls + ?4, prompt_tokens = prompt_tokens + ?5,
             completion_tokens = completion_tokens + ?6, microdollars = microdollars + ?7",
    )?;
    for ([model, endpoint, outcome], numbers) in entries {
        let [calls, prompt, completion, money] = numbers.map(|number| number as i64);
        statement.execute(params![model, endpoint, outcome, calls, prompt, completion, money])?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_has_the_reason_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let connection = Connection::open(inner.join("store")).unwrap();
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let (io, other) = (failure(rusqlite::ffi::SQLITE_IOERR), failure(rusqlite::ffi::SQLITE_CORRUPT));
        assert_eq!(reason(&connection, &io), io.to_string(), "the folder takes files");
        std::fs::remove_dir_all(&inner).unwrap();
        assert!(reason(&connection, &io).contains("No such file"), "{}", reason(&connection, &io));
        assert_eq!(reason(&connection, &other), other.to_string());
    }
}
