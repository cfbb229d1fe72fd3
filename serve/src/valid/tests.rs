//! Bad bodies and the parameter each is refused for, and generated bodies.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod field_names;

use super::{
    ChatRequest, CompletionRequest, DetokenizeRequest, EmbeddingRequest, ResponseRequest, TemplateRequest,
    TokenizeRequest,
};
use crate::endpoints::openapi;
use crate::error::ApiError;
use crate::fields::Fields;
use axum::http::StatusCode;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

type Read = fn(Fields, bool) -> Result<(), ApiError>;

const READERS: [(&str, Read); 7] = [
    ("chat", |fields, lenient| ChatRequest::new(fields, lenient).map(drop)),
    ("completion", |fields, lenient| CompletionRequest::new(fields, lenient).map(drop)),
    ("responses", |fields, lenient| ResponseRequest::new(fields, lenient).map(drop)),
    ("embeddings", |fields, lenient| EmbeddingRequest::new(fields, lenient).map(drop)),
    ("tokenize", |fields, lenient| TokenizeRequest::new(fields, lenient).map(drop)),
    ("detokenize", |fields, lenient| DetokenizeRequest::new(fields, lenient).map(drop)),
    ("template", |fields, lenient| TemplateRequest::new(fields, lenient).map(drop)),
];

/// The schemas of the readers' bodies in the API's description.
static SCHEMAS: LazyLock<Vec<Validator>> = LazyLock::new(|| {
    let document = openapi::document();
    let names = [
        "ChatRequest",
        "CompletionRequest",
        "ResponseRequest",
        "EmbeddingRequest",
        "TokenizeRequest",
        "DetokenizeRequest",
        "Conversation",
    ];
    let validator = |name: &str| {
        let reference = format!("#/components/schemas/{name}");
        jsonschema::validator_for(&json!({"$ref": reference, "components": document["components"]})).unwrap()
    };
    names.map(validator).into()
});

fn valid(endpoint: &str) -> Value {
    match endpoint {
        "chat" | "template" => json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
        "completion" | "tokenize" => json!({"model": "m", "prompt": "hi"}),
        "detokenize" => json!({"model": "m", "tokens": [1]}),
        _ => json!({"model": "m", "input": "hi"}),
    }
}

fn read(endpoint: &str, body: &Value, lenient: bool) -> Result<(), ApiError> {
    let (_, read) = READERS.iter().find(|(name, _)| *name == endpoint).unwrap();
    read(Fields::parse(body.to_string().as_bytes())?, lenient)
}

