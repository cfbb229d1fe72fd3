//! A run's store: SQLite with a write-ahead log, so that a kill at any moment loses nothing recorded.
//!
//! One thread writes and commits whatever has gathered since the last commit; a caller goes on once its
//! own write is on disk. Anyone can open the file with the tools they have.

use anyhow::{Context, Result, anyhow, bail};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use tokio::sync::oneshot;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, step TEXT NOT NULL, reply TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    task TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, kept INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (task, position));
";

/// What a teacher said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) text: String,
    /// Whether it was cut at its token limit.
    pub(crate) cut: bool,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

/// Why a row is not in the dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dropped {
    /// A short name, counted.
    pub(crate) reason: String,
    /// The step that decided it.
    pub(crate) step: String,
    /// What was found.
    pub(crate) detail: String,
}

/// What became of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    Kept(Map<String, Value>),
    Dropped(Dropped),
}

/// The open store of one run.
pub(crate) struct Store {
    writes: mpsc::Sender<Write>,
    reader: Mutex<Connection>,
    /// Held as long as the run lives: a second one would ask everything twice.
    _lock: File,
    /// Tokens of the answers this process recorded.
    generated: AtomicU64,
}

struct Write {
    statement: Statement,
    done: oneshot::Sender<Result<(), String>>,
}

enum Statement {
    Answer { key: String, step: String, reply: Reply },
    Row { task: &'static str, position: usize, id: String, kept: bool, body: String },
}

impl Store {
    /// Opens or creates the store.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let lock = lock(&path.with_extension("lock"))?;
        let connect = || -> Result<Connection> {
            let connection = Connection::open(path)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.busy_timeout(std::time::Duration::from_secs(10))?;
            Ok(connection)
        };
        let name = || format!("cannot open the run's store {}", path.display());
        let writer = connect().with_context(name)?;
        writer.execute_batch(SCHEMA).with_context(name)?;
        let reader = Mutex::new(connect().with_context(name)?);
        let (writes, receiver) = mpsc::channel();
        std::thread::Builder::new().name("store".to_owned()).spawn(move || write_all(writer, &receiver))?;
        Ok(Self { writes, reader, _lock: lock, generated: AtomicU64::new(0) })
    }

    /// A value the run remembers about itself.
    pub(crate) fn meta(&self, key: &str) -> Result<Option<String>> {
        self.read(|connection| {
            connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
        })
    }

    /// Remembers a value for ever; an existing one stays.
    pub(crate) fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.read(|connection| {
            connection.execute("INSERT OR IGNORE INTO meta VALUES (?1, ?2)", [key, value])
        })?;
        Ok(())
    }

    /// A recorded answer.
    pub(crate) fn answer(&self, key: &str) -> Result<Option<Reply>> {
        let text: Option<String> = self.read(|connection| {
            connection
                .query_row("SELECT reply FROM answers WHERE key = ?1", [key], |row| row.get(0))
                .optional()
        })?;
        text.map(|text| serde_json::from_str(&text).context("the store holds a broken answer")).transpose()
    }

    /// Records an answer; returns once it is on disk.
    pub(crate) async fn record(&self, key: &str, step: &str, reply: &Reply) -> Result<()> {
        self.write(Statement::Answer { key: key.to_owned(), step: step.to_owned(), reply: reply.clone() })
            .await?;
        self.generated.fetch_add(reply.completion_tokens, Ordering::Relaxed);
        Ok(())
    }

    /// Records what became of a row; returns once it is on disk.
    pub(crate) async fn finish(
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
        self.write(Statement::Row { task, position, id: id.to_owned(), kept, body }).await
    }

    /// Positions of a task that are decided.
    pub(crate) fn done(&self, task: &str) -> Result<Vec<usize>> {
        self.read(|connection| {
            let mut statement = connection.prepare("SELECT position FROM rows WHERE task = ?1")?;
            statement
                .query_map([task], |row| row.get::<_, i64>(0).map(|position| position as usize))?
                .collect()
        })
    }

    /// Calls `each` with (position, id, verdict) of the first `limit` positions of a task, in order.
    pub(crate) fn each_row(
        &self,
        task: &str,
        limit: usize,
        mut each: impl FnMut(usize, String, Verdict) -> Result<()>,
    ) -> Result<()> {
        let connection = self.reader.lock().map_err(|_| anyhow!("the store's reader failed"))?;
        let mut statement = connection.prepare(
            "SELECT position, id, kept, body FROM rows WHERE task = ?1 AND position < ?2 ORDER BY position",
        )?;
        let mut rows = statement.query(params![task, limit as i64])?;
        while let Some(row) = rows.next()? {
            let body: String = row.get(3)?;
            let verdict = match row.get::<_, bool>(2)? {
                true => Verdict::Kept(serde_json::from_str(&body)?),
                false => Verdict::Dropped(serde_json::from_str(&body)?),
            };
            each(row.get::<_, i64>(0)? as usize, row.get(1)?, verdict)?;
        }
        Ok(())
    }

    /// Tokens of the answers recorded since this process began.
    pub(crate) fn generated(&self) -> u64 {
        self.generated.load(Ordering::Relaxed)
    }

    /// Answers recorded, and the tokens of their prompts and of themselves.
    pub(crate) fn totals(&self) -> Result<(u64, u64, u64)> {
        self.read(|connection| {
            let query = "SELECT count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) FROM answers";
            connection.query_row(query, [], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64))
            })
        })
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let connection = self.reader.lock().map_err(|_| anyhow!("the store's reader failed"))?;
        query(&connection).context("the run's store cannot be used")
    }

    async fn write(&self, statement: Statement) -> Result<()> {
        let (done, wait) = oneshot::channel();
        self.writes.send(Write { statement, done }).map_err(|_| anyhow!("the run's store has stopped"))?;
        wait.await?.map_err(|error| anyhow!("the run's store cannot be written: {error}; nothing recorded is lost, run the same command again"))
    }
}

/// The kernel lets go of it with the process, however that ends.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("{} is held by another run; wait for it to end, or name another --out", path.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// The writing thread: whatever has gathered goes into one transaction.
fn write_all(mut connection: Connection, receiver: &mpsc::Receiver<Write>) {
    while let Ok(first) = receiver.recv() {
        let mut batch = vec![first];
        batch.extend(receiver.try_iter().take(4096));
        let result = commit(&mut connection, &batch).map_err(|error| error.to_string());
        for write in batch {
            // A caller that has gone away does not need to know.
            let _ = write.done.send(result.clone());
        }
    }
}

fn commit(connection: &mut Connection, batch: &[Write]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for write in batch {
        match &write.statement {
            Statement::Answer { key, step, reply } => {
                let text = serde_json::to_string(reply).unwrap_or_default();
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO answers VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![
                        key,
                        step,
                        text,
                        reply.prompt_tokens as i64,
                        reply.completion_tokens as i64
                    ])?;
            }
            Statement::Row { task, position, id, kept, body } => {
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO rows VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![task, *position as i64, id, kept, body])?;
            }
        }
    }
    transaction.commit()
}
