//! Values that Python's `datasets` keeps as JSON texts, because Arrow has no type for them (its feature type `Json`), opened
//! again: messages of different fields, arguments of calls, metadata. Which columns these are is in the schema's metadata.

use crate::limits::RowLimits;
use arrow::datatypes::Schema;
use serde_json::{Map, Value};

/// The key of the schema's metadata under which `datasets` describes its columns.
const METADATA: &str = "huggingface";
/// Columns that are nested deeper than this are left as they are.
const MAX_DEPTH: usize = 32;

/// Where a value has JSON texts in it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// It is one.
    Here,
    /// In the items of a list.
    Items(Box<Place>),
    /// In fields of a struct.
    Fields(Vec<(String, Place)>),
}

/// The JSON texts in the rows of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct JsonTexts(Vec<(String, Place)>);

impl JsonTexts {
    /// Those that the metadata of a schema describes; none where there is no such metadata.
    pub(super) fn of(schema: &Schema) -> Self {
        Self::described(schema.metadata().get(METADATA).map(String::as_str))
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn described(description: Option<&str>) -> Self {
        let description = description.filter(|text| RowLimits::check_text(text.as_bytes()).is_ok());
        let description = description.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let place = description.and_then(|description| fields(&description["info"]["features"], 0));
        match place {
            Some(Place::Fields(columns)) => Self(columns),
            _ => Self::default(),
        }
    }

    /// Opens the texts of a row. What is no JSON stays a text.
    pub(super) fn open(&self, object: &mut Map<String, Value>) {
        open_fields(&self.0, object);
    }
}

/// The fields of a struct, or the columns of a table, that have JSON texts in them.
fn fields(features: &Value, depth: usize) -> Option<Place> {
    let places: Vec<(String, Place)> = features
        .as_object()?
        .iter()
        .filter_map(|(name, feature)| Some((name.clone(), place(feature, depth + 1)?)))
        .collect();
    (!places.is_empty()).then_some(Place::Fields(places))
}

/// Where a column of a feature type has JSON texts in it.
fn place(feature: &Value, depth: usize) -> Option<Place> {
    if depth > MAX_DEPTH {
        return None;
    }
    let items = |item: &Value| Some(Place::Items(Box::new(place(item, depth + 1)?)));
    match (feature, feature["_type"].as_str()) {
        (_, Some("Json")) => Some(Place::Here),
        (_, Some("List" | "LargeList" | "Sequence")) => items(&feature["feature"]),
        // A list of one feature, as earlier versions have it.
        (Value::Array(list), _) => items(list.first()?),
        (Value::Object(_), None) => fields(feature, depth),
        _ => None,
    }
}

fn open_fields(places: &[(String, Place)], object: &mut Map<String, Value>) {
    for (name, place) in places {
        if let Some(value) = object.get_mut(name) {
            open(place, value);
        }
    }
}

fn open(place: &Place, value: &mut Value) {
    match (place, value) {
        (Place::Here, value) => {
            let opened = value.as_str().filter(|text| RowLimits::check_text(text.as_bytes()).is_ok());
            if let Some(opened) = opened.and_then(|text| serde_json::from_str(text).ok()) {
                *value = opened;
            }
        }
        (Place::Items(item), Value::Array(list)) => list.iter_mut().for_each(|value| open(item, value)),
        (Place::Fields(fields), Value::Object(object)) => open_fields(fields, object),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use serde_json::json;

    #[allow(clippy::needless_pass_by_value, reason = "made where it is passed")]
    fn texts(features: Value) -> JsonTexts {
        let text = json!({"info": {"features": features}}).to_string();
        JsonTexts::described(Some(&text))
    }

    #[test]
    fn texts_are_opened_where_the_features_say_so() {
        let json = json!({"_type": "Json"});
        let text = json!({"dtype": "string", "_type": "Value"});
        let found = texts(json!({
            "messages": {"feature": json, "_type": "List"}, "old": [{"x": json, "y": text}], "meta": {"of": json},
            "plain": text, "all": json, "list": {"feature": text, "_type": "List"},
        }));
        let mut row = json!({
            "messages": ["{\"role\": \"user\", \"content\": \"1\"}", null], "old": [{"x": "[1]", "y": "[1]"}],
            "meta": {"of": "{\"a\": null}"}, "plain": "{}", "all": "no JSON", "list": ["1"],
        });
        found.open(row.as_object_mut().unwrap());
        let opened = json!({
            "messages": [{"role": "user", "content": "1"}, null], "old": [{"x": [1], "y": "[1]"}],
            "meta": {"of": {"a": null}}, "plain": "{}", "all": "no JSON", "list": ["1"],
        });
        assert_eq!(row, opened);
        assert_eq!(texts(json!({"plain": text})), JsonTexts::default());
        assert_eq!(texts(json!("odd")), JsonTexts::default());
    }
}
