//! The fields of a request's body, taken one by one.
//!
//! A getter's error names the parameter, the value that was found and the values that are allowed. Fields that no getter
//! took are unknown and refused at the end, so that nothing a client sends is silently ignored. `null` means absent.

mod shown;
mod unique_json;

use crate::error::ApiError;
use serde_json::{Map, Value};
use shown::{shorten, shown};
use std::ops::RangeInclusive;
use unique_json::{REPEATED, UniqueJson};

/// Names that other servers constrain the text by.
const CONSTRAINTS: [&str; 7] = [
    "grammar_lazy",
    "regex",
    "schema",
    "structural_tag",
    "guided_whitespace_pattern",
    "logits_processor",
    "format",
];

/// The fields of a JSON object that were not taken yet, and the object's place in the body.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    prefix: String,
}

impl Fields {
    /// Reads a body. A repeated name is refused, because either of its values could be meant.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let UniqueJson(value) = serde_json::from_slice(body).map_err(|error| {
            let mut text = error.to_string();
            if text.contains("surrogate") || text.contains("end of hex escape") {
                text.push_str(" (half of a character that has two `\\u` escapes; send both halves)");
            }
            let refused = ApiError::bad_request(format!("the body is not a JSON request: {text}"));
            match text.strip_prefix(REPEATED).and_then(|rest| rest.split_once('`')) {
                Some((name, _)) => ApiError { param: Some(name.to_owned()), ..refused },
                None => refused.with_code("invalid_json"),
            }
        })?;
        match value {
            Value::Object(map) => Ok(Self { map, prefix: String::new() }),
            other => {
                Err(ApiError::bad_request(format!("the body is {}; expected a JSON object", shown(&other))))
            }
        }
    }

    /// The fields of an object inside the body.
    pub(crate) fn nested(name: impl Into<String>, value: Value) -> Result<Self, ApiError> {
        let name = name.into();
        match value {
            Value::Object(map) => Ok(Self { map, prefix: name + "." }),
            other => Err(wrong(&name, &other, "an object")),
        }
    }

    /// A field's name with the names of the objects around it.
    pub(crate) fn name(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// Takes a field of any type.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        #[cfg(test)]
        record::add(self.name(field));
        // The order of fields does not matter: they are taken by name.
        self.map.swap_remove(field).filter(|value| !value.is_null())
    }

    /// Returns a field and leaves it to be taken later.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Takes a required field of any type.
    pub(crate) fn need(&mut self, field: &str) -> Result<Value, ApiError> {
        let name = self.name(field);
        self.take(field).ok_or_else(|| missing(&name))
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, field: &str) -> Result<Option<Fields>, ApiError> {
        let name = self.name(field);
        self.take(field).map(|value| Self::nested(name, value)).transpose()
    }

    /// Takes a Boolean.
    pub(crate) fn boolean(&mut self, field: &str) -> Result<Option<bool>, ApiError> {
        self.typed(field, "true or false", Value::as_bool)
    }

    /// Takes a string.
    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, ApiError> {
        self.typed(field, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// Takes a required string.
    pub(crate) fn need_text(&mut self, field: &str) -> Result<String, ApiError> {
        let name = self.name(field);
        self.text(field)?.ok_or_else(|| missing(&name))
    }

    /// Takes an array.
    pub(crate) fn list(&mut self, field: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong(&self.name(field), &other, "an array")),
        }
    }

    /// Takes a number within bounds.
    pub(crate) fn number(
        &mut self,
        field: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let within = |value: &Value| value.as_f64().filter(|number| range.contains(number));
        Ok(self.typed(field, &expected, within)?.map(|number| number as f32))
    }

    /// Takes an integer within bounds; `2.0` is one.
    pub(crate) fn integer(
        &mut self,
        field: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let expected = match *range.end() {
            usize::MAX => format!("an integer, at least {}", range.start()),
            end => format!("an integer from {} to {end}", range.start()),
        };
        self.typed(field, &expected, |value| integer(value).filter(|number| range.contains(number)))
    }

    /// Takes a field of the interface that this server does not support, and refuses it unless its value changes
    /// nothing.
    pub(crate) fn neutral(&mut self, field: &str, accepted: &[Value], why: &str) -> Result<(), ApiError> {
        match self.take(field) {
            Some(value) if !accepted.iter().any(|accepted| is_same(accepted, &value)) => {
                let name = self.name(field);
                let message =
                    format!("`{name}` is {}, which this server does not support: {why}", shown(&value));
                Err(ApiError::invalid(name, message).with_code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }

    /// The fields that were not taken, as they are.
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// Refuses fields that were not taken, unless the server is lenient. A constraint of the text that this server does
    /// not know is refused even with `--lenient`: without it, the answer would not be what the client relies on.
    pub(crate) fn finish(self, lenient: bool) -> Result<(), ApiError> {
        let constraint = self.map.iter().find(|(field, value)| {
            self.prefix.is_empty()
                && CONSTRAINTS.contains(&field.as_str())
                && !value.is_null()
                && **value != ""
        });
        if let Some((field, _)) = constraint {
            let name = self.name(field);
            let message = format!(
                "`{name}` constrains the text in another server's notation; use `response_format`, \
                 `guided_regex`, `guided_choice` or `grammar`"
            );
            return Err(ApiError::invalid(name, message).with_code("unsupported_parameter"));
        }
        let is_absent = |field: &String, value: &Value| {
            value.is_null() || (*value == "" && CONSTRAINTS.contains(&field.as_str()))
        };
        match self.map.iter().find(|(field, value)| !is_absent(field, value)) {
            Some((field, _)) if !lenient => {
                let name = self.name(&shorten(field, 64));
                let message = format!(
                    "`{name}` is not a parameter of this endpoint; remove it, or start the server with `--lenient`"
                );
                Err(ApiError::invalid(name, message).with_code("unknown_parameter"))
            }
            _ => Ok(()),
        }
    }

    fn typed<T>(
        &mut self,
        field: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.take(field) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| wrong(&self.name(field), &value, expected))
    }
}

/// A non-negative integer, small enough that sums of a few cannot overflow.
pub(crate) fn integer(value: &Value) -> Option<usize> {
    const LARGEST: u64 = 1 << 53;
    let has_no_fraction = |number: &f64| *number >= 0.0 && number.fract() == 0.0 && *number <= LARGEST as f64;
    let number =
        value.as_u64().or_else(|| value.as_f64().filter(has_no_fraction).map(|number| number as u64));
    number.filter(|number| *number <= LARGEST).map(|number| number as usize)
}

/// Whether two values mean the same; 1 and 1.0 do.
fn is_same(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|number| other.as_f64() == Some(number))
}

/// The error of a value that is not allowed.
pub(crate) fn wrong(name: &str, value: &Value, expected: &str) -> ApiError {
    ApiError::invalid(name, format!("`{name}` is {}; expected {expected}", shown(value)))
}

/// The error of a value that is not there.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::invalid(name, format!("`{name}` is missing"))
}

/// The names of the fields that were asked for, for the test that compares them with the API's description.
#[cfg(test)]
pub(crate) mod record {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static NAMES: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn add(name: String) {
        NAMES.with_borrow_mut(|names| names.insert(name));
    }

    /// The names since the last call, on this thread.
    pub(crate) fn take() -> BTreeSet<String> {
        NAMES.take()
    }
}
