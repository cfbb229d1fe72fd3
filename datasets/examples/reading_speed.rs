//! Reads data files as every command does and prints rows per second and the peak memory.
//!
//! `cargo run --release -p datasets --example reading_speed -- PATH ...`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let begun = Instant::now();
        let (mut rows, mut messages) = (0u64, 0u64);
        for row in datasets::read(Path::new(&path))? {
            rows += 1;
            if let datasets::Row::Chat(chat) = &row?.row {
                messages += chat.messages.len() as u64;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!(
            "{path}: {rows} rows, {messages} messages, {seconds:.2} s, {:.0} rows/s",
            rows as f64 / seconds
        );
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("peak memory: {line}"));
    Ok(())
}
