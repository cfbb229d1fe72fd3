//! Data files -> a store of tokenized sequences: in parallel, once for the same content and rules.

use crate::examples::{Dropped, Example, Kind, Rules, example};
use crate::tokens::{Counts, Store, Writer, remove_abandoned};
use anyhow::{Context, Result, bail};
use datasets::batch::batch;
use datasets::{InvalidRow, LocatedRow, ReadOptions, Rows};
use files::hash::Hasher;
use rayon::prelude::*;
use serde_json::json;
use std::path::{Path, PathBuf};
use terminal::Progress;

/// Raised whenever the same rows and rules would give other tokens.
const VERSION: u32 = 3;
/// Rows that are tokenized together.
const CHUNK: usize = 512;

/// Returns the sequences of data files, from the cache where the same content was tokenized before. What is damaged there
/// is reported, removed, and made again.
///
/// # Errors
/// Names the file and line of a row that cannot be read.
pub(crate) fn tokenized(
    paths: &[PathBuf],
    options: &ReadOptions,
    kind: Kind,
    rules: &Rules<'_>,
    cache: &Path,
) -> Result<Store> {
    warn(paths, options)?;
    let folder = cache.join(key(paths, options, kind, rules)?);
    let vocabulary = rules.tokenizer.vocab_size();
    match Store::open(&folder, vocabulary) {
        Ok(Some(store)) => return Ok(store),
        Ok(None) => remove(&folder)?,
        Err(error) => {
            terminal::message!("note: {error:#}; tokenizing again");
            remove(&folder)?;
        }
    }
    remove_abandoned(cache);
    if let Some(reason) = rules.tokenizer.slow_because() {
        terminal::message!(
            "note: texts are encoded by the tokenizers crate, which takes several times as long: {reason}"
        );
    }
    let mut writer = Writer::create(&folder)
        .context("tokenized data cannot be kept; give a folder for it with `--cache`")?;
    let progress = Progress::new("tokenizing", "rows", None);
    for path in paths {
        let mut rows = datasets::read_with(path, options)?;
        let mut next = read_chunk(&mut rows);
        loop {
            let Chunk { rows: chunk, invalid } = next?;
            for row in invalid {
                writer.counts.rows += 1;
                writer.drop_row(&row.file, row.number, "invalid", &row.reason)?;
            }
            if chunk.is_empty() {
                break;
            }
            // The next rows are read while these are encoded.
            let encode = |located: &LocatedRow| example(&located.row, kind, rules);
            let mut examples = Vec::new();
            next = rayon::in_place_scope(|scope| {
                scope.spawn(|_| examples = chunk.par_iter().map(encode).collect());
                read_chunk(&mut rows)
            });
            write_chunk(&mut writer, &chunk, examples)?;
            progress.set_with(writer.counts.rows as u64, || format!("{} tokens", writer.counts.tokens));
        }
        writer.counts.surrogates += rows.surrogates();
    }
    progress.finish();
    writer.finish()?;
    Store::open(&folder, vocabulary)?.context("the tokens were just written")
}

/// Prints which files are left out, also where the tokens of the others are known already.
fn warn(paths: &[PathBuf], options: &ReadOptions) -> Result<()> {
    for path in paths {
        for (file, reason) in datasets::left_out(path, options.choice())? {
            terminal::message!("warning: {} is skipped: {reason}", file.display());
        }
    }
    Ok(())
}

/// Removes a store that is damaged or has no list, if there is anything.
fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}; give another `--cache`", folder.display()))
        }
        _ => Ok(()),
    }
}

/// As `tokenized`, and reports how many rows were cut and dropped.
///
/// # Errors
/// As `tokenized`, and when there is nothing to train on.
pub(crate) fn trainable(
    paths: &[PathBuf],
    options: &ReadOptions,
    kind: Kind,
    rules: &Rules<'_>,
    cache: &Path,
) -> Result<Store> {
    let store = tokenized(paths, options, kind, rules, cache)?;
    let names = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    if store.is_empty() {
        let first = store.first_dropped().map_or_else(String::new, |row| format!("; the first: {row}"));
        bail!("{names}: nothing to train on ({}{first})", store.counts.line());
    }
    report_counts(&names, &[&store]);
    Ok(store)
}

