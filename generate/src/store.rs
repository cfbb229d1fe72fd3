//! A run's store: SQLite with a write-ahead log, so that a kill at any moment loses nothing recorded.
//!
//! One thread writes and commits whatever has gathered since the last commit; a caller goes on once its
//! own write is on disk. Anyone can open the file with the tools they have.

mod aside;
mod batches;
mod write;

pub(crate) use batches::OpenBatch;

use crate::budget::Cost;
use anyhow::{Context, Result, anyhow, bail};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, mpsc};
use write::{Statement, Write, write_all};

/// Of the tables below; a store of another one is not read.
const VERSION: i64 = 2;
/// Answers are appended and found by an index of short keys: both stay quick with millions of them.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL, model TEXT NOT NULL, step TEXT NOT NULL, reply TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS answers_by_key ON answers (key);
CREATE TABLE IF NOT EXISTS rows (
    task TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, kept INTEGER NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (task, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (
    model TEXT NOT NULL, endpoint TEXT NOT NULL, outcome TEXT NOT NULL, calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, microdollars INTEGER NOT NULL,
    PRIMARY KEY (model, endpoint, outcome)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, model TEXT NOT NULL, path TEXT NOT NULL, file TEXT, remote TEXT,
    ended INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS batch_calls (
    batch INTEGER NOT NULL, key BLOB NOT NULL, step TEXT NOT NULL, PRIMARY KEY (batch, key)) WITHOUT ROWID;
";
/// Rows that are read at a time.
const PAGE: usize = 1000;

/// What a call is known by (`Teacher::key`): its row, and a hash of the teacher's identity and the whole call.
pub(crate) type Key = [u8; 16];

/// What a teacher said.
#[derive(Default, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) text: String,
    /// Whether it was cut at its token limit.
    pub(crate) cut: bool,
    /// Whether the provider's own filter took it, or the rest of it, away.
    #[serde(default)]
    pub(crate) filtered: bool,
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

/// A decided row.
pub(crate) struct Decided {
    pub(crate) position: usize,
    pub(crate) id: String,
    pub(crate) verdict: Verdict,
}

/// How a call ended, in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// Recorded; carries tokens and money.
    Answered,
    /// 429 or 503: the endpoint wants fewer calls.
    Busy,
    /// A broken connection, a 5xx, or an answer that cannot be read; carries the most that tries can have cost which
    /// may have been paid for.
    Failed,
    /// Any other refusal.
    Refused,
    /// On its way when the program was killed: it may have been paid for.
    Lost,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

/// A line of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) model: String,
    pub(crate) endpoint: String,
    pub(crate) outcome: String,
    pub(crate) calls: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) microdollars: u64,
}

impl Entry {
    pub(crate) fn cost(&self) -> Cost {
        Cost { tokens: self.prompt_tokens + self.completion_tokens, microdollars: self.microdollars }
    }

    /// The sum of a ledger's lines of one outcome, under no model and endpoint.
    pub(crate) fn sum(ledger: &[Self], outcome: Outcome) -> Self {
        let mut sum = Self { outcome: outcome.name().to_owned(), ..Self::default() };
        for entry in ledger.iter().filter(|entry| entry.outcome == outcome.name()) {
            sum.add(entry);
        }
        sum
    }

    /// Counts the other's calls too.
    pub(crate) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.microdollars += other.microdollars;
    }
}

/// Who answered and what it cost, recorded with the answer.
#[derive(Debug, Clone)]
pub(crate) struct Source<'a> {
    pub(crate) model: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) step: &'a str,
    pub(crate) microdollars: u64,
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

