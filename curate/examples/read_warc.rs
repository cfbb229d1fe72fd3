//! Reads an archive, splits its responses into header and content, and prints what it found: for `benchmarks/speed.py`, which
//! measures the CPU seconds of this program beside those of fastwarc.
//!
//!     cargo run --release -p curate --example read_warc -- ARCHIVE

use curate::warc::{Records, response};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| std::io::Error::other("give an archive"))?;
    let mut records = Records::open(Path::new(&path))?;
    let (mut count, mut responses, mut bytes) = (0_u64, 0_u64, 0_u64);
    for record in records.by_ref() {
        let record = record?;
        count += 1;
        if record.kind == "response"
            && let Ok(body) = response(&record.block)
        {
            responses += 1;
            bytes += body.bytes.len() as u64;
        }
    }
    let damaged = records.losses().damaged;
    println!(
        "{{\"records\": {count}, \"responses\": {responses}, \"bytes\": {bytes}, \"damaged\": {damaged}}}"
    );
    Ok(())
}
