//! Every endpoint takes the fields of its request type in `openai`, nested ones included, and no others.

use super::read;
use crate::fields::record;
use crate::valid::responses::flat;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Adds the names of a schema's fields, as errors spell them. Every item of an array is `[0]`.
fn schema_names(components: &Value, schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return schema_names(components, &components[name], path, into);
    }
    for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
        let name = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        // `tool_choice` is not read field by field, because it may be a word.
        if field != "tool_choice" {
            schema_names(components, inner, &name, into);
        }
        into.insert(name);
    }
    for inner in
        ["anyOf", "oneOf", "allOf"].iter().filter_map(|keyword| schema[*keyword].as_array()).flatten()
    {
        schema_names(components, inner, path, into);
    }
    if schema["items"].is_object() {
        schema_names(components, &schema["items"], &format!("{path}[0]"), into);
    }
}

/// The names that are asked for while bodies with every nested object are read.
fn taken_names(endpoint: &str, bodies: &[Value]) -> BTreeSet<String> {
    record::take();
    for body in bodies {
        read(endpoint, body, false).unwrap_or_else(|error| panic!("{body}: {error:?}"));
    }
    let one_index =
        |name: String| (1..9).fold(name, |name, index| name.replace(&format!("[{index}]"), "[0]"));
    let names = record::take().into_iter().map(one_index);
    match endpoint {
        // Tools are nested before they are read.
        "responses" => names.map(|name| flat(&name)).filter(|name| name != "tools[0]").collect(),
        _ => names.collect(),
    }
}

fn chat() -> Vec<Value> {
    let call = json!({"id": "c", "function": {"name": "f", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]);
    let schema = json!({"name": "s", "schema": {}});
    vec![
        json!({
            "model": "m", "messages": messages, "stream": true, "stream_options": {},
            "tools": [{"type": "function", "function": {"name": "f"}}],
        }),
        json!({
            "model": "m", "messages": messages,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }),
        json!({"model": "m", "messages": messages, "structured_outputs": {}}),
        json!({"model": "m", "messages": messages, "response_format": {"type": "json_object", "schema": {}}}),
    ]
}

fn completion() -> Vec<Value> {
    let schema = json!({"name": "s", "schema": {}});
    vec![
        json!({"model": "m", "prompt": "a", "stream": true, "stream_options": {}, "structured_outputs": {}}),
        json!({
            "model": "m", "prompt": "a",
            "response_format": {"type": "json_schema", "json_schema": schema},
        }),
        json!({"model": "m", "prompt": "a", "response_format": {"type": "json_object", "schema": {}}}),
    ]
}

fn responses() -> Vec<Value> {
    let part = json!([{"type": "input_text", "text": "a"}]);
    let input = json!([
        {"role": "user", "content": part},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": part},
        {"type": "reasoning"},
        {"type": "custom_tool_call", "call_id": "d", "name": "f", "input": "a"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": part},
        {"type": "local_shell_call", "call_id": "e", "action": {}},
        {"type": "web_search_call"},
    ]);
    vec![
        json!({
            "model": "m", "input": input, "stream": true, "stream_options": {},
            "tools": [{"type": "function", "name": "f"}],
            "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}},
        }),
        json!({"model": "m", "input": "a", "structured_outputs": {}, "reasoning": {}}),
    ]
}

#[test]
fn every_endpoint_takes_the_fields_of_its_type() {
    let components = Value::Object(openai::schema::components());
    let messages = chat()[0]["messages"].clone();
    let tools = chat()[0]["tools"].clone();
    let conversation = json!({"model": "m", "messages": messages, "tools": tools});
    let text = json!({"model": "m", "prompt": "a"});
    for (endpoint, name, bodies) in [
        ("chat", "ChatRequest", chat()),
        ("completion", "CompletionRequest", completion()),
        ("responses", "ResponseRequest", responses()),
        ("embeddings", "EmbeddingRequest", vec![json!({"model": "m", "input": "a"})]),
        ("tokenize", "TokenizeRequest", vec![text, conversation.clone()]),
        ("detokenize", "DetokenizeRequest", vec![json!({"model": "m", "tokens": []})]),
        ("template", "Conversation", vec![conversation]),
    ] {
        let mut described = BTreeSet::new();
        schema_names(&components, &components[name], "", &mut described);
        let taken = taken_names(endpoint, &bodies);
        let only_described: Vec<&String> = described.difference(&taken).collect();
        let only_taken: Vec<&String> = taken.difference(&described).collect();
        assert!(
            only_described.is_empty() && only_taken.is_empty(),
            "{endpoint}: only in the type {only_described:?}, only taken {only_taken:?}"
        );
    }
}

/// The rows of the documentation's table: field, endpoints, verdict.
fn documented() -> Vec<(String, String, String)> {
    let text = include_str!("../../../../docs/request-fields.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[3].to_owned(), cells[4].to_owned())
    };
    rows.map(row).collect()
}

#[test]
fn the_documentation_has_every_field() {
    use crate::valid::unsupported;
    let components = Value::Object(openai::schema::components());
    let rows = documented();
    let mut names = BTreeSet::new();
    for (endpoint, name) in [
        ("chat", "ChatRequest"),
        ("completions", "CompletionRequest"),
        ("responses", "ResponseRequest"),
        ("embeddings", "EmbeddingRequest"),
        ("tokenize", "TokenizeRequest"),
        ("detokenize", "DetokenizeRequest"),
    ] {
        let mut fields = BTreeSet::new();
        schema_names(&components, &components[name], "", &mut fields);
        for field in fields.into_iter().filter(|field| !field.contains(['.', '['])) {
            let (_, _, verdict) = rows.iter().find(|row| row.0 == field).unwrap_or_else(|| panic!("{field}"));
            assert_ne!(verdict, "refused", "{endpoint}: {field}");
            names.insert(field);
        }
    }
    let default_only: Vec<&str> = unsupported::unsupported().iter().map(|(field, ..)| *field).collect();
    let engine = unsupported::engine_defaults();
    for (field, endpoints, verdict) in &rows {
        let field = field.as_str();
        match verdict.as_str() {
            "honored" => assert!(names.contains(field), "{field}"),
            "ignored" => assert!(
                unsupported::ENGINE_IGNORED.contains(&field)
                    || unsupported::INFORMATION.contains(&field)
                    || field == "cache_prompt",
                "{field}"
            ),
            "default only" => {
                assert!(names.contains(field), "{field}");
                for endpoint in ["chat", "completion", "responses"] {
                    if endpoints.contains(endpoint) {
                        let body = super::with(endpoint, &json!({field: "no such value"}));
                        assert!(read(endpoint, &body, true).is_err(), "{endpoint}: {field}");
                    }
                }
            }
            "refused" => {
                for endpoint in ["chat", "completion", "responses"] {
                    let body = super::with(endpoint, &json!({field: {"a": 1}}));
                    let error = read(endpoint, &body, false).expect_err(field);
                    assert_eq!(error.param.as_deref(), Some(field));
                }
            }
            other => panic!("{field}: {other}"),
        }
    }
    for field in default_only.iter().chain(engine.iter().map(|(field, _)| field)) {
        assert!(rows.iter().any(|row| row.0 == *field && row.2 != "refused"), "{field}");
    }
}
