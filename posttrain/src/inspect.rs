//! `posttrain inspect`: rows as the model sees them, with the trained tokens marked, and the counts of all rows. It
//! tokenizes with the code that training uses, so what it shows is what is trained.

use crate::data::{DataFlags, DataSettings, located};
use crate::examples::{Dropped, Example, Kind, Rules, TooLong, TrainOn, example};
use crate::recipe;
use crate::tokens::Counts;
use crate::vocabulary::{StartingPoint, row_kinds};
use anyhow::{Result, ensure};
use checkpoint::{Checkpoint, Tokenizer};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use terminal::printable;
use training::Sequence;

/// The command line of `posttrain inspect`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Rows: files or folders
    #[arg(required = true)]
    data: Vec<PathBuf>,
    /// Checkpoint whose tokenizer and template are used: a folder or a Hugging Face id
    #[arg(long)]
    model: String,
    /// Number of rows to print; all are counted
    #[arg(long, default_value_t = 3)]
    n: usize,
    /// Print a line for each token, with its id
    #[arg(long)]
    ids: bool,
    /// Print only the counts
    #[arg(long)]
    counts: bool,
    /// Which tokens add to the loss
    #[arg(long, alias = "loss-on", default_value = "assistant")]
    train_on: TrainOn,
    /// Maximum tokens of a row; by default the model's positions
    #[arg(long)]
    max_length: Option<usize>,
    /// What to do with longer rows
    #[arg(long, default_value = "cut")]
    too_long: TooLong,
    /// Jinja chat template, instead of the checkpoint's own
    #[arg(long)]
    chat_template: Option<PathBuf>,
    /// Special tokens to add to the tokenizer, comma-separated, as in training
    #[arg(long, value_delimiter = ',')]
    special_tokens: Vec<String>,
    #[command(flatten)]
    rows: DataFlags,
    /// Print trained tokens in green; without color they are between ⟦ and ⟧
    #[arg(long, default_value = "auto")]
    color: Color,
}

/// When to use color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Prints rows and counts. Returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let checkpoint = Checkpoint::open(&options.model, options.chat_template.as_deref())?;
    let settings: DataSettings = recipe::resolve(None, &[recipe::table_of(&options.rows)?])?;
    let (reading, template_args) = (settings.options(), settings.template_args()?);
    let data = located(&options.data, &reading)?;
    let start = StartingPoint::new(checkpoint, row_kinds(&data, &reading)?, &options.special_tokens)?;
    let max_length = options.max_length.unwrap_or(start.config.max_positions);
    let rules = Rules {
        document_end: start.document_end,
        too_long: options.too_long,
        train_on: options.train_on,
        ..Rules::new(&start.template, &start.tokenizer, max_length)
    };
    let rules = settings.rules(rules, &template_args);
    ensure!(rules.max_length >= 2, "`--max-length {}` is too small; give at least 2", rules.max_length);
    start.notes.iter().for_each(|note| terminal::message!("note: {note}"));
    let terminal = std::io::stdout().is_terminal();
    let color = options.color == Color::Always || (options.color == Color::Auto && terminal);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut counts, mut longest, mut shown) = (Counts::default(), 0, 0);
    for path in &data {
        let mut rows = datasets::read_with(path, &reading)?;
        while let Some(located) = rows.next() {
            let located = located?;
            report_invalid(&mut counts, &mut rows);
            counts.rows += 1;
            let kind = match located.row {
                datasets::Row::Preference(_) => Kind::Preference,
                _ => Kind::Sft,
            };
            let example = example(&located.row, kind, &rules);
            count(&mut counts, &mut longest, &example);
            if shown < options.n && !options.counts {
                shown += 1;
                let location = format!("{}, row at {}", located.file.display(), located.number);
                let text = example_text(&example, &start.tokenizer, options.ids, color);
                if writeln!(out, "{}\n{text}", heading(&printable(&location), color)).is_err() {
                    // The reader has closed the pipe (`| head`).
                    return Ok(0);
                }
            }
        }
        report_invalid(&mut counts, &mut rows);
        counts.surrogates += rows.surrogates();
        for (file, reason) in rows.skipped() {
            terminal::message!("warning: {} is skipped: {reason}", file.display());
        }
    }
    let share = 100.0 * counts.trained_tokens as f64 / counts.tokens.max(1) as f64;
    // As above.
    let _ = writeln!(
        out,
        "{}\n{share:.1}% of the tokens are trained; the longest sequence has {longest}",
        counts.line()
    );
    Ok(0)
}

