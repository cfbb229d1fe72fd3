//! Repairs a damaged store: what can be read, and matches its checksum, is copied into a new store. The damaged one is
//! copied aside first.

use super::checksums::{Checksum, answer_checksum, row_checksum};
use super::open;
use super::records::{CallKey, Reply};
use super::schema::{OLD_VERSION, SCHEMA, VERSION};
use super::wal::{self, beside};
use anyhow::{Context, Result, bail};
use files::{atomic, owned, run_folder};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The new store from the moment it is whole until it has the store's name.
pub(crate) const REPAIRED_FILE: &str = "store.sqlite.repaired";
/// What SQLite keeps beside a store.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What a repair did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repair {
    pub(crate) answers: u64,
    /// Answers that cannot be read or differ from their checksum.
    pub(crate) lost_answers: u64,
    pub(crate) rows: u64,
    /// Outcomes of rows that are removed; they follow from the answers.
    pub(crate) lost_rows: u64,
    /// The copy of the damaged store; `None` if nothing was damaged.
    pub(crate) kept: Option<PathBuf>,
}

/// Repairs the store of a folder, which must be locked.
///
/// # Errors
/// When not even its settings can be read: nothing is changed.
pub(crate) fn repair(path: &Path) -> Result<Repair> {
    let path = &open::location(path)?;
    complete(path)?;
    // SQLite drops the part of a damaged log that it cannot read.
    let is_log_damaged = wal::lost_commits(&beside(path, "-wal"))?.is_some();
    let kept = if is_log_damaged { Some(keep_copy(path)?) } else { None };
    let damaged = open::connection(path).with_context(|| unreadable(path))?;
    let version: i64 =
        damaged.query_row("PRAGMA user_version", [], |row| row.get(0)).with_context(|| unreadable(path))?;
    if version != VERSION && version != OLD_VERSION {
        bail!("{} is no store of this version of smoltalk; give another `--out`", path.display());
    }
    let is_whole = open::problems(&damaged, 1).is_ok_and(|problems| problems.is_empty());
    let new = atomic::NewFile::create(&path.with_file_name(REPAIRED_FILE))?;
    let mut repair = copy(&damaged, new.temporary_path(), version == VERSION, path)?;
    drop(damaged);
    repair.kept = kept;
    if is_whole && repair.lost_answers + repair.lost_rows == 0 {
        return Ok(repair);
    }
    if repair.kept.is_none() {
        repair.kept = Some(keep_copy(path)?);
    }
    new.commit()?;
    complete(path)?;
    Ok(repair)
}

/// Gives a repaired store the store's name, if there is one.
pub(super) fn complete(path: &Path) -> Result<()> {
    let repaired = path.with_file_name(REPAIRED_FILE);
    owned::refuse_links(&repaired)?;
    if repaired.exists() {
        // A log of the damaged store would be applied to the new one.
        BESIDE.iter().try_for_each(|suffix| atomic::remove(&beside(path, suffix)))?;
        atomic::rename(&repaired, path)?;
    }
    Ok(())
}

fn unreadable(path: &Path) -> String {
    format!(
        "nothing can be read from {}; put a backup of it in its place, or give another `--out`",
        path.display()
    )
}

/// Copies the damaged store and what is beside it into a new folder `set-aside-N`.
fn keep_copy(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let aside = run_folder::new_aside_folder(folder)?;
    let files = std::iter::once(path.to_owned()).chain(BESIDE.iter().map(|suffix| beside(path, suffix)));
    for file in files.filter(|file| file.is_file()) {
        let mut kept = atomic::NewFile::create(&aside.join(file.file_name().unwrap_or_default()))?;
        let copied = File::open(&file).and_then(|mut source| io::copy(&mut source, &mut kept));
        copied.with_context(|| format!("cannot copy {}", file.display()))?;
        kept.commit()?;
    }
    Ok(aside)
}

