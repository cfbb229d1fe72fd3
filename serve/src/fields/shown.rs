//! Values and names as errors show them: shortened.

use serde_json::Value;

/// A value, shortened; arrays and objects by their type alone.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => shorten(&other.to_string(), 80),
    }
}

/// A text of at most `limit` characters, and a mark where it was cut.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
