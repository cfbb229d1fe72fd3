//! `posttrain inspect`: rows as the model will see them, the trained tokens marked, and what became of all rows.
//! It tokenizes with the code that training uses, so what it shows is what is trained.

use crate::examples::{Dropped, Kind, LossOn, Rules, TooLong, example};
use crate::model::Sequence;
use crate::tokens::Counts;
use crate::vocabulary::{Start, holds};
use anyhow::Result;
use smollm::{Checkpoint, Tokenizer};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// What `posttrain inspect` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Rows: files or folders
    #[arg(required = true)]
    data: Vec<PathBuf>,
    /// The checkpoint whose tokenizer and template are used: a folder or a hub id
    #[arg(long)]
    model: String,
    /// Rows to print; all are counted
    #[arg(long, default_value_t = 3)]
    n: usize,
    /// Print every token's id, a token a line
    #[arg(long)]
    ids: bool,
    /// Only count
    #[arg(long)]
    counts: bool,
    /// Which tokens add to the loss
    #[arg(long, default_value = "assistant")]
    loss_on: LossOn,
    /// Most tokens of a row; by default the model's positions
    #[arg(long)]
    max_length: Option<usize>,
    /// What happens to longer rows
    #[arg(long, default_value = "cut")]
    too_long: TooLong,
    /// A Jinja chat template instead of the checkpoint's own
    #[arg(long)]
    chat_template: Option<PathBuf>,
    /// Special tokens to add to the tokenizer, comma-separated, as in training
    #[arg(long, value_delimiter = ',')]
    special_tokens: Vec<String>,
    /// Colour trained tokens green: on a terminal by itself; otherwise they stand between ⟦ and ⟧
    #[arg(long, default_value = "auto")]
    color: Color,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Prints to the end; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let checkpoint = Checkpoint::open(&options.model, options.chat_template.as_deref())?;
    let start = Start::new(checkpoint, holds(&options.data)?, &options.special_tokens)?;
    let rules = Rules {
        template: &start.template,
        tokenizer: &start.tokenizer,
        document_end: start.document_end,
        max_length: options.max_length.unwrap_or(start.config.max_positions),
        too_long: options.too_long,
        loss_on: options.loss_on,
    };
    anyhow::ensure!(rules.max_length >= 2, "--max-length is {}; expected at least 2", rules.max_length);
    start.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let terminal = std::io::stdout().is_terminal();
    let colour = options.color == Color::Always || (options.color == Color::Auto && terminal);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut counts, mut longest) = (Counts::default(), 0);
    for path in &options.data {
        for located in datasets::read(path)? {
            let located = located?;
            counts.rows += 1;
            let kind = match located.row {
                datasets::Row::Preference(_) => Kind::Preference,
                _ => Kind::Sft,
            };
            let made = example(&located.row, kind, &rules);
            count(&mut counts, &mut longest, &made);
            if counts.rows <= options.n && !options.counts {
                let place = format!("{}, row at {}", located.file.display(), located.number);
                let shown = show(&made, &start.tokenizer, options.ids, colour);
                if writeln!(out, "{}\n{shown}", heading(&place, colour)).is_err() {
                    // The reader has gone (`| head`): nobody is left to print to.
                    return Ok(0);
                }
            }
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

fn count(counts: &mut Counts, longest: &mut usize, made: &Result<crate::examples::Example, Dropped>) {
    match made {
        Ok(example) => {
            counts.cut += example.cut;
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

fn heading(place: &str, colour: bool) -> String {
    if colour { format!("\x1b[1m── {place}\x1b[0m") } else { format!("-- {place}") }
}

fn show(
    made: &Result<crate::examples::Example, Dropped>,
    tokenizer: &Tokenizer,
    ids: bool,
    colour: bool,
) -> String {
    match made {
        Err(Dropped { reason, detail }) => format!("dropped: {reason} ({detail})\n"),
        Ok(example) => {
            let pair = example.sequences.len() == 2;
            let names = if pair { ["chosen:\n", "rejected:\n"] } else { ["", ""] };
            let shown = example.sequences.iter().zip(names).map(|(sequence, name)| {
                let tokens =
                    if ids { listed(sequence, tokenizer) } else { text(sequence, tokenizer, colour) };
                format!("{name}{tokens}")
            });
            shown.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Runs of trained and untrained tokens as text; special tokens as they are spelled.
fn text(sequence: &Sequence<'_>, tokenizer: &Tokenizer, colour: bool) -> String {
    let (begin, end) = if colour { ("\x1b[32m", "\x1b[0m") } else { ("⟦", "⟧") };
    let mut shown = String::new();
    let marked: Vec<(u32, bool)> = sequence.ids.iter().copied().zip(is_trained(sequence)).collect();
    for run in marked.chunk_by(|one, next| one.1 == next.1) {
        let bytes: Vec<u8> = run.iter().flat_map(|(id, _)| bytes_of(tokenizer, *id)).copied().collect();
        let words = String::from_utf8_lossy(&bytes);
        if run[0].1 {
            shown.extend([begin, &words, end]);
        } else {
            shown.push_str(&words);
        }
    }
    shown.push('\n');
    shown
}

/// A token a line: place, id, whether it is trained, its text.
fn listed(sequence: &Sequence<'_>, tokenizer: &Tokenizer) -> String {
    let tokens = sequence.ids.iter().zip(is_trained(sequence)).enumerate();
    let line = |(place, (id, trained)): (usize, (&u32, bool))| {
        let text = String::from_utf8_lossy(bytes_of(tokenizer, *id)).into_owned();
        format!("{place:6} {id:6} {} {text:?}\n", if trained { "trained" } else { "   -   " })
    };
    tokens.map(line).collect()
}

/// The first token is never trained: nothing comes before it.
fn is_trained(sequence: &Sequence<'_>) -> impl Iterator<Item = bool> {
    sequence.trained.iter().enumerate().map(|(place, trained)| *trained && place > 0)
}

fn bytes_of(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    tokenizer.token_bytes().get(id as usize).map_or(&[], Vec::as_slice)
}