/// Copies everything readable into a new store.
fn copy(damaged: &Connection, new: &Path, has_checksums: bool, path: &Path) -> Result<Repair> {
    let mut target = open::connection(new)?;
    target.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    let transaction = target.transaction()?;
    for (table, columns) in [("meta", 2), ("ledger", 7), ("batches", 6), ("batch_calls", 3)] {
        copy_table(damaged, &transaction, table, columns)?;
    }
    let configuration = transaction
        .query_row("SELECT value FROM meta WHERE key = 'configuration'", [], |row| row.get::<_, String>(0))
        .optional()?;
    if configuration.is_none_or(|text| serde_json::from_str::<serde_json::Value>(&text).is_err()) {
        bail!(unreadable(path));
    }
    let checksum = if has_checksums { "checksum" } else { "NULL" };
    let (answers, lost_answers) = copy_answers(damaged, &transaction, checksum)?;
    let (rows, lost_rows) = copy_rows(damaged, &transaction, checksum)?;
    transaction.commit()?;
    Ok(Repair { answers, lost_answers, rows, lost_rows, kept: None })
}

/// Copies the rows of a table up to the first one that cannot be read.
fn copy_table(from: &Connection, to: &Connection, table: &str, columns: usize) -> Result<()> {
    let places: Vec<String> = (1..=columns).map(|place| format!("?{place}")).collect();
    let mut insert = to.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES ({})", places.join(", ")))?;
    let Ok(mut select) = from.prepare(&format!("SELECT * FROM {table}")) else { return Ok(()) };
    let Ok(mut rows) = select.query([]) else { return Ok(()) };
    while let Ok(Some(row)) = rows.next() {
        let values: rusqlite::Result<Vec<Value>> = (0..columns).map(|column| row.get(column)).collect();
        if let Ok(values) = values {
            insert.execute(params_from_iter(values))?;
        }
    }
    Ok(())
}

/// Copies the answers one by one by their numbers, so that a damaged page costs only the answers in it.
fn copy_answers(from: &Connection, to: &Connection, checksum: &str) -> Result<(u64, u64)> {
    type Answer = (CallKey, String, String, String, Option<Checksum>);
    let last: i64 = from
        .query_row("SELECT coalesce(max(number), 0) FROM answers", [], |row| row.get(0))
        .context("the answers in the run's store cannot be read; put a backup of it in its place")?;
    let mut select =
        from.prepare(&format!("SELECT key, model, step, reply, {checksum} FROM answers WHERE number = ?1"))?;
    let mut insert = to.prepare(
        "INSERT OR IGNORE INTO answers (key, model, step, reply, checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let (mut kept, mut lost) = (0, 0);
    for number in 1..=last {
        let answer = select
            .query_row([number], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
        match answer {
            Ok::<Answer, _>((key, model, step, reply, checksum))
                if is_whole_answer(&key, &reply, checksum) =>
            {
                let checksum = answer_checksum(&key, &reply);
                kept += insert.execute(params![key, model, step, reply, checksum])? as u64;
            }
            _ => lost += 1,
        }
    }
    Ok((kept, lost))
}

fn is_whole_answer(key: &CallKey, reply: &str, checksum: Option<Checksum>) -> bool {
    checksum.is_none_or(|checksum| checksum == answer_checksum(key, reply))
        && serde_json::from_str::<Reply>(reply).is_ok()
}

/// Copies the outcomes of rows up to the first one that cannot be read; the others are decided again from the answers.
fn copy_rows(from: &Connection, to: &Connection, checksum: &str) -> Result<(u64, u64)> {
    type Row = (String, i64, String, bool, String, Option<Checksum>);
    let (mut kept, mut lost) = (0, 0);
    let mut insert =
        to.prepare("INSERT OR IGNORE INTO rows (task, position, id, kept, body, checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut select = from.prepare(&format!("SELECT task, position, id, kept, body, {checksum} FROM rows"))?;
    let rows = select.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
    })?;
    for row in rows {
        let Ok::<Row, _>((task, position, id, is_kept, body, checksum)) = row else {
            lost += 1;
            break;
        };
        let now = row_checksum(&task, position as usize, &body);
        let is_whole = checksum.is_none_or(|checksum| checksum == now);
        if is_whole && serde_json::from_str::<serde_json::Value>(&body).is_ok() {
            kept += insert.execute(params![task, position, id, is_kept, body, now])? as u64;
        } else {
            lost += 1;
        }
    }
    Ok((kept, lost))
}
