//! The open store: its tables, and reading and writing answers, rows and the ledger.

use super::checksums::{Checksum, answer_checksum, damaged, row_checksum};
use super::journal::Journal;
use super::ledger::{AnswerSource, LedgerEntry, Outcome};
use super::records::{CallKey, DecidedRow, Reply, Verdict};
use super::schema::{MIGRATION, OLD_VERSION, SCHEMA, VERSION};
use super::writer::{Append, Statement, Write, commit, write_all};
use super::{journal, open, repair};
use crate::budget::Cost;
use anyhow::{Context, Result, anyhow, bail};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, mpsc};

/// Rows that are read in one query.
const PAGE: usize = 1000;

/// The open store of one run. The run's folder must be locked: a second process would send every call twice.
pub(crate) struct Store {
    writes: mpsc::Sender<Write>,
    /// For every statement that the caller waits for.
    connection: Mutex<Connection>,
    /// Tokens of the answers that this process recorded.
    generated: AtomicU64,
}

impl Store {
    /// Opens or creates the store.
    ///
    /// # Errors
    /// When the file is a link, no store of this version, or not whole. Nothing is written to it then.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, None)
    }

    /// The same with a journal, to which everything is appended that is recorded from here on.
    pub(crate) fn open_with(path: &Path, journal: Option<Journal>) -> Result<Self> {
        let path = &open::location(path)?;
        repair::complete(path)?;
        open::check_log(path)?;
        let connect = || -> rusqlite::Result<Connection> {
            let connection = open::connection(path)?;
            connection.busy_timeout(std::time::Duration::from_secs(10))?;
            Ok(connection)
        };
        let configure = |connection: &Connection| -> rusqlite::Result<()> {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "cache_size", -32_768) // KiB
        };
        let name = || {
            format!(
                "cannot open the run's store {} (it needs a file system with locks, and room)",
                path.display()
            )
        };
        let writer = connect().with_context(name)?;
        // Before anything is written: the file may be another program's.
        open::check(&writer, path, VERSION)?;
        configure(&writer).with_context(name)?;
        let version: i64 =
            writer.query_row("PRAGMA user_version", [], |row| row.get(0)).with_context(name)?;
        let migration = if version == OLD_VERSION { MIGRATION } else { "" };
        // In one transaction: a kill between the tables and their version would leave a store that is refused.
        let schema = format!("BEGIN; {migration} {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;");
        writer.execute_batch(&schema).with_context(name)?;
        let connection = connect().with_context(name)?;
        configure(&connection).with_context(name)?;
        let connection = Mutex::new(connection);
        let append = journal.map(|mut journal| -> Append { Box::new(move |batch| journal.append(batch)) });
        let (writes, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_all(writer, append, &receiver))?;
        Ok(Self { writes, connection, generated: AtomicU64::new(0) })
    }

    /// Records what a journal of another process has.
    pub(crate) fn take_in(&self, journal: &Path) -> Result<()> {
        let statements = journal::read(journal)?;
        let mut connection = self.connection()?;
        commit(&mut connection, &statements).context("the run's store cannot be written")
    }

    /// Returns a value that the run recorded about itself.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<String>> {
        self.with_connection(|connection| {
            connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
        })
    }

    /// Records values about the run, all or none, in place of earlier ones.
    pub(crate) fn set_meta(&self, entries: &[(&str, &str)]) -> Result<()> {
        self.with_connection(|connection| {
            let transaction = connection.unchecked_transaction()?;
            for (key, value) in entries {
                transaction.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
            }
            transaction.commit()
        })
    }

    /// Returns a recorded answer.
    ///
    /// # Errors
    /// When it is not what was recorded: it is neither used nor asked for again.
    pub(crate) fn answer(&self, key: &CallKey) -> Result<Option<Reply>> {
        let recorded: Option<(String, Option<Checksum>, String)> = self.with_connection(|connection| {
            connection
                .prepare_cached("SELECT reply, checksum, step FROM answers WHERE key = ?1")?
                .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()
        })?;
        let Some((text, checksum, step)) = recorded else { return Ok(None) };
        if checksum.is_some_and(|checksum| checksum != answer_checksum(key, &text)) {
            bail!("{}", damaged(&format!("the answer of step `{step}`")));
        }
        let reply =
            serde_json::from_str(&text).with_context(|| damaged(&format!("the answer of step `{step}`")))?;
        Ok(Some(reply))
    }

    /// Returns whether the answer of a call is recorded.
    pub(crate) fn is_answered(&self, key: &CallKey) -> Result<bool> {
        self.with_connection(|connection| {
            connection.prepare_cached("SELECT 1 FROM answers WHERE key = ?1")?.exists([key])
        })
    }

    /// Returns whether any step of this name, with or without a number behind it, has an answer of a model.
    pub(crate) fn has_answer(&self, model: &str, step: &str) -> Result<bool> {
        self.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT 1 FROM answers WHERE model = ?1 AND rtrim(step, '_0123456789') = ?2 LIMIT 1",
                )?
                .exists([model, step])
        })
    }

    /// Makes rows undecided again that were dropped for one of these reasons; returns their number.
    pub(crate) fn undecide(&self, task: &str, reasons: &[&str]) -> Result<usize> {
        self.with_connection(|connection| {
            let mut statement = connection.prepare(
                "DELETE FROM rows WHERE task = ?1 AND NOT kept AND json_extract(body, '$.reason') = ?2",
            )?;
            reasons.iter().map(|reason| statement.execute([task, reason])).sum()
        })
    }

    /// Records an answer; returns once it is on disk.
    pub(crate) async fn record(&self, key: &CallKey, source: &AnswerSource<'_>, reply: &Reply) -> Result<()> {
        self.write(Statement::answer(*key, source, reply)?).await?;
        self.generated.fetch_add(reply.completion_tokens, Ordering::Relaxed);
        Ok(())
    }

    /// Counts calls without an answer; the count is committed with the next write.
    pub(crate) fn count_calls(&self, model: &str, endpoint: &str, outcome: Outcome, calls: u64) {
        let entry = LedgerEntry {
            model: model.to_owned(),
            endpoint: endpoint.to_owned(),
            outcome: outcome.name().to_owned(),
            calls,
            ..LedgerEntry::default()
        };
        // If the writing thread has ended, the next answer reports it.
        let _ = self.writes.send(Write { statement: Statement::Ledger(entry), done: None });
    }

    /// Adds an entry to the ledger; returns once it is on disk.
    pub(crate) async fn add_to_ledger(&self, entry: LedgerEntry) -> Result<()> {
        self.write(Statement::Ledger(entry)).await
    }

    /// Counts calls that a kill interrupted, with their worst-case cost, because they may have been billed; the count is on disk when this returns.
    pub(crate) fn count_lost(&self, calls: u64, worst: Cost) -> Result<()> {
        self.with_connection(|connection| {
            connection.execute(
                "INSERT INTO ledger VALUES ('', '', ?1, ?2, 0, ?3, ?4) ON CONFLICT DO UPDATE SET
                     calls = calls + ?2, completion_tokens = completion_tokens + ?3, microdollars = microdollars + ?4",
                params![Outcome::Lost.name(), calls as i64, worst.tokens as i64, worst.microdollars as i64],
            )
        })?;
        Ok(())
    }

    /// Records the outcome of a row; returns once it is on disk.
    pub(crate) async fn decide(
        &self,
        task: &'static str,
        position: usize,
        id: &str,
        verdict: &Verdict,
    ) -> Result<()> {
        let (kept, body) = match verdict {
            Verdict::Kept(row) => (true, serde_json::to_string(row)?),
            Verdict::Dropped(dropped) => (false, serde_json::to_string(dropped)?),
        };
        let checksum = row_checksum(task, position, &body);
        self.write(Statement::Row { task, position, id: id.to_owned(), kept, body, checksum }).await
    }

    /// Returns whether each of the rows at the first `limit` positions of a task is kept; `None` if it is not
    /// decided.
    pub(crate) fn decided(&self, task: &str, limit: usize) -> Result<Vec<Option<bool>>> {
        let mut decided = vec![None; limit];
        self.with_connection(|connection| {
            let mut statement =
                connection.prepare("SELECT position, kept FROM rows WHERE task = ?1 AND position < ?2")?;
            let mut rows = statement.query(params![task, limit as i64])?;
            while let Some(row) = rows.next()? {
                decided[row.get::<_, i64>(0)? as usize] = Some(row.get(1)?);
            }
            Ok(())
        })?;
        Ok(decided)
    }

    /// Iterates over the decided rows among the first `limit` positions of a task, in order, with one page of them
    /// in memory.
    pub(crate) fn rows(&self, task: &'static str, limit: usize) -> impl Iterator<Item = Result<DecidedRow>> {
        let (mut page, mut next, mut is_last) = (VecDeque::new(), 0, false);
        std::iter::from_fn(move || {
            if page.is_empty() && !is_last {
                match self.page(task, next, limit) {
                    Ok(rows) => page.extend(rows.into_iter().map(Ok)),
                    Err(error) => page.push_back(Err(error)),
                }
                is_last = page.len() < PAGE;
            }
            let row: Result<DecidedRow> = page.pop_front()?;
            if let Ok(row) = &row {
                next = row.position + 1;
            }
            Some(row)
        })
    }

    fn page(&self, task: &str, from: usize, limit: usize) -> Result<Vec<DecidedRow>> {
        type Record = (i64, String, bool, String, Option<Checksum>);
        let records: Vec<Record> = self.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT position, id, kept, body, checksum FROM rows
                     WHERE task = ?1 AND position >= ?2 AND position < ?3 ORDER BY position LIMIT ?4",
                )?
                .query_map(params![task, from as i64, limit as i64, PAGE as i64], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                })?
                .collect()
        })?;
        let decided = |(position, id, kept, body, checksum): Record| {
            let name = || damaged(&format!("row {id} of `{task}`"));
            if checksum.is_some_and(|checksum| checksum != row_checksum(task, position as usize, &body)) {
                bail!("{}", name());
            }
            let verdict = match kept {
                true => Verdict::Kept(serde_json::from_str(&body).with_context(name)?),
                false => Verdict::Dropped(serde_json::from_str(&body).with_context(name)?),
            };
            Ok(DecidedRow { position: position as usize, id, verdict })
        };
        records.into_iter().map(decided).collect()
    }

    /// Returns the number of tokens in the answers that this process recorded.
    pub(crate) fn generated_tokens(&self) -> u64 {
        self.generated.load(Ordering::Relaxed)
    }

    /// Returns the ledger of all calls of the run, those of earlier sessions included.
    pub(crate) fn ledger(&self) -> Result<Vec<LedgerEntry>> {
        let query = "SELECT model, endpoint, outcome, calls, prompt_tokens, completion_tokens, microdollars
                     FROM ledger ORDER BY model, endpoint, outcome";
        self.with_connection(|connection| {
            let number =
                |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(|value| value as u64);
            connection
                .prepare(query)?
                .query_map([], |row| {
                    Ok(LedgerEntry {
                        model: row.get(0)?,
                        endpoint: row.get(1)?,
                        outcome: row.get(2)?,
                        calls: number(row, 3)?,
                        prompt_tokens: number(row, 4)?,
                        completion_tokens: number(row, 5)?,
                        microdollars: number(row, 6)?,
                    })
                })?
                .collect()
        })
    }

    /// Runs a statement that the caller waits for, on the connection beside the writing thread's.
    pub(super) fn with_connection<T>(
        &self,
        statement: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        statement(&*self.connection()?).context("the run's store cannot be used")
    }

    fn connection(&self) -> Result<MutexGuard<'_, Connection>> {
        self.connection
            .lock()
            .map_err(|_| anyhow!("the run's store cannot be used: a thread that read it has panicked"))
    }

    async fn write(&self, statement: Statement) -> Result<()> {
        let (done, wait) = tokio::sync::oneshot::channel();
        let sent = self.writes.send(Write { statement, done: Some(done) });
        sent.map_err(|_| anyhow!("the run's store cannot be written: its thread has ended"))?;
        wait.await?.map_err(|error| {
            anyhow!(
                "the run's store cannot be written: {error}; what is recorded is safe, run the same command again to resume"
            )
        })
    }
}
