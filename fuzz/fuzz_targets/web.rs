//! Archives of web pages and their HTML: records, HTTP, charsets, main content, mathematics.
#![no_main]

use curate::Content;
use curate::warc::{self, Records};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

/// More records than these tell nothing new.
const MAX_RECORDS: usize = 100;

thread_local! {
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a folder for files"));
}

fn page(bytes: &[u8], charset: Option<&str>) {
    let html = curate::decode(bytes, charset);
    for content in [Content::Main, Content::All] {
        let _ = curate::extract(&html, content);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    if first % 2 == 0 {
        return page(rest, None);
    }
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join("archive.warc");
        std::fs::write(&path, rest).expect("the file is written");
        let Ok(records) = Records::open(&path) else { return };
        for record in records.take(MAX_RECORDS).map_while(Result::ok) {
            if let Ok(body) = warc::response(&record.block) {
                page(&body.bytes, body.charset.as_deref());
            }
        }
    });
});
