//! Rows with a text and a label or a score. A row without one is counted and left out: a number that is missing is no 0.

use anyhow::{Context, Result};
use datasets::Choice;
use serde_json::{Map, Value};
use std::path::Path;

/// What texts without the label are called where there are only scores.
const REST: &str = "rest";

/// What a classifier learns.
#[derive(Debug)]
pub enum Target {
    /// Labels of a column of strings.
    Labels {
        /// Its name.
        column: String,
        /// The label that is looked for.
        label: String,
    },
    /// A label that texts have from a score on.
    Cut {
        /// The column of scores.
        column: String,
        /// The score.
        at_least: f64,
        /// What the label is called.
        label: String,
    },
    /// The scores of a column themselves.
    Scores {
        /// Its name.
        column: String,
    },
}

impl Target {
    /// The label that is looked for; `None` where scores are learned.
    pub(super) fn label(&self) -> Option<&str> {
        match self {
            Self::Labels { label, .. } | Self::Cut { label, .. } => Some(label),
            Self::Scores { .. } => None,
        }
    }

    /// The label and the number of a row.
    fn of(&self, row: &Map<String, Value>) -> Option<(String, f64)> {
        let number = |column: &String| row.get(column).and_then(Value::as_f64);
        match self {
            Self::Labels { column, label } => {
                let found = row.get(column).and_then(Value::as_str)?;
                Some((found.to_owned(), f64::from(u8::from(found == label))))
            }
            Self::Cut { column, at_least, label } => {
                let is_above = number(column)? >= *at_least;
                let name = if is_above { label.as_str() } else { REST };
                Some((name.to_owned(), f64::from(u8::from(is_above))))
            }
            Self::Scores { column } => Some((String::new(), number(column)?)),
        }
    }
}

/// A text that has what is learned.
#[derive(Debug, Clone)]
pub(super) struct Example {
    pub(super) text: String,
    /// Empty where scores are learned.
    pub(super) label: String,
    /// The score; 1 for the label and 0 for all others.
    pub(super) target: f64,
}

/// The texts of rows.
pub(super) struct Examples {
    pub(super) examples: Vec<Example>,
    /// Rows without a label or a score.
    pub(super) unlabeled: u64,
}

impl Examples {
    /// Reads a file or a folder of rows.
    ///
    /// # Errors
    /// Names the row that has no `text`.
    pub(super) fn read(data: &Path, target: &Target) -> Result<Self> {
        let (mut examples, mut unlabeled) = (Vec::new(), 0);
        for file in datasets::data_files(data, Choice::default())? {
            for row in datasets::file_objects(&file)? {
                let (number, row) = row?;
                let text = row.get("text").and_then(Value::as_str);
                let text =
                    text.with_context(|| format!("{}, row {number}: no string `text`", file.display()))?;
                match target.of(&row) {
                    Some((label, target)) => examples.push(Example { text: text.to_owned(), label, target }),
                    None => unlabeled += 1,
                }
            }
        }
        Ok(Self { examples, unlabeled })
    }
}
