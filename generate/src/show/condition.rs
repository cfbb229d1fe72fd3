//! Conditions on the columns of a row, and orders by a column.

use datasets::RawRow;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::str::FromStr;

/// A condition on a column: COLUMN=VALUE and the like.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    column: String,
    comparison: Comparison,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
}

/// Longer signs come first.
const SIGNS: [(&str, Comparison); 7] = [
    ("!=", Comparison::Unequal),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("~", Comparison::Contains),
];

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found =
            SIGNS.iter().filter_map(|(sign, comparison)| text.find(sign).map(|at| (at, *sign, *comparison)));
        let (at, sign, comparison) = found
            .min_by_key(|(at, sign, _)| (*at, usize::MAX - sign.len()))
            .filter(|(at, ..)| *at > 0)
            .ok_or_else(|| {
                format!("`{text}` is no condition; give COLUMN=VALUE, with one of = != < <= > >= ~")
            })?;
        let value = text[at + sign.len()..].trim().to_owned();
        Ok(Self { column: text[..at].trim().to_owned(), comparison, value })
    }
}

impl Condition {
    /// Whether a row meets it; a row without the column only meets `!=`.
    pub(super) fn holds(&self, object: &Map<String, Value>) -> bool {
        let found = object.get(&self.column).filter(|value| !value.is_null());
        let Some(found) = found else { return self.comparison == Comparison::Unequal };
        if self.comparison == Comparison::Contains {
            return text_of(found).contains(&self.value);
        }
        let ordering = compare(found, &Value::String(self.value.clone()));
        match self.comparison {
            Comparison::Equal => ordering == Ordering::Equal,
            Comparison::Unequal => ordering != Ordering::Equal,
            Comparison::Less => ordering == Ordering::Less,
            Comparison::AtMost => ordering != Ordering::Greater,
            Comparison::Greater => ordering == Ordering::Greater,
            Comparison::AtLeast => ordering != Ordering::Less,
            Comparison::Contains => false,
        }
    }
}

/// An order of rows by a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sorting {
    column: String,
    from_largest: bool,
}

impl FromStr for Sorting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let column = text.strip_prefix('-').unwrap_or(text);
        match column.is_empty() {
            true => Err("give the name of a column".to_owned()),
            false => Ok(Self { column: column.to_owned(), from_largest: column.len() < text.len() }),
        }
    }
}

impl Sorting {
    /// Sorts rows and keeps the first ones; those without the column come last.
    pub(super) fn keep(&self, rows: &mut Vec<RawRow>, count: usize) {
        rows.sort_by(|one, other| {
            let has_value = |value: &&Value| !value.is_null();
            let values = [one, other].map(|row| row.object.get(&self.column).filter(has_value));
            match values {
                [Some(one), Some(other)] if self.from_largest => compare(other, one),
                [Some(one), Some(other)] => compare(one, other),
                [one, other] => other.is_some().cmp(&one.is_some()),
            }
        });
        rows.truncate(count);
    }
}

/// Compares numbers as numbers and texts as texts; numbers come before texts, so that the order is total.
fn compare(one: &Value, other: &Value) -> Ordering {
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => text_of(one).cmp(&text_of(other)),
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_compare_numbers_as_numbers_and_texts_as_texts() {
        let row = json!({"score": 9, "text": "a red cat", "none": null, "tags": ["x"]});
        let holds = |text: &str| text.parse::<Condition>().unwrap().holds(row.as_object().unwrap());
        for text in
            ["score=9", "score>=9.0", "score<10", "score!=8", "text~red", "none!=1", "tags~x", "text>a"]
        {
            assert!(holds(text), "{text}");
        }
        for text in ["score>9", "score=10", "text=red", "none=1", "absent~x"] {
            assert!(!holds(text), "{text}");
        }
        let mixed = [json!(2), json!("10"), json!("1x"), json!("a")];
        for pair in mixed.windows(2) {
            assert_eq!(compare(&pair[0], &pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(&pair[1], &pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert!("score".parse::<Condition>().is_err() && "=3".parse::<Condition>().is_err());
    }
}