impl Store {
    /// Opens or creates the store.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let lock = lock(&path.with_extension("lock"))?;
        let connect = || -> Result<Connection> {
            let connection = Connection::open(path)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "cache_size", -32_768)?; // KiB
            connection.busy_timeout(std::time::Duration::from_secs(10))?;
            Ok(connection)
        };
        let name = || format!("cannot open the run's store {}", path.display());
        let writer = connect().with_context(name)?;
        let tables: i64 = writer.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
        let version: i64 = writer.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if tables > 0 && version != VERSION {
            bail!(
                "{} was written by another version of smoltalk; name another --out, or set it aside with --fresh",
                path.display()
            );
        }
        // Together: a kill between the tables and their version would leave a store that is refused.
        let schema = format!("BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;");
        writer.execute_batch(&schema).with_context(name)?;
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
    pub(crate) fn answer(&self, key: &Key) -> Result<Option<Reply>> {
        let text: Option<String> = self.read(|connection| {
            connection
                .prepare_cached("SELECT reply FROM answers WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()
        })?;
        text.map(|text| serde_json::from_str(&text).context("the store holds a broken answer")).transpose()
    }

    /// Records an answer; returns once it is on disk.
    pub(crate) async fn record(&self, key: &Key, source: &Source<'_>, reply: &Reply) -> Result<()> {
        self.write(Statement::answer(*key, source, reply)?).await?;
        self.generated.fetch_add(reply.completion_tokens, Ordering::Relaxed);
        Ok(())
    }

    /// Counts calls that brought no answer; the count is committed with whatever comes next.
    pub(crate) fn note(&self, model: &str, endpoint: &str, outcome: Outcome, calls: u64) {
        let entry = Entry {
            model: model.to_owned(),
            endpoint: endpoint.to_owned(),
            outcome: outcome.name().to_owned(),
            calls,
            ..Entry::default()
        };
        // If the writing thread is gone, the next answer says so.
        let _ = self.writes.send(Write { statement: Statement::Ledger(entry), done: None });
    }

    /// Writes a line into the ledger; returns once it is on disk.
    pub(crate) async fn book(&self, entry: Entry) -> Result<()> {
        self.write(Statement::Ledger(entry)).await
    }

    /// Counts calls that a kill interrupted; the count is on disk when this returns.
    pub(crate) fn note_lost(&self, calls: u64) -> Result<()> {
        self.read(|connection| {
            connection.execute(
                "INSERT INTO ledger VALUES ('', '', ?1, ?2, 0, 0, 0) ON CONFLICT DO UPDATE SET calls = calls + ?2",
                params![Outcome::Lost.name(), calls as i64],
            )
        })?;
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

    /// Whether the rows at the first `limit` positions of a task are kept; nothing of those that are not decided.
    pub(crate) fn decided(&self, task: &str, limit: usize) -> Result<Vec<Option<bool>>> {
        let mut decided = vec![None; limit];
        self.read(|connection| {
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

    /// The decided rows among the first `limit` positions of a task, in order; a page of them in memory.
    pub(crate) fn rows(&self, task: &'static str, limit: usize) -> impl Iterator<Item = Result<Decided>> {
        let (mut page, mut next, mut over) = (VecDeque::new(), 0, false);
        std::iter::from_fn(move || {
            if page.is_empty() && !over {
                match self.page(task, next, limit) {
                    Ok(rows) => page.extend(rows.into_iter().map(Ok)),
                    Err(error) => page.push_back(Err(error)),
                }
                over = page.len() < PAGE;
            }
            let row: Result<Decided> = page.pop_front()?;
            if let Ok(row) = &row {
                next = row.position + 1;
            }
            Some(row)
        })
    }

    fn page(&self, task: &str, from: usize, limit: usize) -> Result<Vec<Decided>> {
        let read: Vec<(i64, String, bool, String)> = self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT position, id, kept, body FROM rows
                     WHERE task = ?1 AND position >= ?2 AND position < ?3 ORDER BY position LIMIT ?4",
                )?
                .query_map(params![task, from as i64, limit as i64, PAGE as i64], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })?
                .collect()
        })?;
        let decided = |(position, id, kept, body): (i64, String, bool, String)| {
            let verdict = match kept {
                true => Verdict::Kept(serde_json::from_str(&body)?),
                false => Verdict::Dropped(serde_json::from_str(&body)?),
            };
            Ok(Decided { position: position as usize, id, verdict })
        };
        read.into_iter().map(decided).collect()
    }

    /// Tokens of the answers recorded since this process began.
    pub(crate) fn generated(&self) -> u64 {
        self.generated.load(Ordering::Relaxed)
    }

    /// Every call the run ever made: how they ended, their tokens and what they cost.
    pub(crate) fn ledger(&self) -> Result<Vec<Entry>> {
        let text = "SELECT model, endpoint, outcome, calls, prompt_tokens, completion_tokens, microdollars
                    FROM ledger ORDER BY model, endpoint, outcome";
        self.read(|connection| {
            let number =
                |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(|value| value as u64);
            connection
                .prepare(text)?
                .query_map([], |row| {
                    Ok(Entry {
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

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        query(&*self.reader()?).context("the run's store cannot be used")
    }

    fn reader(&self) -> Result<MutexGuard<'_, Connection>> {
        self.reader.lock().map_err(|_| anyhow!("the store's reader failed"))
    }

    async fn write(&self, statement: Statement) -> Result<()> {
        let (done, wait) = tokio::sync::oneshot::channel();
        let sent = self.writes.send(Write { statement, done: Some(done) });
        sent.map_err(|_| anyhow!("the run's store has stopped"))?;
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
