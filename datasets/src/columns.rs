//! The columns of rows that were read from elsewhere, found by looking at every row, so that what is written back is
//! what was read. Values for which Arrow has no single type are written as JSON text.

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Value, json};
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

    /// Adds the columns of rows that come after these: as if each of the rows had been added.
    pub fn merge(&mut self, later: Self) {
        merge_shapes(&mut self.fields, later.fields);
    }

    /// The paths of the values that are written as JSON text, such as `messages.tool_calls.function.arguments`.
    pub fn as_json(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.fields.iter().for_each(|(name, shape)| shape.as_json(name, &mut paths));
        paths
    }

    /// The columns as the features of a dataset card (`dataset_info`), from which `load_dataset` takes the types of JSON files;
    /// `None` where values have no single type. Without them it takes the columns of the first 10 MB for all.
    pub fn features(&self) -> Option<Value> {
        self.fields
            .iter()
            .map(|(name, shape)| shape.feature(name))
            .collect::<Option<Vec<_>>>()
            .map(Value::Array)
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
            _ => self.merge(Self::of(value)),
        }
    }

    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Null) | (Self::Mixed, _) | (Self::Float, Self::Integer) => {}
            (Self::List(shape), Self::List(other)) => shape.merge(*other),
            (Self::Struct(fields), Self::Struct(others)) => merge_shapes(fields, others),
            (Self::Null, other) => *self = other,
            (Self::Integer, Self::Float) => *self = Self::Float,
            (known, other) if *known == other => {}
            _ => *self = Self::Mixed,
        }
    }

    /// Whether it is written as JSON text. Parquet has no struct without fields.
    fn is_json(&self) -> bool {
        *self == Self::Mixed || matches!(self, Self::Struct(fields) if fields.is_empty())
    }

    /// The feature of a column of this shape.
    fn feature(&self, name: &str) -> Option<Value> {
        let mut feature = self.feature_type()?;
        if let Some(object) = feature.as_object_mut() {
            object.insert("name".to_owned(), name.into());
        }
        Some(feature)
    }

    fn feature_type(&self) -> Option<Value> {
        Some(match self {
            Self::Null => json!({"dtype": "null"}),
            Self::Boolean => json!({"dtype": "bool"}),
            Self::Integer => json!({"dtype": "int64"}),
            Self::Float => json!({"dtype": "float64"}),
            Self::Text => json!({"dtype": "string"}),
            Self::List(item) => match item.feature_type()? {
                item if item["struct"].is_array() => json!({"list": item["struct"]}),
                item if item["dtype"].is_string() => json!({"list": item["dtype"]}),
                item => json!({"list": item}),
            },
            Self::Struct(fields) if !fields.is_empty() => {
                let fields = fields.iter().map(|(name, shape)| shape.feature(name));
                json!({"struct": fields.collect::<Option<Vec<_>>>()?})
            }
            Self::Struct(_) | Self::Mixed => return None,
        })
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

fn merge_shapes(fields: &mut Vec<(String, Shape)>, others: Vec<(String, Shape)>) {
    for (name, other) in others {
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, shape)) => shape.merge(other),
            None => fields.push((name, other)),
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    /// Some rows of a file have the arguments of calls as an object, others as JSON text.
    #[test]
    fn values_and_json_texts_of_them_have_one_encoding() {
        let rows =
            [json!({"arguments": {"x": 1}}), json!({"arguments": "{\"y\": 2}"}), json!({"arguments": "now"})];
        let rows = rows.map(|row| row.as_object().unwrap().clone());
        let mut columns = Columns::default();
        rows.iter().for_each(|row| columns.add(row));
        assert_eq!(columns.as_json(), ["arguments"]);
        let written: Vec<Value> = rows.into_iter().map(|row| columns.fit(row)["arguments"].clone()).collect();
        assert_eq!(written, ["{\"x\":1}", "{\"y\": 2}", "\"now\""]);
    }

    /// Rows are added in parts on several cores: wherever they are cut, the columns are the same.
    #[test]
    fn columns_of_parts_are_those_of_all_rows() {
        let values = [
            json!(null),
            json!(1),
            json!(1.5),
            json!(u64::MAX),
            json!("a"),
            json!(true),
            json!([]),
            json!([1, null]),
            json!([1.5]),
            json!(["a"]),
            json!({}),
            json!({"x": 1}),
            json!({"y": [], "x": 0.5}),
        ];
        let row = |name: &str, value: &Value| Map::from_iter([(name.to_owned(), value.clone())]);
        for one in &values {
            for two in &values {
                for three in &values {
                    let rows = [row("a", one), row("b", one), row("a", two), row("c", two), row("a", three)];
                    let columns = |rows: &[Map<String, Value>]| {
                        let mut columns = Columns::default();
                        rows.iter().for_each(|row| columns.add(row));
                        columns
                    };
                    let expected = columns(&rows).fields;
                    for cut in 0..=rows.len() {
                        let mut merged = columns(&rows[..cut]);
                        merged.merge(columns(&rows[cut..]));
                        assert_eq!(merged.fields, expected, "{rows:?} cut at {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn features_are_those_of_a_dataset_card() {
        let mut columns = Columns::default();
        let rows = [
            json!({"messages": [{"role": "user", "content": "a"}], "n": 1, "tags": [], "odd": null}),
            json!({"messages": [{"role": "user", "weight": 0.5}], "n": 2.5, "tags": ["x"], "deep": {"pairs": [["a", "b"]]}}),
        ];
        rows.iter().for_each(|row| columns.add(row.as_object().unwrap()));
        let expected = json!([
            {"name": "messages", "list": [
                {"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"},
                {"name": "weight", "dtype": "float64"}]},
            {"name": "n", "dtype": "float64"}, {"name": "tags", "list": "string"}, {"name": "odd", "dtype": "null"},
            {"name": "deep", "struct": [{"name": "pairs", "list": {"list": "string"}}]},
        ]);
        assert_eq!(columns.features().unwrap(), expected);
        columns.add(json!({"n": "three"}).as_object().unwrap());
        assert_eq!(columns.features(), None, "a number or a text is no type");
    }
}
