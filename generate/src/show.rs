//! `smoltalk show`: rows of a generated dataset, to read.

use crate::printable::printable;
use anyhow::{Result, bail};
use datasets::Row;
use serde_json::Value;
use std::fmt::Write;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

/// What to print.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder that `smoltalk gen` wrote
    folder: PathBuf,
    /// How many rows
    #[arg(long, default_value_t = 3)]
    n: usize,
    /// Print dropped rows and why they were dropped
    #[arg(long)]
    dropped: bool,
}

/// Prints the rows; a reader that goes away early is no error.
///
/// # Errors
/// When the folder holds no finished dataset.
pub fn run(options: &Options) -> Result<u8> {
    if !options.folder.join("run.json").is_file() {
        bail!(
            "{} holds no finished dataset (no run.json); run smoltalk gen with --out {0} to its end",
            options.folder.display()
        );
    }
    let text = if options.dropped {
        dropped(&options.folder, options.n)?
    } else {
        kept(&options.folder, options.n)?
    };
    if text.is_empty() {
        let hint = if options.dropped {
            "no row was dropped"
        } else {
            "no row was kept; --dropped prints the others"
        };
        eprintln!("{}: {hint}", options.folder.display());
    }
    match std::io::stdout().write_all(printable(&text).as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(0),
    }
}

fn kept(folder: &Path, count: usize) -> Result<String> {
    let mut text = String::new();
    let mut configs: Vec<PathBuf> =
        std::fs::read_dir(folder.join("data"))?.flatten().map(|entry| entry.path()).collect();
    configs.sort();
    for config in configs.iter().filter(|config| !config.ends_with("all")) {
        for located in datasets::read(config)?.take(count) {
            let (messages, replies, metadata) = match located?.row {
                Row::Chat(row) => (row.messages, Vec::new(), row.metadata),
                Row::Preference(row) => {
                    (row.prompt, vec![("chosen", row.chosen), ("rejected", row.rejected)], row.metadata)
                }
                Row::Text(_) => continue,
            };
            writeln!(text, "== {}", config.file_name().unwrap_or_default().to_string_lossy())?;
            for message in &messages {
                writeln!(text, "[{}] {}", message.role, message.content)?;
            }
            for (side, message) in
                replies.iter().flat_map(|(side, list)| list.iter().map(move |one| (side, one)))
            {
                writeln!(text, "[{side}] {}", message.content)?;
            }
            for (name, value) in metadata.iter().filter(|(_, value)| !value.is_null()) {
                writeln!(text, "  {name}: {value}")?;
            }
            text.push('\n');
        }
    }
    Ok(text)
}

fn dropped(folder: &Path, count: usize) -> Result<String> {
    let mut text = String::new();
    for line in BufReader::new(std::fs::File::open(folder.join("dropped.jsonl"))?).lines().take(count) {
        let row: Value = serde_json::from_str(&line?)?;
        let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        writeln!(
            text,
            "{} {}: {} at {}: {}",
            field("task"),
            field("id"),
            field("reason"),
            field("step"),
            field("detail")
        )?;
    }
    Ok(text)
}
