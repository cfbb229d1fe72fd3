//! JSON schemas of the types, for an OpenAPI document.

use crate::chat::{ChatCompletion, ChatCompletionChunk, ChatRequest};
use crate::completion::{Completion, CompletionRequest};
use crate::embedding::{EmbeddingList, EmbeddingRequest};
use crate::error::ErrorBody;
use crate::model::{Model, ModelList};
use crate::response::Response;
use crate::response_event::ResponseEvent;
use crate::response_request::ResponseRequest;
use crate::tokenize::{
    Conversation, DetokenizeRequest, InputTokens, RenderedPrompt, Text, TokenizeRequest, TokenizerInfo,
    Tokens,
};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schemas of all bodies and of the types within them, by type name. They refer to each other as
/// `#/components/schemas/NAME`.
pub fn components() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings = settings.with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    macro_rules! add {
        ($($body:ty),* $(,)?) => { $( generator.subschema_for::<$body>(); )* };
    }
    add!(ChatRequest, ChatCompletion, ChatCompletionChunk, CompletionRequest, Completion);
    add!(ResponseRequest, Response, ResponseEvent, EmbeddingRequest, EmbeddingList, ModelList, Model);
    add!(
        TokenizeRequest,
        Tokens,
        DetokenizeRequest,
        Text,
        TokenizerInfo,
        Conversation,
        RenderedPrompt,
        InputTokens,
        ErrorBody
    );
    let mut components = generator.take_definitions(true);
    for name in REQUESTS {
        close(&mut components, name);
        let required = components.get_mut(name).and_then(|schema| schema.get_mut("required"));
        if let Some(required) = required.and_then(Value::as_array_mut) {
            // Without it, the first model answers.
            required.retain(|field| field != "model");
        }
    }
    components
}

/// The bodies of requests, whose unknown fields are refused.
const REQUESTS: [&str; 7] = [
    "ChatRequest",
    "CompletionRequest",
    "ResponseRequest",
    "EmbeddingRequest",
    "TokenizeRequest",
    "DetokenizeRequest",
    "Conversation",
];

/// States that a type and the types within it have no other fields; null is the absence of any.
fn close(components: &mut Map<String, Value>, name: &str) {
    let mut rest = vec![name.to_owned()];
    while let Some(name) = rest.pop() {
        let Some(schema) = components.get_mut(&name) else { continue };
        let is_closed = schema.get("additionalProperties").is_some();
        if schema.get("properties").is_some() && !is_closed {
            schema["additionalProperties"] = json!({"type": "null"});
            references(schema, &mut rest);
        } else if !is_closed {
            references(schema, &mut rest);
        }
    }
}

/// The names of the types that a schema refers to.
fn references(schema: &Value, into: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let target = fields.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
            into.extend(target.map(str::to_owned));
            fields.values().for_each(|inner| references(inner, into));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn requests_have_no_other_fields_and_need_no_model() {
        let components = components();
        for name in super::REQUESTS {
            let schema = &components[name];
            // One of several types has the fields of each.
            let is_closed = schema["additionalProperties"]["type"] == "null" || schema["anyOf"].is_array();
            assert!(is_closed, "{name}: {schema}");
            assert!(
                !schema["required"].as_array().is_some_and(|required| required.contains(&"model".into()))
            );
        }
        assert_eq!(components["Message"]["additionalProperties"]["type"], "null");
    }

    #[test]
    fn types_have_names_of_their_own() {
        let components = components();
        for name in ["ChatRequest", "CompletionRequest", "ResponseRequest", "EmbeddingRequest", "ErrorBody"] {
            assert!(components.contains_key(name), "{name}");
        }
        // The generator numbers types with the same name.
        for name in components.keys() {
            assert!(!name.ends_with(|last: char| last.is_ascii_digit()), "{name}");
        }
    }
}
