//! The places of a JSON schema that are schemas themselves, and no others: a property may be named `not`, and an example
//! may look like a schema.

use serde_json::{Map, Value};

/// What the value of a keyword is.
pub(super) enum Place {
    /// Schemas by name.
    Named,
    /// A list of schemas.
    Listed,
    /// One schema.
    Single,
    /// No schema.
    Other,
}

/// What the value of a keyword is.
pub(super) fn place(keyword: &str, value: &Value) -> Place {
    match (keyword, value) {
        ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(_)) => Place::Named,
        ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(_)) => Place::Listed,
        ("items" | "additionalItems" | "additionalProperties", _) => Place::Single,
        _ => Place::Other,
    }
}

/// The schemas directly inside a schema, each with its pointer from there.
pub(super) fn subschemas(fields: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (keyword, value) in fields {
        let location = format!("/{}", escape(keyword));
        match (place(keyword, value), value) {
            (Place::Named, Value::Object(schemas)) => {
                found.extend(
                    schemas.iter().map(|(name, schema)| (format!("{location}/{}", escape(name)), schema)),
                );
            }
            (Place::Listed, Value::Array(schemas)) => {
                let schemas = schemas.iter().enumerate();
                found.extend(schemas.map(|(index, schema)| (format!("{location}/{index}"), schema)));
            }
            (Place::Single, schema) => found.push((location, schema)),
            _ => {}
        }
    }
    found
}

/// The same schemas, to be changed.
pub(super) fn subschemas_mut(fields: &mut Map<String, Value>) -> Vec<&mut Value> {
    let mut found = Vec::new();
    for (keyword, value) in fields {
        match (place(keyword, value), value) {
            (Place::Named, Value::Object(schemas)) => found.extend(schemas.values_mut()),
            (Place::Listed, Value::Array(schemas)) => found.extend(schemas),
            (Place::Single, schema) => found.push(schema),
            _ => {}
        }
    }
    found
}

/// Escapes a name for a JSON pointer (RFC 6901).
pub(super) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The pointers within this document that its `$ref`s name.
pub(super) fn local_references(schema: &Value) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), vec![schema]);
    while let Some(value) = rest.pop() {
        match value {
            Value::Object(fields) => {
                let reference = fields.get("$ref").and_then(Value::as_str);
                found.extend(reference.and_then(|text| text.strip_prefix('#')).map(str::to_owned));
                rest.extend(fields.values());
            }
            Value::Array(items) => rest.extend(items),
            _ => {}
        }
    }
    found
}
