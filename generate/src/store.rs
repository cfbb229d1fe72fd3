//! A run's store: SQLite with a write-ahead log, so that a kill at any moment loses nothing that was recorded.
//!
//! One thread writes and commits everything that gathered since the last commit; a caller continues once its own
//! write is on disk. The file can be opened with any SQLite tool.

mod batches;
mod checksums;
mod database;
mod journal;
mod ledger;
mod merge;
mod open;
mod records;
mod repair;
mod schema;
mod single_file;
mod verify;
mod wal;
mod writer;

pub(crate) use batches::OpenBatch;
pub(crate) use database::Store;
pub(crate) use journal::Journal;
pub(crate) use ledger::{AnswerSource, LedgerEntry, Outcome, calls_in_words};
pub(crate) use merge::{merge, write_whole};
pub(crate) use records::{CallKey, DroppedRow, Reply, Verdict, hex};
pub(crate) use repair::{REPAIRED_FILE, repair};
pub(crate) use single_file::into_single_file;
pub(crate) use verify::verify;

#[cfg(test)]
mod tests;
