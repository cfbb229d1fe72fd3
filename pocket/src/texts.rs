//! `smolpocket texts`: letters to rewrite and stories to summarize, as `smoltalk gen --source` reads them.

use crate::draw::Draw;
use crate::letters::{Letter, Style};
use crate::output::fill;
use crate::rows::write;
use crate::split::Split;
use crate::stories::Story;
use anyhow::Result;
use files::manifest;
use files::output_folder::FolderKind;
use serde_json::json;
use std::path::PathBuf;

/// The options of `smolpocket texts`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder for letters.jsonl and stories.jsonl
    #[arg(long)]
    out: PathBuf,
    /// Number of letters, and of stories
    #[arg(long, default_value_t = 100)]
    rows: usize,
    /// Random seed; the same seed writes the same texts
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The folder of the texts.
const FOLDER: FolderKind = FolderKind {
    program: "smolpocket texts",
    description: manifest::FILE_NAME,
    files: &["letters.jsonl", "stories.jsonl"],
    working: &[],
};

/// Writes the texts.
///
/// # Errors
/// When a file cannot be written, or the folder contains what this command did not write.
pub fn run(options: &Options) -> Result<()> {
    // The streams have the names of the tasks that the texts are for.
    let mut letters = Draw::new(options.seed, "smol-rewrite");
    let mut stories = Draw::new(options.seed, "smol-summarization");
    let letter =
        |_| Ok(json!({"text": Letter::new(&mut letters, Split::Train).write(Style::Long, &mut letters)}));
    let story = |_| Ok(json!({"text": Story::new(&mut stories, Split::Train).text}));
    fill(&options.out, &FOLDER, |out| {
        write(&out.join(FOLDER.files[0]), options.rows, (0..options.rows).map(letter))?;
        write(&out.join(FOLDER.files[1]), options.rows, (0..options.rows).map(story))
    })
}
