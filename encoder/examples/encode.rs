//! Encodes the texts of a JSONL file and prints how long it took: for `benchmarks/speed.py`, which measures torch on the same
//! texts. With a third path it writes the vectors there, as little-endian f32.
//!
//!     cargo run --release -p encoder --example encode -- FOLDER TEXTS.jsonl [VECTORS]

use anyhow::{Context, Result};
use encoder::Encoder;
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, texts, vectors @ ..] = &arguments[..] else { anyhow::bail!("give FOLDER and TEXTS.jsonl") };
    let rows = std::fs::read_to_string(texts).with_context(|| format!("cannot read {texts}"))?;
    let rows: Vec<Value> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let texts: Vec<&str> = rows.iter().filter_map(|row| row["text"].as_str()).collect();
    let encoder = Encoder::open(Path::new(folder))?;
    // The first texts start the threads and touch the weights.
    encoder.encode(&texts[..texts.len().min(4)])?;
    let start = Instant::now();
    let found = encoder.encode(&texts)?;
    println!("{{\"texts\": {}, \"seconds\": {}}}", texts.len(), start.elapsed().as_secs_f64());
    if let Some(path) = vectors.first() {
        std::fs::write(path, found.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    Ok(())
}
