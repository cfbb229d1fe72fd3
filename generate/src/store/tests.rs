//! Damage to a store, and strangers in its place.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use rusqlite::Connection;
use serde_json::{Map, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const STORE: &str = "store.sqlite";

fn key(number: u8) -> CallKey {
    [number; 16]
}

fn reply(number: u8) -> Reply {
    Reply { text: format!("the answer number {number} is long enough to be found"), ..Reply::default() }
}

/// A closed store with 20 answers and 10 rows.
fn filled() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STORE);
    let store = Store::open(&path).unwrap();
    store.set_meta(&[("configuration", r#"{"seed": 1}"#)]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let source = AnswerSource { model: "m", endpoint: "e", step: "user", microdollars: 3 };
    for number in 1..=20 {
        runtime.block_on(store.record(&key(number), &source, &reply(number))).unwrap();
    }
    for position in 0..10 {
        let row =
            Verdict::Kept(Map::from_iter([("text".to_owned(), json!(format!("row number {position}")))]));
        runtime.block_on(store.decide("task", position, &format!("id{position}"), &row)).unwrap();
    }
    drop(store);
    // The thread that writes closes its connection a moment later.
    let merged = || into_single_file(&path).is_ok();
    assert!((0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        merged()
    }));
    (folder, path)
}

fn flip(path: &Path, text: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let place = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[place + text.len() - 1] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

fn error<T>(result: anyhow::Result<T>) -> String {
    terminal::errors::one_line(&result.err().unwrap())
}

#[test]
fn one_bit_of_an_answer_is_noticed_and_asked_again_only_with_consent() {
    let (_folder, path) = filled();
    flip(&path, "the answer number 7");
    let store = Store::open(&path).unwrap();
    let text = error(store.answer(&key(7)));
    assert!(text.contains("the answer of step `user`") && text.contains("`--repair`"), "{text}");
    assert_eq!(store.answer(&key(8)).unwrap(), Some(reply(8)));
    drop(store);
    let repaired = repair(&path).unwrap();
    assert_eq!((repaired.answers, repaired.lost_answers, repaired.rows, repaired.lost_rows), (19, 1, 10, 0));
    assert!(repaired.kept.unwrap().join(STORE).is_file());
    let store = Store::open(&path).unwrap();
    assert_eq!(store.answer(&key(7)).unwrap(), None);
    assert_eq!(store.answer(&key(8)).unwrap(), Some(reply(8)));
    assert_eq!(store.meta("configuration").unwrap().unwrap(), r#"{"seed": 1}"#);
    assert_eq!(LedgerEntry::sum(&store.ledger().unwrap(), Outcome::Answered).calls, 20);
    drop(store);
    assert_eq!(repair(&path).unwrap().kept, None, "nothing is left to repair");
}

#[test]
fn one_bit_of_a_row_is_noticed() {
    let (_folder, path) = filled();
    flip(&path, "row number 4");
    let store = Store::open(&path).unwrap();
    let rows: Vec<_> = store.rows("task", 10).collect();
    let text = error(rows.into_iter().collect::<anyhow::Result<Vec<_>>>());
    assert!(text.contains("row id4 of `task`") && text.contains("damaged"), "{text}");
    drop(store);
    assert_eq!(repair(&path).unwrap().lost_rows, 1);
    assert_eq!(Store::open(&path).unwrap().decided("task", 10).unwrap()[4], None);
}

/// 100 single bits anywhere in the file: nothing that is read back differs from what was recorded.
#[test]
fn no_flipped_bit_of_a_store_goes_by() {
    let (_folder, path) = filled();
    let whole = std::fs::read(&path).unwrap();
    let (mut refused, mut harmless) = (0, 0);
    for flip in 0..100_u64 {
        let draw = crate::draw::draw(&format!("bit {flip}"));
        let mut bytes = whole.clone();
        let bit = draw as usize % (8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        let read = || -> anyhow::Result<()> {
            let store = Store::open(&path)?;
            for number in 1..=20 {
                assert_eq!(store.answer(&key(number))?, Some(reply(number)), "bit {bit}");
            }
            let rows = store.rows("task", 10).collect::<anyhow::Result<Vec<_>>>()?;
            assert_eq!(rows.len(), 10, "bit {bit}");
            Ok(())
        };
        match read() {
            Ok(()) => harmless += 1,
            Err(_) => refused += 1,
        }
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(path.with_file_name(format!("{STORE}{suffix}")));
        }
    }
    assert!(refused > 10 && harmless > 10, "{refused} refused, {harmless} in unused bytes");
}

#[test]
fn a_store_of_the_version_before_is_opened_and_gets_checksums() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STORE);
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "CREATE TABLE answers (number INTEGER PRIMARY KEY, key BLOB NOT NULL, model TEXT NOT NULL, step TEXT NOT NULL,
             reply TEXT NOT NULL);
         CREATE UNIQUE INDEX answers_by_key ON answers (key);
         CREATE TABLE rows (task TEXT NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL, kept INTEGER NOT NULL,
             body TEXT NOT NULL, PRIMARY KEY (task, position)) WITHOUT ROWID;
         PRAGMA user_version = 2;",
    )
    .unwrap();
    let text = serde_json::to_string(&reply(1)).unwrap();
    old.execute(
        "INSERT INTO answers (key, model, step, reply) VALUES (?1, 'm', 'user', ?2)",
        (key(1), &text),
    )
    .unwrap();
    old.execute("INSERT INTO rows VALUES ('task', 0, 'id0', 1, '{}')", []).unwrap();
    drop(old);
    for _ in 0..2 {
        let store = Store::open(&path).unwrap();
        assert_eq!(store.answer(&key(1)).unwrap(), Some(reply(1)));
        assert_eq!(store.rows("task", 1).count(), 1);
    }
}

