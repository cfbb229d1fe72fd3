//! `GET /openapi.json`: OpenAPI 3.1 of everything the server answers.
//!
//! Paths are written by hand in `openapi.json`; the schemas of bodies are generated from the types of `openai`.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::LazyLock;

const PATHS: &str = include_str!("openapi.json");

/// Returns the document.
pub(crate) async fn openapi() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// The document.
pub(crate) fn document() -> Value {
    let mut document: Value = serde_json::from_str(PATHS).expect("openapi.json is JSON");
    document["components"]["schemas"] = Value::Object(openai::schema::components());
    document
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The targets of all references in a value.
    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                into.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, into));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }

    #[test]
    fn the_document_is_complete() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(found.contains(&format!("#/components/schemas/{name}")), "{name} is not used");
        }
        let mut described: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let routes = include_str!("../server.rs").split(".route(\"").skip(1);
        let mut served: Vec<String> =
            routes.filter_map(|rest| rest.split('"').next()).map(|path| path.replace("{*", "{")).collect();
        described.sort();
        served.sort();
        assert_eq!(described, served);
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(
                    operation["summary"].is_string() && operation["responses"].is_object(),
                    "{method} {path}"
                );
            }
        }
    }
}
