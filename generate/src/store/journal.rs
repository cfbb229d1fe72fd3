//! The journal of a shard: every answer and every line of the ledger, appended as they are recorded. The store of a shard is
//! on the worker's own disk, because SQLite's log does not work on network file systems; the journal is in the shared folder,
//! so that a worker which takes the shard over asks for nothing that is in it.

use super::checksums::answer_checksum;
use super::ledger::LedgerEntry;
use super::records::{CallKey, hex};
use super::writer::{Statement, Write};
use anyhow::{Context, Result};
use files::hash::sha256;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Hexadecimal digits of the hash before each line.
const DIGITS: usize = 16;

/// A journal that this process writes.
pub(crate) struct Journal {
    file: File,
}

/// A line: the key of an answer, its step and the answer itself, which is empty for a line of the ledger alone.
type Line = (String, String, String, LedgerEntry);

impl Journal {
    /// Creates a journal; its name is this claim's alone.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::options().append(true).create_new(true).open(path);
        Ok(Self { file: file.with_context(|| format!("cannot create {}", path.display()))? })
    }

    /// Appends what a commit recorded; it is on the disk when this returns.
    pub(super) fn append(&mut self, batch: &[Write]) -> io::Result<()> {
        let mut text = String::new();
        for write in batch {
            let line: Line = match &write.statement {
                Statement::Answer { key, step, reply, entry, .. } => {
                    (hex(key), step.clone(), reply.clone(), entry.clone())
                }
                Statement::Ledger(entry) => (String::new(), String::new(), String::new(), entry.clone()),
                // Rows follow from answers.
                Statement::Row { .. } => continue,
            };
            let line = serde_json::to_string(&line)?;
            text.push_str(&format!("{} {line}\n", &sha256(&line)[..DIGITS]));
        }
        if text.is_empty() {
            return Ok(());
        }
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}

/// The statements of a journal that another process wrote; none if it does not exist. Lines that are not whole are left out: a
/// killed process was writing the last one.
pub(super) fn read(path: &Path) -> Result<Vec<Write>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let lines =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| statement(std::str::from_utf8(line).ok()?));
    Ok(lines.map(|statement| Write { statement, done: None }).collect())
}

fn statement(line: &str) -> Option<Statement> {
    let (hash, line) = line.split_once(' ')?;
    if sha256(line)[..DIGITS] != *hash {
        return None;
    }
    let (key, step, reply, entry): Line = serde_json::from_str(line).ok()?;
    if key.is_empty() {
        return Some(Statement::Ledger(entry));
    }
    let number = u128::from_str_radix(&key, 16).ok()?;
    let key: CallKey = number.to_be_bytes();
    let checksum = answer_checksum(&key, &reply);
    Some(Statement::Answer { key, step, reply, checksum, entry })
}
