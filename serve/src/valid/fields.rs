//! The fields of a request's body, taken one by one.
//!
//! A getter names the parameter, what it was and what it may be. What nobody took is unknown, and refused in the
//! end: nothing a client sends is ignored in silence. `null` means absent.

use crate::error::ApiError;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::ops::RangeInclusive;

/// What is left of a JSON object, and where in the body it stands.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    prefix: String,
}

impl Fields {
    /// Reads a body. A name that stands twice is refused: which of the two was meant?
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let Unique(value) = serde_json::from_slice(body).map_err(|error| {
            let text = error.to_string();
            let refused = ApiError::body(format!("the body is not a JSON request: {text}"));
            match text.strip_prefix(TWICE).and_then(|rest| rest.split_once('`')) {
                Some((name, _)) => ApiError { param: Some(name.to_owned()), ..refused },
                None => refused.with_code("invalid_json"),
            }
        })?;
        match value {
            Value::Object(map) => Ok(Self { map, prefix: String::new() }),
            other => Err(ApiError::body(format!("the body is {}; expected a JSON object", shown(&other)))),
        }
    }

    /// The fields of an object inside the body.
    pub(crate) fn inside(name: impl Into<String>, value: Value) -> Result<Self, ApiError> {
        let name = name.into();
        match value {
            Value::Object(map) => Ok(Self { map, prefix: name + "." }),
            other => Err(wrong(&name, &other, "an object")),
        }
    }

    /// A field's name as the client sees it, with the objects around it.
    pub(crate) fn name(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// Takes a field as it is.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        // Order does not matter here: fields are asked for by name.
        self.map.swap_remove(field).filter(|value| !value.is_null())
    }

    /// Looks at a field that is taken later, or in vain.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// Takes a field that must be there.
    pub(crate) fn need(&mut self, field: &str) -> Result<Value, ApiError> {
        let name = self.name(field);
        self.take(field).ok_or_else(|| ApiError::invalid(&name, format!("`{name}` is missing")))
    }

    pub(crate) fn object(&mut self, field: &str) -> Result<Option<Fields>, ApiError> {
        let name = self.name(field);
        self.take(field).map(|value| Self::inside(name, value)).transpose()
    }

    pub(crate) fn boolean(&mut self, field: &str) -> Result<Option<bool>, ApiError> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, ApiError> {
        self.typed(field, "a string", |value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn need_text(&mut self, field: &str) -> Result<String, ApiError> {
        let name = self.name(field);
        self.text(field)?.ok_or_else(|| ApiError::invalid(&name, format!("`{name}` is missing")))
    }

    pub(crate) fn list(&mut self, field: &str) -> Result<Option<Vec<Value>>, ApiError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong(&self.name(field), &other, "an array")),
        }
    }

    /// A number within bounds.
    pub(crate) fn number(
        &mut self,
        field: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let within = |value: &Value| value.as_f64().filter(|number| range.contains(number));
        Ok(self.typed(field, &expected, within)?.map(|number| number as f32))
    }

    /// A whole number within bounds; `2.0` is one.
    pub(crate) fn integer(
        &mut self,
        field: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let expected = match *range.end() {
            usize::MAX => format!("a whole number, at least {}", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        self.typed(field, &expected, |value| whole(value).filter(|number| range.contains(number)))
    }

    /// A field that has a meaning in OpenAI's interface and none here: refused unless it asks for nothing.
    pub(crate) fn only(&mut self, field: &str, harmless: &[Value], why: &str) -> Result<(), ApiError> {
        match self.take(field) {
            Some(value) if !harmless.contains(&value) => {
                let name = self.name(field);
                let message =
                    format!("`{name}` is {}, which this server cannot honour: {why}", shown(&value));
                Err(ApiError::invalid(name, message).with_code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what nobody took; a lenient server lets it go.
    pub(crate) fn finish(self, lenient: bool) -> Result<(), ApiError> {
        match self.map.iter().find(|(_, value)| !value.is_null()) {
            Some((field, _)) if !lenient => {
                let name = self.name(&shorten(field, 64));
                let message = format!("`{name}` is not a parameter of this endpoint (--lenient ignores it)");
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

/// A whole number that is not negative, and small enough that sums of a few cannot overflow.
pub(crate) fn whole(value: &Value) -> Option<usize> {
    const LARGEST: u64 = 1 << 53;
    let fraction_free = |number: &f64| *number >= 0.0 && number.fract() == 0.0 && *number <= LARGEST as f64;
    let number = value.as_u64().or_else(|| value.as_f64().filter(fraction_free).map(|number| number as u64));
    number.filter(|number| *number <= LARGEST).map(|number| number as usize)
}

/// The error of a value that is not what it should be.
pub(crate) fn wrong(name: &str, value: &Value, expected: &str) -> ApiError {
    ApiError::invalid(name, format!("`{name}` is {}; expected {expected}", shown(value)))
}

/// A value as an error shows it: short.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => shorten(&other.to_string(), 80),
    }
}

fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// How the complaint about a doubled name begins; the name follows, up to a backtick.
const TWICE: &str = "two values for `";

/// Any JSON in which no object has a name twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Unique)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Unique(value))) = entries.next_entry::<String, Unique>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("{TWICE}{}`", shorten(&name, 64))));
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}
