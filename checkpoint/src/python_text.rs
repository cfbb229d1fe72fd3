//! Values as Python's `str` prints them, because templates print lists and objects where models were trained on what
//! Python made of them: `['boolean', 'null']`, not `["boolean", "null"]`.

use crate::python_json::python_float;
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::fmt::Write;

/// Maximum depth of a value that is printed. A template can build one that contains itself.
const MAX_DEPTH: usize = 200;
/// Maximum bytes of a value that is printed. A template can build lists that contain one list many times.
const MAX_BYTES: usize = 64 << 20;

/// Whether Python prints a value otherwise than the template engine does.
pub(crate) fn is_printed_otherwise(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) || is_float(value)
}

/// A value as `str` prints it.
///
/// # Errors
/// When the value is nested too deeply, or its text is too long.
pub(crate) fn python_str(value: &Value) -> Result<String, Error> {
    if !is_printed_otherwise(value) {
        return Ok(value.to_string());
    }
    let mut text = String::new();
    print(&mut text, value, 0)?;
    Ok(text)
}

fn is_float(value: &Value) -> bool {
    value.kind() == ValueKind::Number && !value.is_integer()
}

/// Appends what `repr` prints.
fn print(text: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH || text.len() > MAX_BYTES {
        let message = format!(
            "a value that is printed is nested more than {MAX_DEPTH} deep or takes more than {MAX_BYTES} bytes"
        );
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    match value.kind() {
        ValueKind::Undefined => text.push_str("Undefined"),
        ValueKind::None => text.push_str("None"),
        ValueKind::Bool => text.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::String => quote(text, value.as_str().unwrap_or_default()),
        ValueKind::Map => {
            text.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                print(text, &key, depth + 1)?;
                text.push_str(": ");
                print(text, &value.get_item(&key)?, depth + 1)?;
            }
            text.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            text.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                print(text, &item, depth + 1)?;
            }
            text.push(']');
        }
        _ if is_float(value) => {
            let number = f64::try_from(value.clone()).map(python_float);
            text.push_str(&number.unwrap_or_else(|_| value.to_string()));
        }
        _ => text.push_str(&value.to_string()),
    }
    Ok(())
}

/// A string with quotes: single ones, unless it has such and no double ones.
fn quote(text: &mut String, string: &str) {
    let quote = if string.contains('\'') && !string.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for character in string.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\\' => text.push_str("\\\\"),
            _ if character == quote => text.extend(['\\', quote]),
            _ if character.is_control() => {
                let _ = write!(text, "\\x{:02x}", u32::from(character));
            }
            _ => text.push(character),
        }
    }
    text.push(quote);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    /// Source: CPython 3.11, `str` of the same values.
    #[test]
    fn values_are_printed_as_python_prints_them() {
        for (value, expected) in [
            (json!(["a", 1, 0.5, true, null]), "['a', 1, 0.5, True, None]"),
            (json!({"it's": "say \"x\"", "é": {}}), "{\"it's\": 'say \"x\"', 'é': {}}"),
            (json!(["'\"", "a\\b\n\t\r\u{7f}\u{1}"]), "['\\'\"', 'a\\\\b\\n\\t\\r\\x7f\\x01']"),
            (json!("it's"), "it's"),
            (json!(1e16), "1e+16"),
            (json!(2.0), "2.0"),
            (json!(7), "7"),
            (json!([]), "[]"),
        ] {
            assert_eq!(python_str(&Value::from_serialize(&value)).unwrap(), expected);
        }
    }

    #[test]
    fn deep_and_repeated_values_are_errors() {
        let deep = (0..300).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        assert!(python_str(&deep).unwrap_err().to_string().contains("nested"));
        let wide = (0..40).fold(Value::from(1), |inner, _| Value::from(vec![inner.clone(), inner]));
        assert!(python_str(&wide).is_err());
    }
}
