//! Data files: the first byte chooses the format and the compression.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

const NAMES: [&str; 16] = [
    "a.jsonl", "a.json", "a.parquet", "a.txt", "a.jsonl.gz", "a.jsonl.zst", "a.json.gz", "a.json.zst", "a.txt.gz",
    "a.ndjson", "a.csv", "a.tsv", "a.arrow", "a.jsonl.xz", "a.jsonl.bz2", "a.csv.gz",
];
/// More rows than these tell nothing new.
const MAX_ROWS: usize = 1000;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a folder for files"));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join(NAMES[usize::from(*first) % NAMES.len()]);
        std::fs::write(&path, rest).expect("the file is written");
        if let Ok(rows) = datasets::read(&path) {
            rows.take(MAX_ROWS).take_while(Result::is_ok).for_each(drop);
        }
        if let Ok(rows) = datasets::read_raw(&path) {
            rows.take(MAX_ROWS).take_while(Result::is_ok).for_each(drop);
        }
        let _ = std::fs::remove_file(path);
    });
});
