//! The source texts of `--source`: checked once before the first call, then read again row by row.

use crate::location::located;
use crate::task::{SourceTexts, Task};
use anyhow::{Result, bail};
use datasets::ReadOptions;
use files::hash::sha256;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What was found in `--source`.
pub(super) struct Source {
    /// Where it is on this machine.
    pub(super) path: PathBuf,
    /// Of all its texts.
    pub(super) hash: String,
    /// Rows that cannot be used and were left out, with file, line and reason.
    pub(super) left_out: Vec<String>,
}

/// Reads the whole source; `None` if no task takes a source or none is given.
///
/// # Errors
/// When a row cannot be read, so that a broken line 17 costs nothing; when a source is needed or not used.
pub(super) fn check(
    path: Option<&Path>,
    reading: &ReadOptions,
    rows: usize,
    tasks: &[&'static Task],
) -> Result<Option<Source>> {
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
    let (source, count) = read_all(path, reading, taker)?;
    if count < rows {
        terminal::message!("warning: `--rows {rows}` is more than the {count} texts of the source");
    }
    Ok(Some(source))
}

/// The source and the number of its texts.
fn read_all(given: &Path, reading: &ReadOptions, task: &Task) -> Result<(Source, usize)> {
    let path = located(given, reading)?;
    if let SourceTexts::Columns(columns) = task.source {
        return read_columns(path, reading, columns);
    }
    let (mut hash, mut count, mut unfit, mut without_text) = (String::new(), 0, 0, 0);
    let mut rows = datasets::read_with(&path, reading)?;
    for row in rows.by_ref() {
        let row = row?.row;
        match (row.unfit(), task.source_text(&row)) {
            (Some(_), _) => unfit += 1,
            (None, Some(text)) => {
                hash = sha256(format!("{hash}{text}"));
                count += 1;
            }
            (None, None) => without_text += 1,
        }
    }
    // Where a downloaded source is on this machine is nobody else's business.
    let place = path.display().to_string();
    let reason = |reason: String| reason.replace(&place, &given.display().to_string());
    let left_out: Vec<String> = rows.take_invalid().into_iter().map(|row| reason(row.reason)).collect();
    for row in &left_out {
        terminal::message!("warning: left out: {row}");
    }
    if rows.surrogates() > 0 {
        terminal::message!("note: {} halves of characters in the source became U+FFFD", rows.surrogates());
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
        bail!("`--source {}` contains no text for task `{}`", given.display(), task.name);
    }
    let layouts: BTreeSet<String> = rows.layouts().iter().map(|(_, layout)| format!("{layout:?}")).collect();
    let layouts = layouts.into_iter().collect::<Vec<_>>().join(", ");
    terminal::message!("source: {count} texts from {} (layout: {layouts})", given.display());
    Ok((Source { path, hash, left_out }, count))
}

/// The source of which columns are taken, and the number of its rows.
fn read_columns(
    path: PathBuf,
    reading: &ReadOptions,
    columns: &'static [&'static str],
) -> Result<(Source, usize)> {
    let (mut hash, mut count, mut left_out) = (String::new(), 0, Vec::new());
    for row in rows_of_columns(&path, reading, columns)? {
        match row {
            Ok(row) => {
                hash = sha256(format!("{hash}{row}"));
                count += 1;
            }
            Err(error) if reading.skip_invalid && error.is_of_one_row() => {
                terminal::message!("warning: left out: {error}");
                left_out.push(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    if count == 0 {
        bail!("`--source {}` contains no row with {}", path.display(), columns.join(", "));
    }
    terminal::message!("source: {count} rows from {} ({})", path.display(), columns.join(", "));
    Ok((Source { path, hash, left_out }, count))
}

/// Some columns of rows of any layout, each row as a JSON object. A file is opened when those before it were read.
fn rows_of_columns(
    path: &Path,
    reading: &ReadOptions,
    columns: &'static [&'static str],
) -> Result<impl Iterator<Item = Result<String, datasets::Error>> + use<>> {
    let files = datasets::data_files(path, reading.choice())?;
    Ok(files.into_iter().flat_map(move |file| -> Box<dyn Iterator<Item = Result<String, datasets::Error>>> {
        match datasets::file_objects(&file) {
            Err(error) => Box::new(std::iter::once(Err(error))),
            Ok(objects) => Box::new(objects.map(move |object| {
                let (number, object) = object?;
                taken(object, columns).map_err(|reason| datasets::row_error(&file, number, reason))
            })),
        }
    }))
}

/// The columns of a row as a JSON object; the error says which one it lacks.
fn taken(mut object: Map<String, Value>, columns: &[&str]) -> Result<String, String> {
    let mut taken = Map::new();
    for column in columns {
        let value = object.remove(*column).filter(|value| !value.is_null() && value != "");
        let value = value.ok_or_else(|| {
            let names = object.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("has no `{column}`, which the recipe's `source_columns` names; it has {names}")
        })?;
        taken.insert((*column).to_owned(), value);
    }
    Ok(Value::Object(taken).to_string())
}

/// Iterates over the texts that a task takes from a source.
pub(super) fn texts(
    path: &Path,
    reading: &ReadOptions,
    task: &'static Task,
) -> Result<Box<dyn Iterator<Item = Result<String>>>> {
    if let SourceTexts::Columns(columns) = task.source {
        let is_left_out = reading.skip_invalid;
        let rows = rows_of_columns(path, reading, columns)?;
        return Ok(Box::new(rows.filter_map(move |row| match row {
            Err(error) if is_left_out && error.is_of_one_row() => None,
            row => Some(row.map_err(Into::into)),
        })));
    }
    let rows = datasets::read_with(path, reading)?;
    Ok(Box::new(rows.filter_map(move |located| match located {
        Ok(located) if located.row.unfit().is_some() => None,
        Ok(located) => task.source_text(&located.row).map(|text| Ok(text.to_owned())),
        Err(error) => Some(Err(error.into())),
    })))
}
