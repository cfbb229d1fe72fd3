//! The values of a column, counted as long as the column looks like a category.

use serde_json::Value;
use std::collections::BTreeMap;

/// Distinct values above which a column is no category.
const MAX_DISTINCT: usize = 500;
/// Characters of a value above which its column is free text.
const MAX_TEXT: usize = 40;
/// Characters of a number above which its column is a measurement.
const MAX_NUMBER: usize = 5;

/// The values of a column.
#[derive(Default)]
pub(super) struct ColumnCounts {
    pub(super) name: String,
    pub(super) values: BTreeMap<String, u64>,
    /// Rows that have the column.
    pub(super) rows: u64,
    /// Whether a row can have several values.
    pub(super) is_list: bool,
    /// Whether it is free text, a measurement or an identifier, of which no values are kept.
    is_left_out: bool,
}

impl ColumnCounts {
    /// An empty column.
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Counts the value of a row.
    pub(super) fn add(&mut self, value: &Value) {
        if self.is_left_out {
            return;
        }
        self.rows += 1;
        let fits = match value {
            Value::Array(values) => {
                self.is_list = true;
                values.iter().all(|value| self.add_one(value))
            }
            value => self.add_one(value),
        };
        if !fits || self.values.len() > MAX_DISTINCT {
            self.is_left_out = true;
            self.values = BTreeMap::new();
        }
    }

    /// Counts one value; returns whether it can be that of a category.
    fn add_one(&mut self, value: &Value) -> bool {
        let text = match value {
            Value::String(text) if text.chars().nth(MAX_TEXT).is_none() && !text.contains('\n') => {
                text.clone()
            }
            Value::Number(number) if number.to_string().len() <= MAX_NUMBER => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::Null => "none".to_owned(),
            _ => return false,
        };
        *self.values.entry(text).or_default() += 1;
        true
    }

    /// Whether the shares of its values are informative: values that hardly repeat are no category.
    pub(super) fn is_category(&self) -> bool {
        let distinct = self.values.len() as u64;
        !self.is_left_out && distinct > 0 && (distinct <= 5 || distinct * 2 <= self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::counts::TaskCounts;
    use serde_json::json;

    #[test]
    fn only_categories_are_counted() {
        let mut counts = TaskCounts::default();
        for number in 0..2000_u64 {
            let category = ["math", "coding"][number as usize % 2];
            let intent = if number == 1999 { "long ".repeat(9) } else { "short".to_owned() };
            let row = json!({
                "id": "row", "nearest_id": "a", "category": category, "score": number % 5, "tags": ["a", category],
                "guard": null, "serial": number.to_string(), "similarity": number as f64 / 7777.0, "intent": intent
            });
            counts.add_kept(row.as_object().expect("an object"));
        }
        let categories: Vec<_> = counts.columns.iter().filter(|column| column.is_category()).collect();
        let names: Vec<_> = categories.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["category", "score", "tags", "guard"]);
        assert_eq!(
            categories[2].values,
            BTreeMap::from([("a".into(), 2000), ("coding".into(), 1000), ("math".into(), 1000)])
        );
        assert!(counts.columns.iter().all(|column| column.values.len() <= MAX_DISTINCT));
    }
}
