//! Every kind of answer fits its schema in the API's description.

use super::behavior::chat;
use super::client::{settings, start};
use super::scripted::{Script, model};
use crate::endpoints::openapi;
use serde_json::{Value, json};

/// Fails unless a body fits its schema in the API's description.
#[track_caller]
fn fits(name: &str, body: &Value) {
    let components = &openapi::document()["components"];
    let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": components});
    if let Err(error) = jsonschema::validate(&schema, body) {
        panic!("{name}: {error} at {}: {body}", error.instance_path());
    }
}

#[tokio::test]
async fn answers_fit_the_description() {
    let call = "<tool_call>[{\"name\": \"f\", \"arguments\": {}}]</tool_call>";
    let tokens = call.bytes().map(|byte| (u32::from(byte), char::from(byte).to_string())).collect();
    let caller =
        crate::model::Model { name: "c".to_owned(), ..model(Script { tokens, ..Script::default() }).0 };
    let server = start(settings(), Some(vec![model(Script::default()).0, caller])).await;
    let whole = async |path: &str, body: Value| server.post(path, &body).await.json();
    let chat_path = "/v1/chat/completions";
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let with_calls = chat(json!({"model": "c", "tools": [tool], "logprobs": true}));
    fits("ChatCompletion", &whole(chat_path, chat(json!({"logprobs": true, "top_logprobs": 1}))).await);
    fits("ChatCompletion", &whole(chat_path, with_calls.clone()).await);
    fits("Completion", &whole("/v1/completions", json!({"model": "m", "prompt": "a", "logprobs": 1})).await);
    fits("Response", &whole("/v1/responses", json!({"model": "m", "input": "a", "top_logprobs": 1})).await);
    fits("EmbeddingList", &whole("/v1/embeddings", json!({"model": "m", "input": "a"})).await);
    fits(
        "Tokens",
        &whole("/tokenize", json!({"model": "m", "prompt": "a", "return_token_strs": true})).await,
    );
    fits("Text", &whole("/detokenize", json!({"model": "m", "tokens": [97]})).await);
    fits("RenderedPrompt", &whole("/apply-template", chat(json!({}))).await);
    fits("ErrorBody", &whole("/v1/embeddings", json!({})).await);
    for (path, body) in [
        ("/v1/chat/completions/input_tokens", chat(json!({}))),
        ("/v1/responses/input_tokens", json!({"model": "m", "input": "a"})),
    ] {
        fits("InputTokens", &whole(path, body).await);
    }
    fits("TokenizerInfo", &server.get("/tokenizer_info").await.json());
    fits("ModelList", &server.get("/v1/models").await.json());
    fits("Model", &server.get("/v1/models/m").await.json());
    let flat = json!({"type": "function", "name": "f"});
    let options = json!({"include_usage": true});
    let mut streamed_call = with_calls;
    streamed_call["stream"] = true.into();
    for (name, path, body) in [
        ("ChatCompletionChunk", chat_path, chat(json!({"stream": true, "stream_options": options}))),
        ("ChatCompletionChunk", chat_path, streamed_call),
        (
            "Completion",
            "/v1/completions",
            json!({"model": "m", "prompt": "a", "stream": true, "stream_options": options}),
        ),
        (
            "ResponseEvent",
            "/v1/responses",
            json!({"model": "m", "input": "a", "stream": true, "top_logprobs": 1}),
        ),
        (
            "ResponseEvent",
            "/v1/responses",
            json!({"model": "c", "input": "a", "stream": true, "tools": [flat]}),
        ),
    ] {
        let events = server.post(path, &body).await.events();
        assert!(events.len() > 3, "{events:?}");
        for event in events.iter().filter(|event| *event != "[DONE]") {
            fits(name, &serde_json::from_str(event).unwrap());
        }
    }
}
