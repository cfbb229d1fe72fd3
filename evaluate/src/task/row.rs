//! A row of a dataset, read by column. An error names the column and what it contains.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// A row and its location.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its values by column.
    pub columns: Map<String, Value>,
    /// The file and the line, for messages.
    pub place: String,
}

impl Row {
    /// The value of a column; `a.b` is the field `b` of the column `a`.
    pub fn value(&self, column: &str) -> Result<&Value> {
        let mut fields = column.split('.');
        let mut value = fields.next().and_then(|name| self.columns.get(name));
        for field in fields {
            value = value.and_then(|value| value.get(field));
        }
        let names = || self.columns.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        value.with_context(|| format!("the column `{column}` is missing; the row has {}", names()))
    }

    /// A column of text.
    pub fn text(&self, column: &str) -> Result<&str> {
        let value = self.value(column)?;
        value.as_str().with_context(|| format!("`{column}` is {value}; expected text"))
    }

    /// A column of several texts, at least one.
    pub fn texts(&self, column: &str) -> Result<Vec<String>> {
        let value = self.value(column)?;
        let texts =
            value.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match texts {
            Some(texts) if !texts.is_empty() => Ok(texts.into_iter().map(str::to_owned).collect()),
            _ => bail!("`{column}` is {value}; expected a list of texts"),
        }
    }

    /// A column with the index of one of `count` choices, as a number or as digits.
    pub fn index(&self, column: &str, count: usize) -> Result<usize> {
        let value = self.value(column)?;
        let index = value.as_u64().or_else(|| value.as_str()?.parse().ok()).map(|index| index as usize);
        match index {
            Some(index) if index < count => Ok(index),
            _ => bail!("`{column}` is {value}; expected the index of one of {count} choices"),
        }
    }

    /// The index of the answer's label in the column of labels.
    pub fn labeled(&self, labels: &str, answer: &str) -> Result<usize> {
        let (labels_of_row, label) = (self.texts(labels)?, self.text(answer)?.trim());
        let index = labels_of_row.iter().position(|one| one == label);
        index.with_context(|| {
            format!("`{answer}` is `{label}`, which is not in `{labels}` ({labels_of_row:?})")
        })
    }

    /// The texts of a column, of which there must be exactly this many.
    pub fn exactly(&self, column: &str, count: usize) -> Result<Vec<String>> {
        let texts = self.texts(column)?;
        ensure!(texts.len() == count, "`{column}` has {} texts; expected {count}", texts.len());
        Ok(texts)
    }
}