fn with(endpoint: &str, more: &Value) -> Value {
    let mut body = valid(endpoint);
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn bad_bodies_are_refused_by_name() {
    for (endpoint, more, param) in [
        ("chat", json!({"model": 3}), "model"),
        ("chat", json!({"messages": []}), "messages"),
        ("chat", json!({"messages": "hi"}), "messages"),
        ("chat", json!({"messages": [{"content": "hi"}]}), "messages[0].role"),
        ("chat", json!({"messages": [{"role": "god", "content": "hi"}]}), "messages[0].role"),
        ("chat", json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        ("chat", json!({"messages": [{"role": "user", "content": 1}]}), "messages[0].content"),
        ("chat", json!({"messages": [{"role": "tool", "content": "1"}]}), "messages[0].tool_call_id"),
        ("chat", json!({"messages": [{"role": "user", "content": "a", "mood": 1}]}), "messages[0].mood"),
        (
            "chat",
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
            "messages[0].content[0].type",
        ),
        (
            "chat",
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f"}}]}]}),
            "messages[0].tool_calls[0].function.arguments",
        ),
        ("chat", json!({"temperature": 2.5}), "temperature"),
        ("chat", json!({"temperature": "0"}), "temperature"),
        ("chat", json!({"top_p": -0.1}), "top_p"),
        ("chat", json!({"top_k": -2}), "top_k"),
        ("chat", json!({"min_p": 1.5}), "min_p"),
        ("chat", json!({"n": 0}), "n"),
        ("chat", json!({"n": 129}), "n"),
        ("chat", json!({"n": 1.5}), "n"),
        ("chat", json!({"max_tokens": 0}), "max_tokens"),
        ("chat", json!({"max_tokens": 18446744073709551615u64}), "max_tokens"),
        ("chat", json!({"max_tokens": 1, "max_completion_tokens": 2}), "max_tokens"),
        ("chat", json!({"presence_penalty": 3}), "presence_penalty"),
        ("chat", json!({"logit_bias": {"a": 1}}), "logit_bias"),
        ("chat", json!({"logit_bias": {"1": 101}}), "logit_bias.1"),
        ("chat", json!({"seed": 1.5}), "seed"),
        ("chat", json!({"stop": vec!["a"; 17]}), "stop"),
        ("chat", json!({"stop": "a".repeat(1025)}), "stop"),
        ("chat", json!({"repetition_penalty": 0.001}), "repetition_penalty"),
        (
            "chat",
            json!({"messages": [{"role": "assistant", "tool_calls": [
                {"id": "a", "mood": 1, "function": {"name": "f", "arguments": "{}"}}]}]}),
            "messages[0].tool_calls[0].mood",
        ),
        (
            "chat",
            json!({"messages": [{"role": "assistant", "tool_calls": [
                {"id": "a", "function": {"name": "f", "arguments": "{}", "mood": 1}}]}]}),
            "messages[0].tool_calls[0].function.mood",
        ),
        (
            "chat",
            json!({"tools": [{"type": "function", "mood": 1, "function": {"name": "f"}}]}),
            "tools[0].mood",
        ),
        (
            "chat",
            json!({"tools": [{"type": "function", "function": {"name": "f", "mood": 1}}]}),
            "tools[0].function.mood",
        ),
        ("responses", json!({"tools": [{"type": "function", "name": "f", "mood": 1}]}), "tools[0].mood"),
        (
            "chat",
            json!({"tools": vec![json!({"type": "function", "function": {"name": "f"}}); 129]}),
            "tools",
        ),
        (
            "chat",
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "guided_regex": "a"}),
            "guided_regex",
        ),
        ("chat", json!({"stream_options": {"include_usage": true}}), "stream_options"),
        ("chat", json!({"stream": true, "stream_options": {"x": 1}}), "stream_options.x"),
        ("chat", json!({"top_logprobs": 3}), "top_logprobs"),
        ("chat", json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
        ("chat", json!({"logprobs": 3}), "logprobs"),
        ("chat", json!({"response_format": {"type": "xml"}}), "response_format.type"),
        ("chat", json!({"response_format": {"type": "json_schema"}}), "response_format.json_schema"),
        (
            "chat",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}),
            "response_format.json_schema.schema",
        ),
        ("chat", json!({"response_format": {"type": "json_object"}, "guided_regex": "a"}), "guided_regex"),
        ("chat", json!({"guided_choice": []}), "guided_choice"),
        ("chat", json!({"structured_outputs": {"json": 3}}), "structured_outputs.json"),
        ("chat", json!({"store": "yes"}), "store"),
        ("chat", json!({"modalities": ["text", "audio"]}), "modalities"),
        ("chat", json!({"reasoning_effort": "a lot"}), "reasoning_effort"),
        ("chat", json!({"service_tier": "priority"}), "service_tier"),
        ("chat", json!({"functions": [{}]}), "functions"),
        ("completion", json!({"chat_template_kwargs": {"a": 1}}), "chat_template_kwargs"),
        ("chat", json!({"continue_final_message": true}), "continue_final_message"),
        ("chat", json!({"tempratur": 1}), "tempratur"),
        ("completion", json!({"prompt": null}), "prompt"),
        ("completion", json!({"prompt": []}), "prompt"),
        ("completion", json!({"prompt": [[]]}), "prompt[0]"),
        ("completion", json!({"prompt": [1, "a"]}), "prompt"),
        ("completion", json!({"prompt": ["a", 1]}), "prompt[1]"),
        ("completion", json!({"prompt": [-1]}), "prompt"),
        ("completion", json!({"max_tokens": 0}), "max_tokens"),
        ("completion", json!({"logprobs": 21}), "logprobs"),
        ("completion", json!({"suffix": "x"}), "suffix"),
        ("completion", json!({"best_of": 3}), "best_of"),
        ("completion", json!({"prompt": vec!["a"; 1000], "n": 128}), "n"),
        ("responses", json!({"input": []}), "input"),
        ("responses", json!({"input": [{"type": "computer_call"}]}), "input[0].type"),
        ("responses", json!({"previous_response_id": 1}), "previous_response_id"),
        ("responses", json!({"store": "yes"}), "store"),
        ("responses", json!({"conversation": "conv_1"}), "conversation"),
        (
            "responses",
            json!({"text": {"format": {"type": "json_schema", "name": "a"}}}),
            "text.format.schema",
        ),
        ("responses", json!({"include": ["file_search_call.results"]}), "include"),
        ("responses", json!({"max_output_tokens": 0}), "max_output_tokens"),
        ("embeddings", json!({"encoding_format": "int8"}), "encoding_format"),
        ("embeddings", json!({"dimensions": 0}), "dimensions"),
        ("tokenize", json!({"messages": []}), "messages"),
        ("tokenize", json!({"prompt": null, "add_special_tokens": true}), "add_special_tokens"),
        ("detokenize", json!({"tokens": ["a"]}), "tokens"),
        ("template", json!({"prompt": "a"}), "prompt"),
    ] {
        let error = read(endpoint, &with(endpoint, &more), false).expect_err(&more.to_string());
        assert_eq!(
            (error.status, error.param.as_deref()),
            (StatusCode::BAD_REQUEST, Some(param)),
            "{error:?}"
        );
        assert!(error.message.contains(param.rsplit('.').next().unwrap()), "{error:?}");
    }
}