/// Prints the counts of some data's rows, and where the dropped ones are listed.
pub(crate) fn report_counts(name: &str, stores: &[&Store]) {
    let mut counts = Counts::default();
    stores.iter().for_each(|store| counts.add(&store.counts));
    terminal::message!("{name}: {}", counts.line());
    for store in stores.iter().filter(|store| !store.counts.dropped.is_empty()) {
        terminal::message!(
            "  dropped rows and their reasons: {}",
            store.folder.join("dropped.jsonl").display()
        );
    }
}

/// Rows that are encoded together, and those that were left out on the way to them.
struct Chunk {
    rows: Vec<LocatedRow>,
    invalid: Vec<InvalidRow>,
}

fn read_chunk(rows: &mut Rows) -> Result<Chunk> {
    let read = batch(rows, CHUNK).into_iter().collect::<Result<_, _>>()?;
    Ok(Chunk { rows: read, invalid: rows.take_invalid() })
}

fn write_chunk(
    writer: &mut Writer,
    chunk: &[LocatedRow],
    examples: Vec<Result<Example, Dropped>>,
) -> Result<()> {
    for (located, example) in chunk.iter().zip(examples) {
        writer.counts.rows += 1;
        match example {
            Ok(example) => {
                for of_tokens in &example.distributions {
                    writer.push_distributions(of_tokens)?;
                }
                for (index, sequence) in example.sequences.iter().enumerate() {
                    writer
                        .push(sequence, example.weights.as_ref().map(|weights| weights[index].as_slice()))?;
                }
                writer.counts.cut += example.cut;
                writer.counts.lost += example.lost;
                example.notes.iter().for_each(|note| writer.counts.note(note));
            }
            Err(dropped) => {
                writer.drop_row(&located.file, located.number, dropped.reason, &dropped.detail)?;
            }
        }
    }
    Ok(())
}

/// Returns the default folder of tokenized data: `smoltalk/tokens` in the user's cache folder; for a user without a home a
/// folder of the run, never one that others can write to.
pub(crate) fn default_cache(out: &Path) -> PathBuf {
    cache_below(files::folders::cache(), out)
}

fn cache_below(user: Option<PathBuf>, out: &Path) -> PathBuf {
    user.unwrap_or_else(|| out.join("cache")).join("tokens")
}

/// Returns the hash of everything that decides the tokens.
fn key(paths: &[PathBuf], options: &ReadOptions, kind: Kind, rules: &Rules<'_>) -> Result<String> {
    let mut hasher = Hasher::default();
    let one_message = json!([{"role": "user", "content": "Hi"}]);
    let mut rules_text = json!({
        "version": VERSION,
        "program": env!("CARGO_PKG_VERSION"),
        "named_tokens": rules.template.named_tokens(),
        // A template that prints the date is another one on another day.
        "day": rules.template.prints_time().then(|| rules.template.render(&one_message, None, false).ok()),
        "reading": options,
        "tools": rules.tools,
        "template_args": rules.template_args,
        "split_special_tokens": rules.split_special_tokens,
        "drop_ties": rules.drop_ties,
        "fractions": rules.fractions,
        "kind": kind,
        "template": rules.template.source(),
        "document_end": rules.document_end,
        "max_length": rules.max_length,
        "too_long": rules.too_long,
        "train_on": rules.train_on,
    });
    if rules.stored_logprobs.is_some() {
        rules_text["stored_logprobs"] = true.into();
    }
    hasher.update(rules_text.to_string());
    hasher.update(rules.tokenizer.to_json()?);
    for path in paths {
        hash_data(&mut hasher, path, options)?;
    }
    Ok(hasher.finish())
}

fn hash_data(hasher: &mut Hasher, path: &Path, options: &ReadOptions) -> Result<()> {
    for file in datasets::data_files(path, options.choice())? {
        let cannot = || format!("cannot read {}", file.display());
        let mut opened = std::fs::File::open(&file).with_context(cannot)?;
        // The same bytes are other rows in another format.
        hasher.update(datasets::format_name(&file));
        hasher.update(opened.metadata().with_context(cannot)?.len().to_le_bytes());
        std::io::copy(&mut opened, hasher).with_context(cannot)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_home_the_cache_is_in_the_runs_folder() {
        let out = Path::new("runs/a");
        assert_eq!(cache_below(Some("home/smoltalk".into()), out), Path::new("home/smoltalk/tokens"));
        assert_eq!(cache_below(None, out), Path::new("runs/a/cache/tokens"));
    }
}