#[test]
fn another_programs_database_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(STORE);
    let theirs = Connection::open(&path).unwrap();
    theirs.execute_batch("CREATE TABLE theirs (a); PRAGMA user_version = 7;").unwrap();
    drop(theirs);
    let bytes = std::fs::read(&path).unwrap();
    assert!(error(Store::open(&path)).contains("another version"));
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "its journal mode stays");
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_the_store_is_refused() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let theirs = elsewhere.path().join("theirs.sqlite");
    Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE theirs (a);").unwrap();
    let bytes = std::fs::read(&theirs).unwrap();
    std::os::unix::fs::symlink(&theirs, folder.path().join(STORE)).unwrap();
    assert!(error(Store::open(&folder.path().join(STORE))).contains("is a link"));
    assert_eq!(std::fs::read(&theirs).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[test]
fn names_that_sqlite_reads_otherwise() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("file:hidden?x=");
    std::fs::create_dir(&folder).unwrap();
    drop(Store::open(&folder.join(STORE)).unwrap());
    assert!(folder.join(STORE).is_file());
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
    let long = (0..5).fold(parent.path().to_owned(), |path, _| path.join("n".repeat(100)));
    std::fs::create_dir_all(&long).unwrap();
    let text = error(Store::open(&long.join(STORE)));
    assert!(text.contains("bytes, SQLite opens files of up to 500"), "{text}");
}

/// Answers in the log alone, as a kill leaves them: a copy of the files of an open store.
fn killed() -> (TempDir, PathBuf) {
    let (folder, path) = (tempfile::tempdir().unwrap(), PathBuf::new());
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    let store = Store::open(&open.join(STORE)).unwrap();
    store.set_meta(&[("configuration", r#"{"seed": 1}"#)]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let source = AnswerSource { model: "m", endpoint: "e", step: "user", microdollars: 3 };
    for number in 1..=20 {
        runtime.block_on(store.record(&key(number), &source, &reply(number))).unwrap();
    }
    let copy = folder.path().join("killed");
    std::fs::create_dir(&copy).unwrap();
    for name in [STORE, "store.sqlite-wal"] {
        std::fs::copy(open.join(name), copy.join(name)).unwrap();
    }
    drop((store, path));
    let path = copy.join(STORE);
    (folder, path)
}

#[test]
fn a_damaged_log_is_refused_and_repaired_with_consent() {
    for place in [4, 17, 40, 20_000, 30_000] {
        let (_folder, path) = killed();
        let log = path.with_file_name("store.sqlite-wal");
        let mut bytes = std::fs::read(&log).unwrap();
        bytes[place] ^= 4;
        std::fs::write(&log, bytes).unwrap();
        let text = error(Store::open(&path));
        assert!(
            text.contains("store.sqlite-wal is damaged") && text.contains("`--repair`"),
            "byte {place}: {text}"
        );
        assert!(!verify(&path).unwrap().problems.is_empty());
    }
    let (_folder, path) = killed();
    let log = path.with_file_name("store.sqlite-wal");
    let mut bytes = std::fs::read(&log).unwrap();
    let place = bytes.len() - 60_000;
    bytes[place] ^= 4;
    std::fs::write(&log, &bytes).unwrap();
    let repaired = repair(&path).unwrap();
    assert!(repaired.answers < 20 && repaired.answers > 0);
    let kept = repaired.kept.unwrap().join("store.sqlite-wal");
    assert_eq!(std::fs::read(kept).unwrap(), bytes);
    Store::open(&path).unwrap();
}

/// What a kill or a power loss leaves of the last commit is no damage.
#[test]
fn a_log_that_ends_early_is_read_as_far_as_it_goes() {
    let (_folder, path) = killed();
    let log = path.with_file_name("store.sqlite-wal");
    let whole = std::fs::read(&log).unwrap();
    for cut in [1, 100, 4096, 4120, 10_000] {
        std::fs::write(&log, &whole[..whole.len() - cut]).unwrap();
        let copy = tempfile::tempdir().unwrap();
        for name in [STORE, "store.sqlite-wal"] {
            std::fs::copy(path.with_file_name(name), copy.path().join(name)).unwrap();
        }
        let store = Store::open(&copy.path().join(STORE)).unwrap();
        assert_eq!(store.answer(&key(10)).unwrap(), Some(reply(10)), "{cut} bytes less");
    }
}

#[test]
fn the_whole_store_is_verified() {
    let (_folder, path) = filled();
    assert_eq!(
        verify(&path).unwrap(),
        super::verify::StoreState { answers: 20, rows: 10, problems: Vec::new() }
    );
    flip(&path, "the answer number 7");
    flip(&path, "row number 4");
    let problems = verify(&path).unwrap().problems;
    assert!(
        problems[0].contains("an answer of step `user`") && problems[1].contains("row id4 of `task`"),
        "{problems:?}"
    );
}