#[test]
fn neutral_values_and_lenient_bodies_are_accepted() {
    for (endpoint, more) in [
        (
            "chat",
            json!({"store": false, "n": 1, "user": "me", "metadata": {"a": "b"}, "service_tier": "auto"}),
        ),
        (
            "chat",
            json!({"temperature": null, "tools": null, "stop": null, "modalities": ["text"], "top_k": -1}),
        ),
        ("chat", json!({"seed": -5, "max_tokens": 2.0, "response_format": {"type": "text"}})),
        (
            "chat",
            json!({"messages": [{"role": "assistant", "content": [{"type": "text", "text": "a"}],
            "refusal": null, "annotations": []}], "continue_final_message": true}),
        ),
        ("completion", json!({"prompt": [[1, 2], "a"], "echo": true, "max_tokens": 0, "best_of": 2, "n": 2})),
        (
            "responses",
            json!({"input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "id": "fc_1", "status": "completed"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
        ], "store": false, "truncation": "disabled", "text": {"format": {"type": "text"}}}),
        ),
    ] {
        read(endpoint, &with(endpoint, &more), false).unwrap_or_else(|error| panic!("{more}: {error:?}"));
    }
    let unknown = with("chat", &json!({"made_up": 1}));
    assert!(read("chat", &unknown, true).is_ok());
    // Lenient servers ignore unknown names, not wrong values.
    assert!(read("chat", &with("chat", &json!({"store": "yes"})), true).is_err());
    assert!(read("chat", &with("chat", &json!({"n": -1})), true).is_err());
}

#[test]
fn broken_json_and_repeated_names_are_refused() {
    for body in [&b""[..], b"{", b"[]", b"\xff", b"{\"a\":1,}", b"null", b"{\"a\":1e999}"] {
        let error = Fields::parse(body).unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
    }
    let half = Fields::parse(b"{\"a\":\"\\ud83d...\"}").unwrap_err();
    assert!(half.message.contains("half of a character"), "{}", half.message);
    assert_eq!(Fields::parse(b"{\"n\":1,\"n\":2}").unwrap_err().param.as_deref(), Some("n"));
    assert!(Fields::parse(b"{\"a\":{\"b\":1,\"b\":2}}").is_err());
    assert!(Fields::parse(&[b"[".repeat(100_000), b"]".repeat(100_000)].concat()).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3i64..40).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "text",
            "user",
            "assistant",
            "tool",
            "function",
            "json_schema",
            "auto",
            "required"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let names = prop_oneof![prop::sample::select(NAMES).prop_map(str::to_owned), "[a-z_é.]{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Names of fields on all levels.
const NAMES: &[&str] = &[
    "model",
    "messages",
    "prompt",
    "input",
    "role",
    "content",
    "type",
    "text",
    "name",
    "tool_calls",
    "tool_call_id",
    "id",
    "function",
    "arguments",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "min_tokens",
    "stop",
    "stop_token_ids",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "stream",
    "stream_options",
    "include_usage",
    "response_format",
    "json_schema",
    "schema",
    "strict",
    "guided_json",
    "guided_choice",
    "guided_regex",
    "guided_grammar",
    "structured_outputs",
    "json",
    "choice",
    "regex",
    "grammar",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "echo",
    "best_of",
    "suffix",
    "include",
    "instructions",
    "format",
    "metadata",
    "user",
    "store",
    "modalities",
    "ignore_eos",
    "continue_final_message",
    "add_generation_prompt",
    "chat_template_kwargs",
    "encoding_format",
    "dimensions",
    "call_id",
    "output",
    "status",
    "parameters",
    "description",
    "audio",
    "reasoning",
    "verbosity",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_body_is_refused_or_fits_the_description(
        endpoint in 0..READERS.len(),
        changes in prop::collection::vec((prop::sample::select(NAMES), any_json()), 0..5),
        lenient: bool,
    ) {
        let name = READERS[endpoint].0;
        let mut body = valid(name);
        body.as_object_mut().unwrap().extend(changes.into_iter().map(|(name, value)| (name.to_owned(), value)));
        match read(name, &body, lenient) {
            Err(error) => {
                prop_assert!(error.status.is_client_error(), "{:?}", error);
                prop_assert!(!error.message.is_empty());
            }
            Ok(()) if !lenient => prop_assert!(SCHEMAS[endpoint].is_valid(&body), "{name}: {body}"),
            Ok(()) => {}
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = Fields::parse(&bytes) {
            prop_assert_eq!(error.status, StatusCode::BAD_REQUEST);
        }
    }
}
