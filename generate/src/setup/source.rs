//! The source texts of `--source`: checked once before the first call, then read again row by row.

use crate::task::{SourceTexts, Task};
use anyhow::{Result, bail};
use datasets::ReadOptions;
use files::hash::sha256;
use std::collections::BTreeSet;
use std::path::Path;

/// Reads the whole source and returns its hash; `None` if no task takes a source or none is given.
///
/// # Errors
/// When a row cannot be read, so that a broken line 17 costs nothing; when a source is needed or not used.
pub(super) fn check(
    path: Option<&Path>,
    reading: &ReadOptions,
    rows: usize,
    tasks: &[&'static Task],
) -> Result<Option<String>> {
    let Some(taker) = tasks.iter().find(|task| task.source != SourceTexts::None) else {
        if let (Some(path), Some(task)) = (path, tasks.first()) {
            bail!("task `{}` takes no source texts; remove `--source {}`", task.name, path.display());
        }
        return Ok(None);
    };
    let Some(path) = path else {
        if taker.source != SourceTexts::Texts {
            return Ok(None);
        }
        bail!(
            "task `{}` needs source texts; give `--source PATH`, or generate `magpie-ultra` or `smol-constraint`",
            taker.name
        );
    };
    let (hash, count) = read_all(path, reading, taker)?;
    if count < rows {
        terminal::message!("warning: `--rows {rows}` is more than the {count} texts of the source");
    }
    Ok(Some(hash))
}

/// The hash of all texts and their number.
fn read_all(path: &Path, reading: &ReadOptions, task: &Task) -> Result<(String, usize)> {
    let (mut hash, mut count, mut unfit, mut without_text) = (String::new(), 0, 0, 0);
    let mut rows = datasets::read_with(path, reading)?;
    for located in rows.by_ref() {
        let located = located?;
        match (located.row.unfit(), task.source_text(&located.row)) {
            (Some(_), _) => unfit += 1,
            (None, Some(text)) => {
                hash = sha256(format!("{hash}{text}"));
                count += 1;
            }
            (None, None) => without_text += 1,
        }
    }
    for invalid in rows.take_invalid() {
        terminal::message!("warning: left out: {}", invalid.reason);
    }
    for (rows, what) in [(unfit, "a reply labeled as bad, or media"), (without_text, "no text for this task")]
    {
        if rows > 0 {
            terminal::message!("note: {rows} rows of the source have {what} and are left out");
        }
    }
    for (file, reason) in rows.skipped() {
        terminal::message!("warning: {} is skipped: {reason}", file.display());
    }
    if count == 0 {
        bail!("`--source {}` contains no text for task `{}`", path.display(), task.name);
    }
    let layouts: BTreeSet<String> = rows.layouts().iter().map(|(_, layout)| format!("{layout:?}")).collect();
    let layouts = layouts.into_iter().collect::<Vec<_>>().join(", ");
    terminal::message!("source: {count} texts from {} (layout: {layouts})", path.display());
    Ok((hash, count))
}

/// Iterates over the texts that a task takes from a source.
pub(super) fn texts(
    path: &Path,
    reading: &ReadOptions,
    task: &'static Task,
) -> Result<impl Iterator<Item = Result<String>> + use<>> {
    let rows = datasets::read_with(path, reading)?;
    Ok(rows.filter_map(move |located| match located {
        Ok(located) if located.row.unfit().is_some() => None,
        Ok(located) => task.source_text(&located.row).map(|text| Ok(text.to_owned())),
        Err(error) => Some(Err(error.into())),
    }))
}
