//! `smoltalk show`: prints rows of a generated dataset.

use anyhow::{Result, bail};
use datasets::{Message, Row};
use serde_json::{Map, Value};
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use terminal::print_results;

/// Options of `smoltalk show`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder that `smoltalk gen` wrote
    folder: PathBuf,
    /// Number of rows, per task
    #[arg(long, default_value_t = 3)]
    n: usize,
    /// Print dropped rows with the reasons
    #[arg(long)]
    dropped: bool,
}

/// Prints the rows; returns the exit code. A reader of standard output that ends early is no error.
///
/// # Errors
/// When the folder contains no finished dataset.
pub fn run(options: &Options) -> Result<u8> {
    if !options.folder.join("run.json").is_file() {
        bail!(
            "{0} contains no finished dataset (no run.json); finish it with `smoltalk gen --out {0}`",
            options.folder.display()
        );
    }
    let text = match options.dropped {
        true => dropped(&options.folder, options.n)?,
        false => kept(&options.folder, options.n)?,
    };
    if text.is_empty() {
        let note = match options.dropped {
            true => "no row was dropped",
            false => "no row was kept; give `--dropped` to print the others",
        };
        terminal::message!("note: {}: {note}", options.folder.display());
    }
    print_results(&text)?;
    Ok(0)
}

fn kept(folder: &Path, count: usize) -> Result<String> {
    let mut text = String::new();
    let mut tasks: Vec<PathBuf> =
        std::fs::read_dir(folder.join("data"))?.flatten().map(|entry| entry.path()).collect();
    tasks.sort();
    // `all` repeats the rows of the others.
    for task in tasks.iter().filter(|task| !task.ends_with("all")) {
        for located in datasets::read(task)?.take(count) {
            let name = task.file_name().unwrap_or_default().to_string_lossy();
            match located?.row {
                Row::Chat(row) => write_row(&mut text, &name, &row.messages, &[], &row.metadata)?,
                Row::Preference(row) => {
                    let replies = [("chosen", &row.chosen[..]), ("rejected", &row.rejected[..])];
                    write_row(&mut text, &name, &row.prompt, &replies, &row.metadata)?;
                }
                Row::Text(_) => {}
            }
        }
    }
    Ok(text)
}

fn write_row(
    text: &mut String,
    task: &str,
    messages: &[Message],
    replies: &[(&str, &[Message])],
    metadata: &Map<String, Value>,
) -> Result<()> {
    writeln!(text, "== {task}")?;
    for message in messages {
        writeln!(text, "[{}] {}", message.role, message.content)?;
    }
    for (column, messages) in replies {
        for message in *messages {
            writeln!(text, "[{column}] {}", message.content)?;
        }
    }
    for (name, value) in metadata.iter().filter(|(_, value)| !value.is_null()) {
        writeln!(text, "  {name}: {value}")?;
    }
    text.push('\n');
    Ok(())
}

fn dropped(folder: &Path, count: usize) -> Result<String> {
    let mut text = String::new();
    for line in BufReader::new(std::fs::File::open(folder.join("dropped.jsonl"))?).lines().take(count) {
        let row: Value = serde_json::from_str(&line?)?;
        let [task, id, reason, step, detail] =
            ["task", "id", "reason", "step", "detail"].map(|name| row[name].as_str().unwrap_or_default());
        writeln!(text, "{task} {id}: {reason} at {step}: {detail}")?;
    }
    Ok(text)
}
