//! The reader of held-out rows: JSON Lines of a type, read as all datasets are.

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// Reads the rows of a file, each with the number of its line, from 1. Blank lines are skipped.
///
/// # Errors
/// Names the file and the line; for a missing file, `hint` says what to do.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, hint: &str) -> Result<Vec<(usize, T)>> {
    read_with(path, hint, (usize::MAX, false), |row, number| Ok((number, row)))
}

/// As [`read`], the first `limit` rows, each checked; rows that cannot be used are left out and printed, if `skip_invalid`.
///
/// # Errors
/// As [`read`], and with the error of `check`.
pub(crate) fn read_with<T: DeserializeOwned, Checked>(
    path: &Path,
    hint: &str,
    (limit, skip_invalid): (usize, bool),
    check: impl Fn(T, usize) -> Result<Checked>,
) -> Result<Vec<Checked>> {
    ensure!(path.exists(), "{} does not exist; {hint}", path.display());
    let mut rows = Vec::new();
    for object in datasets::file_objects(path)? {
        if rows.len() == limit {
            break;
        }
        let row = match object {
            Ok((number, columns)) => serde_json::from_value(Value::Object(columns))
                .map_err(anyhow::Error::from)
                .and_then(|row| check(row, number))
                .with_context(|| format!("{}, line {number}", path.display())),
            Err(error) if !error.is_of_one_row() => return Err(error.into()),
            Err(error) => Err(error.into()),
        };
        match row {
            Ok(row) => rows.push(row),
            Err(error) if skip_invalid => terminal::message!("warning: left out: {error:#}"),
            Err(error) => bail!(error),
        }
    }
    Ok(rows)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn rows_that_cannot_be_used_are_left_out_if_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(
            &path,
            "\n[\"a\"]\n{\"text\": \"b\"}\n{\"text\": 3}\n{\"text\": \"\"}\n{\"text\": \"c\"}\n",
        )
        .unwrap();
        #[derive(serde::Deserialize)]
        struct Row {
            text: String,
        }
        let check = |row: Row, number: usize| {
            ensure!(!row.text.is_empty(), "is empty");
            Ok((number, row.text))
        };
        let kept = read_with(&path, "", (9, true), check).unwrap();
        assert_eq!(kept, [(3, "b".to_owned()), (6, "c".to_owned())]);
        let error = read_with(&path, "", (9, false), check).unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
        let missing = read::<Row>(&folder.path().join("none.jsonl"), "make it").err().unwrap();
        assert!(missing.to_string().contains("make it"));
    }
}
