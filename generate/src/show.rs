//! `smoltalk show`: prints rows of a dataset: a file, a folder, or the folder of `smoltalk gen`, task by task.

mod condition;

use crate::location::located;
use anyhow::{Result, bail};
use condition::{Condition, Sorting};
use datasets::{Message, RawRow, ReadOptions, Row, read_raw_with};
use serde_json::{Map, Value};
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use terminal::print_results;

/// Options of `smoltalk show`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// File or folder of rows, in any supported layout; of a folder that `smoltalk gen` wrote the rows of each task
    data: PathBuf,
    /// Number of rows; of a folder that `smoltalk gen` wrote, per task
    #[arg(long, default_value_t = 3)]
    n: usize,
    /// Print dropped rows with the reasons
    #[arg(long)]
    dropped: bool,
    /// Rows to print: COLUMN=VALUE, !=, <, <=, >, >=, or COLUMN~TEXT for a column that contains a text; repeat it for
    /// several conditions
    #[arg(long, value_name = "CONDITION")]
    filter: Vec<Condition>,
    /// Column to sort by, from the smallest; -COLUMN from the largest
    #[arg(long, value_name = "[-]COLUMN", allow_hyphen_values = true)]
    sort: Option<Sorting>,
    #[command(flatten)]
    reading: ReadOptions,
}

/// Prints the rows; returns the exit code. A reader of standard output that ends early is no error.
///
/// # Errors
/// When the data cannot be read.
pub fn run(options: &Options) -> Result<u8> {
    let data = &options.data;
    let is_generated = data.join("run.json").is_file() && data.join("data").is_dir();
    let text = match options.dropped {
        true => dropped(data, options.n)?,
        false if is_generated => generated(options)?,
        false => rows(data, None, options)?,
    };
    if text.is_empty() {
        let note = match options.dropped {
            true => "no row was dropped",
            false if is_generated && options.filter.is_empty() => {
                "no row was kept; give `--dropped` to print the others"
            }
            false => "no row passes",
        };
        terminal::message!("note: {}: {note}", data.display());
    }
    print_results(&text)?;
    Ok(0)
}

/// The rows of each task.
fn generated(options: &Options) -> Result<String> {
    let entries = std::fs::read_dir(options.data.join("data"))?;
    let mut tasks: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    tasks.sort();
    let mut text = String::new();
    // `all` repeats the rows of the others.
    for task in tasks.iter().filter(|task| !task.ends_with("all")) {
        let name = task.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&rows(task, Some(&name), options)?);
    }
    Ok(text)
}

/// The rows of one dataset, with its name; by default that of each row's file and its number.
fn rows(data: &Path, name: Option<&str>, options: &Options) -> Result<String> {
    let path = &located(data, &options.reading)?;
    let mut reading = read_raw_with(path, &options.reading)?;
    let (mut chosen, mut left_out): (Vec<RawRow>, Vec<String>) = Default::default();
    for raw in reading.by_ref() {
        let raw = raw?;
        if !options.filter.iter().all(|condition| condition.holds(&raw.object)) {
            continue;
        }
        // What passes the filter may still be no row.
        if options.reading.skip_invalid
            && let Err(error) = raw.clone().row()
        {
            left_out.push(error.to_string());
            continue;
        }
        chosen.push(raw);
        match &options.sort {
            None if chosen.len() >= options.n => break,
            // Only the first rows of the order are kept.
            Some(sorting) if chosen.len() >= 2 * options.n.max(512) => sorting.keep(&mut chosen, options.n),
            _ => {}
        }
    }
    if let Some(sorting) = &options.sort {
        sorting.keep(&mut chosen, options.n);
    }
    left_out.extend(reading.take_invalid().into_iter().map(|invalid| invalid.reason));
    for reason in left_out {
        terminal::message!("warning: left out: {reason}");
    }
    for (file, reason) in reading.skipped() {
        terminal::message!("warning: {} is skipped: {reason}", file.display());
    }
    let mut text = String::new();
    for raw in chosen.into_iter().take(options.n) {
        let file = raw.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.map_or_else(|| format!("{file}, row at {}", raw.number), str::to_owned);
        match raw.row()?.row {
            Row::Chat(row) => write_row(&mut text, &name, &row.messages, &[], &row.metadata)?,
            Row::Preference(row) => {
                let replies = [("chosen", &row.chosen[..]), ("rejected", &row.rejected[..])];
                write_row(&mut text, &name, &row.prompt, &replies, &row.metadata)?;
            }
            Row::Text(row) => {
                writeln!(text, "== {name}\n{}", row.text)?;
                write_columns(&mut text, &row.metadata)?;
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
        write_message(text, &message.role, message)?;
    }
    for (column, messages) in replies {
        for message in *messages {
            write_message(text, column, message)?;
        }
    }
    write_columns(text, metadata)
}

fn write_message(text: &mut String, author: &str, message: &Message) -> Result<()> {
    writeln!(text, "[{author}] {}", message.content)?;
    if let Some(calls) = &message.tool_calls {
        writeln!(text, "  tool_calls: {calls}")?;
    }
    for (name, value) in &message.extra {
        writeln!(text, "  {name}: {value}")?;
    }
    Ok(())
}

fn write_columns(text: &mut String, metadata: &Map<String, Value>) -> Result<()> {
    for (name, value) in metadata.iter().filter(|(_, value)| !value.is_null()) {
        writeln!(text, "  {name}: {value}")?;
    }
    text.push('\n');
    Ok(())
}

/// The dropped rows of a generated or cleaned dataset.
fn dropped(folder: &Path, count: usize) -> Result<String> {
    let path = folder.join("dropped.jsonl");
    if !path.is_file() {
        bail!("{} has no dropped.jsonl; `smoltalk gen` and `smoltalk clean` write it", folder.display());
    }
    let mut text = String::new();
    for line in BufReader::new(std::fs::File::open(path)?).lines().take(count) {
        let row: Value = serde_json::from_str(&line?)?;
        let field = |name: &str| row[name].as_str().unwrap_or_default();
        if row.get("task").is_none() {
            writeln!(text, "{}: {}", field("row"), field("reason"))?;
            continue;
        }
        let [task, id, reason, step, detail] = ["task", "id", "reason", "step", "detail"].map(field);
        writeln!(text, "{task} {id}: {reason} at {step}: {detail}")?;
    }
    Ok(text)
}
