//! `smoltalk world`: the pocket world on disk: documents to pretrain on, and what is held out of them.

use anyhow::{Context, Result};
use datasets::pocket::documents::{Source, document};
use datasets::pocket::{Draw, Split};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What `smoltalk world` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The folder that gets documents/
    #[arg(long)]
    out: PathBuf,
    /// Documents of all sources together
    #[arg(long, default_value_t = 300_000)]
    documents: usize,
    /// Same seed: same world
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Shares of the sources in a hundred documents.
const SHARES: [(Source, usize); 3] = [(Source::Web, 60), (Source::Code, 15), (Source::Math, 25)];

/// Writes the world; the number is the exit code.
///
/// # Errors
/// When a file cannot be written.
pub fn run(options: &Options) -> Result<u8> {
    for (source, share) in SHARES {
        let count = options.documents * share / 100;
        documents(options, source, count, Split::Train, "documents")?;
        documents(options, source, (count / 100).clamp(1, 300), Split::Test, "held-out")?;
    }
    Ok(0)
}

fn documents(options: &Options, source: Source, count: usize, split: Split, folder: &str) -> Result<()> {
    let path = options.out.join(folder).join(source.name()).join("documents.jsonl");
    let mut draw = Draw::new(options.seed, &format!("{folder}/{}", source.name()));
    lines(&path, (0..count).map(|_| json!({"text": document(source, &mut draw, split)})))
}

/// A file of rows, whole or absent.
fn lines(path: &Path, rows: impl Iterator<Item = Value>) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    datasets::write::write_jsonl::<_, datasets::Error>(path, rows.map(Ok))?;
    Ok(())
}
