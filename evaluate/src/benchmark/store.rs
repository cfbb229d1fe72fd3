//! `TASK.jsonl`: the scored documents of a task, appended as each one finishes. A stopped run continues by the keys that
//! are there, not by their number; at the end the file is written in the documents' order.

use super::record::Record;
use crate::results::refuse_unless;
use anyhow::{Context, Result};
use files::{atomic, owned};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Lines between two calls that force them to the disk.
const LINES_PER_SYNC: usize = 64;

/// The file of a task.
pub(super) struct Store {
    path: PathBuf,
    file: File,
    records: HashMap<String, Record>,
    /// The file of documents that were scored with other settings, and what is in it.
    earlier_path: PathBuf,
    earlier: HashMap<String, Record>,
    unsynced: usize,
}

impl Store {
    /// Opens the file of a task; what is there is kept, also what another run has scored with other settings. If the task
    /// is to be started over, it is not used again.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(super) fn open(folder: &Path, task: &str, restart: bool) -> Result<Self> {
        refuse_foreign(folder, task)?;
        let [path, earlier_path] = paths(folder, task);
        let mut earlier = by_key(read(&earlier_path)?);
        earlier.extend(by_key(read(&path)?));
        let records = if restart { HashMap::new() } else { std::mem::take(&mut earlier) };
        if restart && !earlier.is_empty() {
            write_all(&earlier_path, in_order(&earlier).into_iter())?;
        }
        // Also ends a line that a killed run left unfinished.
        write_all(&path, in_order(&records).into_iter())?;
        let file = owned::append(&path)?;
        Ok(Self { path, file, records, earlier_path, earlier, unsynced: 0 })
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.records.contains_key(key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    /// Writes a scored document.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub(super) fn append(&mut self, record: Record) -> Result<()> {
        let failed = || format!("cannot write {}", self.path.display());
        let line = format!("{}\n", serde_json::to_string(&record)?);
        self.file.write_all(line.as_bytes()).with_context(failed)?;
        self.unsynced += 1;
        if self.unsynced == LINES_PER_SYNC {
            self.unsynced = 0;
            self.file.sync_data().with_context(failed)?;
        }
        self.records.insert(record.key.clone(), record);
        Ok(())
    }

    /// Writes the file with the documents of these keys and rows, in their order, and returns them. Equal documents have
    /// one key. Documents of other keys go to `TASK.earlier.jsonl`, where a run with their settings finds them.
    ///
    /// # Errors
    /// When one is missing, or the disk refuses a file.
    pub(super) fn finish<'a>(
        mut self,
        documents: impl Iterator<Item = (&'a str, usize)>,
    ) -> Result<Vec<Record>> {
        let record = |(key, doc_id): (&'a str, usize)| {
            let record = self.records.get(key).with_context(|| format!("no document has the key {key}"))?;
            Ok(Record { doc_id, ..record.clone() })
        };
        let records: Vec<Record> = documents.map(record).collect::<Result<_>>()?;
        self.earlier.extend(std::mem::take(&mut self.records));
        records.iter().for_each(|record| drop(self.earlier.remove(&record.key)));
        if !self.earlier.is_empty() || self.earlier_path.exists() {
            write_all(&self.earlier_path, in_order(&self.earlier).into_iter())?;
        }
        write_all(&self.path, records.iter())?;
        Ok(records)
    }
}

/// The file of a task, and that of its documents with other settings.
fn paths(folder: &Path, task: &str) -> [PathBuf; 2] {
    [folder.join(format!("{task}.jsonl")), folder.join(format!("{task}.earlier.jsonl"))]
}

/// Refuses files in the place of a task's that are no stores: what is no record would be lost.
///
/// # Errors
/// Names the file.
pub(super) fn refuse_foreign(folder: &Path, task: &str) -> Result<()> {
    paths(folder, task).iter().try_for_each(|path| refuse_foreign_file(path))
}

fn refuse_foreign_file(path: &Path) -> Result<()> {
    let is_record = |line: &[u8]| serde_json::from_slice::<Record>(line).is_ok();
    // A killed run may have left a part of its first line, and a power loss zeros.
    let is_torn = |line: &[u8]| {
        serde_json::from_slice::<serde_json::Value>(line).is_err() && matches!(line.first(), Some(b'{' | 0))
    };
    refuse_unless(path, |bytes| {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.clone().any(is_record) || lines.all(is_torn)
    })
}

fn by_key(records: Vec<Record>) -> HashMap<String, Record> {
    records.into_iter().map(|record| (record.key.clone(), record)).collect()
}

