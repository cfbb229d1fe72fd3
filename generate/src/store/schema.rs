//! The tables of a store, and their versions.

/// The version of the tables; a store with another one is refused, except those that [`MIGRATION`] knows.
pub(super) const VERSION: i64 = 3;
/// The version before checksums.
pub(super) const OLD_VERSION: i64 = 2;
/// From [`OLD_VERSION`]: its answers and rows have no checksums and are believed.
pub(super) const MIGRATION: &str =
    "ALTER TABLE answers ADD COLUMN checksum BLOB; ALTER TABLE rows ADD COLUMN checksum BLOB;";
/// Answers are appended and found through an index of short keys; both stay fast with millions of answers.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL, model TEXT NOT NULL, step TEXT NOT NULL, reply TEXT NOT NULL,
    checksum BLOB);
CREATE UNIQUE INDEX IF NOT EXISTS answers_by_key ON answers (key);
CREATE TABLE IF NOT EXISTS rows (
    task TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, kept INTEGER NOT NULL, body TEXT NOT NULL,
    checksum BLOB, PRIMARY KEY (task, position)) WITHOUT ROWID;
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
