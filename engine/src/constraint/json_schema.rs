//! JSON schemas as constraints: the keywords that can be enforced, and the white space of the generated JSON.

use super::schema_parts::{escape, subschemas};
use crate::request::RequestError;
use serde_json::{Map, Value, json};

/// Keywords that restrict values and that llguidance 1.9.1 does not support (its `json/schema.rs` lists those that it
/// does). It would ignore those of another draft than that of the schema without an error.
const UNSUPPORTED: [&str; 18] = [
    "not",
    "if",
    "then",
    "else",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];

/// The formats that llguidance supports.
const FORMATS: [&str; 11] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown"];

/// Checks that every keyword of a JSON schema can be enforced. Compiling the schema may still find other errors.
///
/// # Errors
/// Names the first keyword that cannot be enforced, and its location.
pub fn check_schema(schema: &Value) -> Result<(), RequestError> {
    for option in ["lenient", "coerce_one_of"] {
        if schema["x-guidance"][option] == true {
            let reason = format!("`{option}` ignores part of the schema; remove it");
            return Err(refuse_keyword("x-guidance", "", reason));
        }
    }
    check_keywords(schema, "")
}

/// Checks a schema and those in it.
fn check_keywords(schema: &Value, pointer: &str) -> Result<(), RequestError> {
    let Value::Object(fields) = schema else { return Ok(()) };
    for (keyword, value) in fields {
        check_keyword(fields, keyword, value, pointer)?;
    }
    subschemas(fields)
        .into_iter()
        .try_for_each(|(step, schema)| check_keywords(schema, &(pointer.to_owned() + &step)))
}

fn check_keyword(
    fields: &Map<String, Value>,
    keyword: &str,
    value: &Value,
    pointer: &str,
) -> Result<(), RequestError> {
    if UNSUPPORTED.contains(&keyword) {
        let reason = "the constraint compiler does not support it; remove it and check the answer instead";
        return Err(refuse_keyword(keyword, pointer, reason.to_owned()));
    }
    let unknown = value.as_str().filter(|format| !FORMATS.contains(format));
    if let Some(format) = unknown.filter(|_| keyword == "format" && may_be_string(fields)) {
        let reason = format!("`{format}` is not one of {}; use `pattern` instead", FORMATS[..10].join(", "));
        return Err(refuse_keyword(keyword, pointer, reason));
    }
    // Beside them the compiler reads the schema as one of an older draft, which has no `prefixItems`.
    let is_older = fields.contains_key("additionalItems") || fields.get("items").is_some_and(Value::is_array);
    if keyword == "prefixItems" && is_older {
        let reason =
            "it is beside `additionalItems` or a list of `items`, which are of older drafts; use one draft";
        return Err(refuse_keyword(keyword, pointer, reason.to_owned()));
    }
    Ok(())
}

/// Returns whether a value may be a string: a format restricts strings only.
fn may_be_string(fields: &Map<String, Value>) -> bool {
    match fields.get("type") {
        Some(Value::String(kind)) => kind == "string",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "string"),
        _ => true,
    }
}

fn refuse_keyword(keyword: &str, pointer: &str, reason: String) -> RequestError {
    RequestError::Keyword {
        keyword: keyword.to_owned(),
        pointer: format!("{pointer}/{}", escape(keyword)),
        reason,
    }
}

/// The compiler's reason, with the remedy where it has another one than this server.
pub(super) fn remedy(reason: &str) -> String {
    if reason.contains("coerce_one_of") {
        return "the alternatives of `oneOf` may hold together as far as the compiler can tell; use `anyOf`"
            .to_owned();
    }
    reason.to_owned()
}

/// Returns the `x-guidance` options of a schema that fix the white space of generated JSON.
pub(super) fn json_whitespace() -> Value {
    json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "})
}

#[cfg(test)]
mod tests {
    use super::*;
    use llguidance::ParserFactory;
    use llguidance::api::TopLevelGrammar;
    use llguidance::toktrie::ApproximateTokEnv;

    #[track_caller]
    fn refused(schema: &Value, expected: &str) {
        match check_schema(schema) {
            Err(RequestError::Keyword { pointer, .. }) => assert_eq!(pointer, expected),
            Err(other) => panic!("{other}"),
            Ok(()) => panic!("{schema} was accepted"),
        }
    }

    #[test]
    fn keywords_that_cannot_be_enforced_are_named_with_their_location() {
        refused(&json!({"not": {}}), "/not");
        refused(&json!({"type": "array", "items": {"uniqueItems": true}}), "/items/uniqueItems");
        refused(&json!({"properties": {"a/b~c": {"if": {}, "then": {}}}}), "/properties/a~1b~0c/if");
        refused(&json!({"anyOf": [{}, {"contains": {}}]}), "/anyOf/1/contains");
        refused(&json!({"items": [{}, {"then": {}}]}), "/items/1/then");
        refused(
            &json!({"additionalProperties": {"propertyNames": {}}}),
            "/additionalProperties/propertyNames",
        );
        refused(
            &json!({"$defs": {"x": {"dependentRequired": {}}}, "$ref": "#/$defs/x"}),
            "/$defs/x/dependentRequired",
        );
        refused(&json!({"unevaluatedProperties": false, "type": "object"}), "/unevaluatedProperties");
        refused(&json!({"type": "string", "format": "regex"}), "/format");
        refused(&json!({"type": ["string", "null"], "format": "idn-email"}), "/format");
        refused(&json!({"x-guidance": {"lenient": true}, "not": {}}), "/x-guidance");
        refused(&json!({"prefixItems": [{"type": "null"}], "additionalItems": false}), "/prefixItems");
        // llguidance ignores a keyword that the draft of the schema does not have.
        let draft = "http://json-schema.org/draft-04/schema#";
        refused(&json!({"$schema": draft, "type": "object", "if": {"type": "object"}}), "/if");
    }

    #[test]
    fn names_values_and_annotations_are_not_keywords() {
        for schema in [
            json!({"properties": {"not": {"type": "string"}, "if": {"const": {"not": 1}}}, "required": ["not"]}),
            json!({"enum": [{"uniqueItems": true}], "default": {"not": 1}, "examples": [{"contains": 1}]}),
            json!({"title": "t", "description": "d", "$comment": "c", "$id": "x", "type": "integer", "format": "int32"}),
            json!({"type": "string", "format": "date-time"}),
            json!({"$defs": {"not": {"type": "null"}}, "$ref": "#/$defs/not"}),
            json!(true),
        ] {
            assert!(check_schema(&schema).is_ok(), "{schema}");
        }
    }

    #[test]
    fn the_lists_match_what_the_compiler_supports() {
        let compiles = |schema: Value| {
            let environment = ApproximateTokEnv::single_byte_env();
            let mut factory = ParserFactory::new_simple(&environment).expect("a factory");
            factory.quiet();
            factory
                .create_parser(TopLevelGrammar::from_json_schema(schema))
                .map_err(|error| format!("{error:#}"))
        };
        for format in FORMATS {
            assert!(compiles(json!({"type": "string", "format": format})).is_ok(), "{format}");
        }
        for keyword in
            UNSUPPORTED.iter().filter(|keyword| **keyword != "$recursiveRef" && !keyword.contains("Anchor"))
        {
            let value = if *keyword == "$dynamicRef" { json!("#") } else { json!({}) };
            let error = compiles(json!({*keyword: value, "type": "object"})).err().unwrap_or_default();
            assert!(error.contains("Unimplemented keys"), "{keyword}: {error}");
        }
    }
}
