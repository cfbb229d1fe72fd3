//! The columns of rows that came from somewhere else, found by looking at every row, so that what is written back
//! is what was read. Values that no one type of Arrow holds are written as JSON text, and which those are can be asked.

use crate::write::list;
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Value};

/// The columns of the rows looked at, in the order they were first seen.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    fields: Vec<(String, Shape)>,
}

/// What values have in common.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Null,
    Boolean,
    Integer,
    Float,
    Text,
    List(Box<Shape>),
    Struct(Vec<(String, Shape)>),
    /// No one type.
    Mixed,
}

impl Columns {
    /// Looks at a row.
    pub fn add(&mut self, row: &Map<String, Value>) {
        merge_fields(&mut self.fields, row);
    }

    /// Where values are written as JSON text, such as `messages.tool_calls.function.arguments`.
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
            // Above the largest of 64 bits with a sign.
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

    /// A struct without fields is a type that Parquet does not have.
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

    fn kind(&self) -> DataType {
        match self {
            shape if shape.is_json() => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::List(item) => list(item.kind()),
            Self::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Vec<_>>().into()),
            _ => DataType::Utf8,
        }
    }

    fn fit(&self, value: Value) -> Value {
        match (self, value) {
            (_, Value::Null) => Value::Null,
            (shape, value) if shape.is_json() => Value::String(value.to_string()),
            (Self::List(item), Value::Array(items)) => {
                items.into_iter().map(|value| item.fit(value)).collect()
            }
            (Self::Struct(fields), Value::Object(object)) => Value::Object(fit_fields(fields, object)),
            (_, value) => value,
        }
    }
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
    Field::new(name, shape.kind(), true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::write::write_shards_as_found;
    use crate::{Error, objects};
    use serde_json::json;
    use std::num::NonZeroUsize;

    #[test]
    fn rows_come_back_as_they_went() {
        let rows = [
            json!({"instruction": "a", "output": "b", "n": 1, "deep": {"x": [1, 2]}, "odd": {"k": 1}, "none": null}),
            json!({"instruction": "c", "output": "d", "n": 2.5, "deep": {"y": true}, "odd": "text", "empty": {}}),
        ];
        let rows: Vec<Map<String, Value>> = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
        let mut columns = Columns::default();
        rows.iter().for_each(|row| columns.add(row));
        assert_eq!(columns.as_json(), ["odd", "empty"]);
        let folder = tempfile::tempdir().unwrap();
        let one = NonZeroUsize::new(1).unwrap();
        let given = rows.into_iter().map(Ok::<_, Error>);
        let shards = write_shards_as_found(folder.path(), "train", &columns, 2, one, given).unwrap();
        assert_eq!(shards.len(), 2);
        let back: Vec<Value> =
            objects(folder.path()).unwrap().map(|found| found.unwrap().object.into()).collect();
        let first =
            json!({"instruction": "a", "output": "b", "n": 1.0, "deep": {"x": [1, 2]}, "odd": "{\"k\":1}"});
        let second = json!({"instruction": "c", "output": "d", "n": 2.5, "deep": {"y": true}, "odd": "\"text\"", "empty": "{}"});
        assert_eq!(back, [first, second]);
    }
}