/// Records in an order that does not depend on the hash map's.
fn in_order(records: &HashMap<String, Record>) -> Vec<&Record> {
    let mut list: Vec<&Record> = records.values().collect();
    list.sort_by(|one, other| (one.doc_id, &one.key).cmp(&(other.doc_id, &other.key)));
    list
}

/// The records of a file; a line that is not whole is left out.
///
/// # Errors
/// When the file exists and cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<Record>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
    };
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Writes records to a file, whole or not at all.
///
/// # Errors
/// When the disk refuses it.
pub(super) fn write_all<'a>(path: &Path, records: impl Iterator<Item = &'a Record>) -> Result<()> {
    let mut text = Vec::new();
    for record in records {
        serde_json::to_writer(&mut text, record)?;
        text.push(b'\n');
    }
    Ok(atomic::write(path, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["arc_easy.jsonl", "arc_easy.earlier.jsonl"] {
            let path = folder.path().join(name);
            for text in ["mine", "{\"mine\": 1}\n", "{\"key\": 1}\n{\"mine\"\n"] {
                std::fs::write(&path, text).expect("written");
                assert!(refuse_foreign(folder.path(), "arc_easy").is_err(), "before anything is scored");
                let error = Store::open(folder.path(), "arc_easy", true).err().expect("refused").to_string();
                assert!(error.contains(name) && error.contains("not a result of smoleval"), "{error}");
                assert_eq!(std::fs::read_to_string(&path).expect("it is there"), text);
            }
            std::fs::write(&path, "{\"doc_id\": 0, \"k").expect("written");
            Store::open(folder.path(), "arc_easy", false).expect("a torn line is nobody's");
            std::fs::remove_file(&path).expect("it is there");
        }
    }
    use crate::benchmark::record::Answer;
    use serde_json::json;

    fn record(key: &str) -> Record {
        Record {
            task: "t".to_owned(),
            doc_id: 3,
            key: key.to_owned(),
            scorer: "v1".to_owned(),
            query: "q".to_owned(),
            gold: json!(1),
            answer: Answer::Text { response: "r\n".to_owned(), finish: "stop".to_owned(), tokens: 2 },
            metrics: vec![("b".to_owned(), crate::task::MetricValue::Number(1.0))],
        }
    }

    #[test]
    fn a_killed_run_continues_after_its_last_whole_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path(), "t", false).expect("a store");
        store.append(record("a")).expect("written");
        drop(store);
        let path = folder.path().join("t.jsonl");
        let mut text = std::fs::read_to_string(&path).expect("written");
        text.push_str("{\"task\":\"t\",\"doc_id\":4,\"ke");
        std::fs::write(&path, text).expect("written");
        let mut store = Store::open(folder.path(), "t", false).expect("a store");
        assert!(store.contains("a") && !store.contains("b"));
        store.append(record("b")).expect("written");
        let records = store.finish([("b", 3), ("a", 3)].into_iter()).expect("both");
        assert_eq!(records, [record("b"), record("a")]);
        assert_eq!(read(&path).expect("read"), records);
        assert!(!Store::open(folder.path(), "t", true).expect("a store").contains("a"), "started over");
    }

    #[test]
    fn documents_of_other_settings_are_kept_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |restart| Store::open(folder.path(), "t", restart).expect("a store");
        let file = |name: &str| read(&folder.path().join(name)).expect("read");
        let mut store = open(false);
        ["a", "b"].into_iter().for_each(|key| store.append(record(key)).expect("written"));
        store.finish([("a", 3)].into_iter()).expect("one");
        assert_eq!((file("t.jsonl"), file("t.earlier.jsonl")), (vec![record("a")], vec![record("b")]));
        // The other settings again: nothing is asked twice.
        let store = open(false);
        assert!(store.contains("a") && store.contains("b"));
        store.finish([("b", 3)].into_iter()).expect("the other");
        assert_eq!((file("t.jsonl"), file("t.earlier.jsonl")), (vec![record("b")], vec![record("a")]));
        // Started over, and killed: the earlier answers are still there.
        drop(open(true));
        assert_eq!((file("t.jsonl").len(), file("t.earlier.jsonl").len()), (0, 2));
    }

    #[test]
    fn equal_rows_share_a_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(folder.path(), "t", false).expect("a store");
        store.append(record("a")).expect("written");
        let records = store.finish([("a", 3), ("a", 8)].into_iter()).expect("both rows");
        assert_eq!(records.iter().map(|record| record.doc_id).collect::<Vec<_>>(), [3, 8]);
    }
}