/// Counts the rows that were left out, and prints where they are and why.
fn report_invalid(counts: &mut Counts, rows: &mut datasets::Rows) {
    for invalid in rows.take_invalid() {
        counts.rows += 1;
        *counts.dropped.entry("invalid".to_owned()).or_default() += 1;
        terminal::message!("warning: left out: {}", invalid.reason);
    }
}

fn count(counts: &mut Counts, longest: &mut usize, example: &Result<Example, Dropped>) {
    match example {
        Ok(example) => {
            counts.cut += example.cut;
            counts.lost += example.lost;
            example.notes.iter().for_each(|note| counts.note(note));
            for sequence in &example.sequences {
                counts.sequences += 1;
                counts.tokens += sequence.ids.len();
                counts.trained_tokens += sequence.trained_tokens();
                *longest = (*longest).max(sequence.ids.len());
            }
        }
        Err(dropped) => *counts.dropped.entry(dropped.reason.to_owned()).or_default() += 1,
    }
}

fn heading(location: &str, color: bool) -> String {
    if color { format!("\x1b[1m── {location}\x1b[0m") } else { format!("-- {location}") }
}

fn example_text(example: &Result<Example, Dropped>, tokenizer: &Tokenizer, ids: bool, color: bool) -> String {
    match example {
        Err(Dropped { reason, detail }) => format!("dropped: {reason} ({})\n", printable(detail)),
        Ok(example) => {
            let is_pair = example.sequences.len() == 2;
            let names = if is_pair { ["chosen:\n", "rejected:\n"] } else { ["", ""] };
            let texts = example.sequences.iter().zip(names).map(|(sequence, name)| {
                let tokens = match ids {
                    true => token_lines(sequence, tokenizer),
                    false => marked_text(sequence, tokenizer, color),
                };
                format!("{name}{tokens}")
            });
            texts.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Returns a sequence as text, with runs of trained tokens marked; special tokens as they are spelled.
fn marked_text(sequence: &Sequence<'_>, tokenizer: &Tokenizer, color: bool) -> String {
    let (open, close) = if color { ("\x1b[32m", "\x1b[0m") } else { ("⟦", "⟧") };
    let mut text = String::new();
    let tokens: Vec<(u32, bool)> = sequence.ids.iter().copied().zip(is_trained(sequence)).collect();
    for run in tokens.chunk_by(|one, next| one.1 == next.1) {
        let bytes: Vec<u8> = run.iter().flat_map(|(id, _)| bytes_of(tokenizer, *id)).copied().collect();
        // A row may spell what a terminal obeys.
        let words = printable(&String::from_utf8_lossy(&bytes));
        if run[0].1 {
            text.extend([open, &words, close]);
        } else {
            text.push_str(&words);
        }
    }
    text.push('\n');
    text
}

/// Returns a line for each token: its index, its id, whether it is trained, its text.
fn token_lines(sequence: &Sequence<'_>, tokenizer: &Tokenizer) -> String {
    let tokens = sequence.ids.iter().zip(is_trained(sequence)).enumerate();
    let line = |(index, (id, trained)): (usize, (&u32, bool))| {
        let text = String::from_utf8_lossy(bytes_of(tokenizer, *id)).into_owned();
        format!("{index:6} {id:6} {} {text:?}\n", if trained { "trained" } else { "   -   " })
    };
    tokens.map(line).collect()
}

/// Returns whether each token is trained. The first one never is: no token comes before it.
fn is_trained(sequence: &Sequence<'_>) -> impl Iterator<Item = bool> {
    sequence.trained.iter().enumerate().map(|(index, trained)| *trained && index > 0)
}

fn bytes_of(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    tokenizer.token_bytes().get(id as usize).map_or(&[], Vec::as_slice)
}
