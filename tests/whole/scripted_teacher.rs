//! An OpenAI-shaped teacher whose replies follow from the request alone, so that a run against it can be
//! compared with another. It counts every request body it was sent.

use crate::local_http::{hash, serve};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running teacher; it stops with the process.
pub(crate) struct ScriptedTeacher {
    /// What `--teacher` takes.
    pub(crate) name: String,
    counts: Counts,
}

type Counts = Arc<Mutex<HashMap<String, usize>>>;

#[derive(Clone)]
struct Script {
    counts: Counts,
    delay: Duration,
    /// Whether some requests first get 429, 500 or garbage.
    faulty: bool,
}

impl ScriptedTeacher {
    pub(crate) fn start(delay: Duration, faulty: bool) -> Self {
        let counts = Counts::default();
        let script = Script { counts: counts.clone(), delay, faulty };
        let app = Router::new()
            .route("/v1/models", get(async || Json(json!({"data": [{"id": "scripted"}]}))))
            .route("/v1/chat/completions", post(answer))
            .route("/v1/completions", post(answer))
            .with_state(script);
        Self { name: format!("{}/v1#scripted", serve(app)), counts }
    }

    /// Requests, and how many of them repeated an earlier one.
    pub(crate) fn requests(&self) -> (usize, usize) {
        let counts = self.counts.lock().unwrap();
        let all: usize = counts.values().sum();
        (all, all - counts.len())
    }
}

async fn answer(State(script): State<Script>, Json(body): Json<Value>) -> Response {
    let text = body.to_string();
    let hash = hash(&text);
    let seen = {
        let mut counts = script.counts.lock().unwrap();
        let count = counts.entry(text).or_default();
        *count += 1;
        *count
    };
    tokio::time::sleep(script.delay).await;
    if script.faulty && seen == 1 {
        match hash % 11 {
            0 => {
                return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0.05")], "slow down")
                    .into_response();
            }
            1 => return (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
            2 => return "{\"choices\": [{\"mess".into_response(),
            3 => return Json(json!({"choices": []})).into_response(),
            _ => {}
        }
    }
    let reply = match (&body["prompt"], &body["response_format"]["json_schema"]["schema"]) {
        (Value::String(_), _) => Ok(user_turn(hash)),
        (_, Value::Null) => Ok(assistant_turn(&body, hash)),
        // One judge in thirteen forgets to answer in JSON.
        (_, _) if hash.is_multiple_of(13) => Ok("I think it is fine.".to_owned()),
        (_, schema) if schema["properties"]["instruction_ids"].is_object() && !hash.is_multiple_of(3) => {
            Ok(kept_instructions().to_string())
        }
        (_, schema) => Ok(instance(schema, hash).to_string()),
    };
    let refused = || json!({"error": {"message": "this prompt exceeds the maximum context length", "code": 400, "type": "invalid_request_error"}});
    match reply {
        Ok(_) if body["messages"].to_string().len() > 20_000 => {
            (StatusCode::BAD_REQUEST, Json(refused())).into_response()
        }
        Ok(text) => {
            let message = json!({"role": "assistant", "content": text});
            let choice = json!({"index": 0, "message": message, "text": text, "finish_reason": if hash.is_multiple_of(17) { "length" } else { "stop" }});
            let usage = json!({"prompt_tokens": 10, "completion_tokens": text.split(' ').count()});
            Json(json!({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}))
                .into_response()
        }
        Err(error) => error,
    }
}

const SUBJECTS: [&str; 10] =
    ["bridges", "rivers", "violins", "gardens", "planets", "markets", "engines", "poems", "maps", "bees"];
const PLACES: [&str; 10] = [
    "Norway",
    "the desert",
    "a small town",
    "Kyoto",
    "the coast",
    "Peru",
    "a harbour",
    "the Alps",
    "Cairo",
    "the moon",
];

fn user_turn(hash: u64) -> String {
    let word = |list: [&'static str; 10], shift: u32| list[(hash >> shift) as usize % 10];
    match hash % 23 {
        0 => "# A heading where a question should be".to_owned(),
        1 => String::new(),
        _ => format!(
            "Tell me in {} sentences how {} in {} changed between {} and {}, and why nobody in {} noticed.",
            hash % 7 + 2,
            word(SUBJECTS, 8),
            word(PLACES, 16),
            1500 + hash % 300,
            1850 + hash % 150,
            word(PLACES, 24)
        ),
    }
}

fn assistant_turn(body: &Value, hash: u64) -> String {
    let messages = body["messages"].as_array().unwrap();
    let question = messages.last().unwrap()["content"].as_str().unwrap();
    let first: String = question.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    if hash.is_multiple_of(19) {
        question.to_owned()
    } else {
        format!("In short: {first} ({}).", hash % 1000)
    }
}

/// Constraints that `assistant_turn` keeps unless it repeats the question.
fn kept_instructions() -> Value {
    json!({"instruction_ids": ["keywords:forbidden_words", "punctuation:no_comma"]})
}

/// A value that fits one of the project's own schemas.
fn instance(schema: &Value, hash: u64) -> Value {
    let pick = |values: &Vec<Value>| values[hash as usize % values.len()].clone();
    if let Some(values) = schema["enum"].as_array() {
        return pick(values);
    }
    match schema["type"].as_str().unwrap() {
        "object" => {
            let empty = serde_json::Map::new();
            let fields = schema["properties"].as_object().unwrap_or(&empty);
            fields
                .iter()
                .enumerate()
                .map(|(i, (name, field))| (name.clone(), instance(field, hash >> (i % 8 + 1))))
                .collect()
        }
        "array" => {
            let least = schema["minItems"].as_u64().unwrap_or(0);
            json!((0..least.max(hash % 2)).map(|_| instance(&schema["items"], hash >> 3)).collect::<Vec<_>>())
        }
        "integer" => {
            let least = schema["minimum"].as_u64().unwrap_or(0);
            let most = schema["maximum"].as_u64().unwrap_or(least + 3);
            json!(least + hash % (most - least + 1))
        }
        "string" if schema["pattern"].is_string() => json!("e"),
        "string" => json!("words"),
        other => panic!("the project's schemas have no {other}"),
    }
}
