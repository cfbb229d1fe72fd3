//! The columns of rows that were read from elsewhere, found by looking at every row, so that what is written back is
//! what was read. Values for which Arrow has no single type are written as JSON text.

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The columns of the rows added, in the order in which they first appeared.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    fields: Vec<(String, Shape)>,
}

/// The type that values have in common.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Null,
    Boolean,
    Integer,
    Float,
    Text,
    List(Box<Shape>),
    Struct(Vec<(String, Shape)>),
    /// No single type.
    Mixed,
}

impl Columns {
    /// Adds the columns of a row.
    pub fn add(&mut self, row: &Map<String, Value>) {
        merge_fields(&mut self.fields, row);
    }

    /// The paths of the values that are written as JSON text, such as `messages.tool_calls.function.arguments`.
    pub fn as_json(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.fields.iter().for_each(|(name, shape)| shape.as_json(name, &mut paths));
        paths
    }

    /// A row as it is written.
    pub(crate) fn fit(&self, row: Map<String, Value>) -> Map<String, Value> {
        fit_fields(&self.fields, row)
    }

    pub(crate) fn schema(&self) -> Schema {
        Schema::new(self.fields.iter().map(field).collect::<Vec<_>>())
    }
}

impl Shape {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() => Self::Integer,
            // Larger than the largest signed 64-bit integer.
            Value::Number(number) if number.is_u64() => Self::Mixed,
            Value::Number(_) => Self::Float,
            Value::String(_) => Self::Text,
            Value::Array(items) => {
                let mut shape = Self::Null;
                items.iter().for_each(|item| shape.add(item));
                Self::List(Box::new(shape))
            }
            Value::Object(object) => {
                let mut fields = Vec::new();
                merge_fields(&mut fields, object);
                Self::Struct(fields)
            }
        }
    }

    fn add(&mut self, value: &Value) {
        match (&mut *self, value) {
            (_, Value::Null) | (Self::Mixed, _) => {}
            (Self::List(shape), Value::Array(items)) => items.iter().for_each(|item| shape.add(item)),
            (Self::Struct(fields), Value::Object(object)) => merge_fields(fields, object),
            _ => {
                let other = Self::of(value);
                match (&*self, &other) {
                    (Self::Float, Self::Integer) => {}
                    (Self::Null, _) | (Self::Integer, Self::Float) => *self = other,
                    (known, other) if known == other => {}
                    _ => *self = Self::Mixed,
                }
            }
        }
    }

    /// Whether it is written as JSON text. Parquet has no struct without fields.
    fn is_json(&self) -> bool {
        *self == Self::Mixed || matches!(self, Self::Struct(fields) if fields.is_empty())
    }

    fn as_json(&self, path: &str, paths: &mut Vec<String>) {
        match self {
            shape if shape.is_json() => paths.push(path.to_owned()),
            Self::List(item) => item.as_json(path, paths),
            Self::Struct(fields) => {
                fields.iter().for_each(|(name, shape)| shape.as_json(&format!("{path}.{name}"), paths));
            }
            _ => {}
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            shape if shape.is_json() => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::List(item) => list(item.data_type()),
            Self::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Vec<_>>().into()),
            _ => DataType::Utf8,
        }
    }

    fn fit(&self, value: Value) -> Value {
        match (self, value) {
            (_, Value::Null) => Value::Null,
            // Some rows have a value as JSON text already where others have the value: one encoding for both.
            (shape, Value::String(text)) if shape.is_json() && is_json_text(&text) => Value::String(text),
            (shape, value) if shape.is_json() => Value::String(value.to_string()),
            (Self::List(item), Value::Array(items)) => {
                items.into_iter().map(|value| item.fit(value)).collect()
            }
            (Self::Struct(fields), Value::Object(object)) => Value::Object(fit_fields(fields, object)),
            (_, value) => value,
        }
    }
}

/// Whether a text is an object or a list as JSON.
fn is_json_text(text: &str) -> bool {
    text.starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok()
}

/// A list whose items may be null.
pub(crate) fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn merge_fields(fields: &mut Vec<(String, Shape)>, object: &Map<String, Value>) {
    for (name, value) in object {
        match fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, shape)) => shape.add(value),
            None => fields.push((name.clone(), Shape::of(value))),
        }
    }
}

fn fit_fields(fields: &[(String, Shape)], object: Map<String, Value>) -> Map<String, Value> {
    let fit = |(name, value): (String, Value)| {
        let shape = fields.iter().find(|(known, _)| *known == name).map(|(_, shape)| shape);
        let value = match shape {
            Some(shape) => shape.fit(value),
            None => value,
        };
        (name, value)
    };
    object.into_iter().map(fit).collect()
}

fn field((name, shape): &(String, Shape)) -> Field {
    Field::new(name, shape.data_type(), true)
}
