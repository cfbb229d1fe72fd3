//! Why a page is dropped: stage, reason, the value that decided and its limit.

use serde_json::{Value, json};

/// Characters of a text that a report shows.
const EXCERPT: usize = 400;

/// A page that was dropped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fate {
    pub(crate) stage: String,
    pub(crate) reason: String,
    /// The value that decided.
    pub(crate) value: Value,
    /// The limit that it was compared with; null where there is none.
    pub(crate) limit: Value,
    /// The name of the value among those that were measured.
    pub(crate) measure: Option<String>,
}

/// A page that is dropped without a limit.
pub(crate) fn drop(reason: &str, value: Value) -> Fate {
    Fate { stage: String::new(), reason: reason.to_owned(), value, limit: Value::Null, measure: None }
}

/// A page below or above the limit of a value that was measured.
pub(crate) fn cut(reason: &str, measure: &str, value: f64, limit: f64) -> Fate {
    Fate { limit: json!(limit), measure: Some(measure.to_owned()), ..drop(reason, json!(value)) }
}

/// The beginning of a text, for a report.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT).collect()
}
