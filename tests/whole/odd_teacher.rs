//! An OpenAI-shaped teacher that answers in every way that public endpoints were reported to: thoughts in and beside the
//! text, fences, parts, streams, odd counts; and that fails in every way: half answers under many names, errors with status
//! 200, portals, refused parameters. It counts what it bills.
//!
//! A whole answer ends with [`END`], half of one has none; what it refuses for good follows from the prompt alone.

use crate::local_http::{hash, serve};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// What a whole text ends with.
pub(crate) const END: &str = "(end)";

/// How a teacher behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Every shape and every fault, mixed.
    Mixed,
    /// Answers without a fault; of chats alone, and with thoughts beside the text.
    ChatOnly,
    /// As `ChatOnly`, but JSON schemas are refused until [`OddTeacher::mend`].
    RefusesSchemas,
    /// All its tokens are thoughts.
    OnlyThinks,
}

/// A running teacher; it stops with the process.
pub(crate) struct OddTeacher {
    /// What `--teacher` takes.
    pub(crate) name: String,
    state: Shared,
}

type Shared = Arc<Mutex<Account>>;

/// What the teacher has done.
#[derive(Default)]
struct Account {
    is_mended: bool,
    /// How often each body came.
    seen: HashMap<String, usize>,
    /// Tokens of answers that were counted, or that a client can estimate.
    counted: u64,
    /// The worst case of answers that nobody can read.
    uncertain: u64,
    /// How often each kind of answer was given.
    kinds: HashMap<&'static str, usize>,
}

impl OddTeacher {
    pub(crate) fn start(manner: Manner) -> Self {
        let state = Shared::default();
        let app = Router::new()
            .route("/v1/models", get(async || "{\"data\": []}"))
            .route("/v1/chat/completions", post(answer))
            .with_state((Arc::clone(&state), manner));
        Self { name: format!("{}/v1#odd", serve(app)), state }
    }

    /// Takes from now on what it refused.
    pub(crate) fn mend(&self) {
        self.state.lock().unwrap().is_mended = true;
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.lock().unwrap().seen.values().sum()
    }

    /// The tokens of all answers that it bills: those that were counted, and the worst case of the others.
    pub(crate) fn billed(&self) -> (u64, u64) {
        let account = self.state.lock().unwrap();
        (account.counted, account.uncertain)
    }

    /// The number of kinds of answers that were given.
    pub(crate) fn kinds(&self) -> usize {
        self.state.lock().unwrap().kinds.len()
    }
}

async fn answer(State((shared, manner)): State<(Shared, Manner)>, bytes: String) -> Response {
    let body: Value = serde_json::from_str(&bytes).unwrap();
    let mut account = shared.lock().unwrap();
    let count = account.seen.entry(bytes.clone()).or_default();
    *count += 1;
    let (seen, hash) = (*count, hash(&bytes));
    let hash = hash ^ (hash >> 29);
    let format = &body["response_format"];
    if manner == Manner::RefusesSchemas && !account.is_mended && format.is_object() {
        return refused(400, "This is not available for your account");
    }
    if manner != Manner::Mixed {
        let (text, finish) = match manner {
            Manner::OnlyThinks => (String::new(), "length"),
            _ => (whole_text(&body, hash), "stop"),
        };
        let message = json!({"content": text, "reasoning_content": "Hm, let me think."});
        return body_of(&message, finish, &json!({"prompt_tokens": 50, "completion_tokens": 30}));
    }
    if let Some(response) = refused_parameter(&body) {
        return response;
    }
    if prompt(&body).contains("flagged") {
        return refused(400, "your prompt was flagged as unsafe");
    }
    // The first answer to one body in three is a fault; the second one is an answer in some shape.
    if seen == 1 && (hash >> 40).is_multiple_of(3) {
        return fault(&mut account, &body, &bytes, hash);
    }
    shaped(&mut account, &body, hash)
}

fn prompt(body: &Value) -> &str {
    body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
}

fn refused(status: u16, message: &str) -> Response {
    let body = json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

/// As the newest models refuse what older ones took.
fn refused_parameter(body: &Value) -> Option<Response> {
    let schema = body["response_format"].to_string();
    let message = if body.get("max_tokens").is_some() {
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    } else if body.get("seed").is_some() {
        "Invalid JSON payload received. Unknown name \"seed\": Cannot find field."
    } else if ["minLength", "maxLength", "minimum", "minItems"].iter().any(|word| schema.contains(word)) {
        "Invalid schema for response_format 'answer': In context=(), 'minLength' is not permitted."
    } else {
        return None;
    };
    Some(refused(400, message))
}

/// The text of a whole answer: JSON where a schema is sent.
fn whole_text(body: &Value, hash: u64) -> String {
    match &body["response_format"]["json_schema"]["schema"] {
        Value::Null => {
            format!("Answer {} to {} words {END}", hash % 100_000, prompt(body).split(' ').count())
        }
        schema => instance(schema, hash).to_string(),
    }
}

/// A value that fits a schema of the recipes, without its limits.
fn instance(schema: &Value, hash: u64) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values[hash as usize % values.len()].clone();
    }
    match schema["type"].as_str().unwrap() {
        "object" => {
            let fields = schema["properties"].as_object().unwrap().iter();
            fields.map(|(name, field)| (name.clone(), instance(field, hash >> 1))).collect()
        }
        "integer" => json!(5),
        "array" => json!([]),
        "boolean" => json!(hash.is_multiple_of(2)),
        _ => json!(format!("{}{} {END}", "many words ".repeat(8), hash % 100_000)),
    }
}

fn body_of(message: &Value, finish: &str, usage: &Value) -> Response {
    let choice = json!({"index": 0, "message": message, "finish_reason": finish, "logprobs": null});
    json!({"id": "x", "choices": [choice], "usage": usage}).to_string().into_response()
}

/// What cannot be kept.
fn fault(account: &mut Account, body: &Value, bytes: &str, hash: u64) -> Response {
    let text = whole_text(body, hash);
    let half = &text[..text.len() / 2];
    let usage = json!({"prompt_tokens": 50, "completion_tokens": 30});
    let kind = (hash >> 8) as usize % FAULTS.len();
    *account.kinds.entry(FAULTS[kind]).or_default() += 1;
    match FAULTS[kind] {
        "429" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after-ms", "50")], "slow down").into_response(),
        "500" => (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
        "503" => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0.05")], "later").into_response(),
        "error with 200" => {
            json!({"error": {"message": "Provider returned error", "code": 502}}).to_string().into_response()
        }
        "error in the choice" => {
            let error = json!({"code": 502, "message": "Upstream error"});
            let choice = json!({"finish_reason": "error", "error": error, "message": {"content": half}});
            json!({"choices": [choice]}).to_string().into_response()
        }
        "page" | "half a body" | "no choices" | "broken stream" => {
            let most = body["max_completion_tokens"].as_u64().unwrap();
            account.uncertain += bytes.len() as u64 + most;
            match FAULTS[kind] {
                "page" => "<!DOCTYPE html><html>Sign in</html>".to_owned(),
                "half a body" => "{\"choices\": [{\"mess".to_owned(),
                "no choices" => "{\"choices\": []}".to_owned(),
                _ => format!("data: {}\n\n", json!({"choices": [{"delta": {"content": half}}]})),
            }
            .into_response()
        }
        finish => {
            account.counted += 80;
            let content = if finish == "content_filter" { "" } else { half };
            body_of(&json!({"content": content}), finish, &usage)
        }
    }
}

/// Faults by name; those that are no other thing are finish reasons.
const FAULTS: [&str; 17] = [
    "429",
    "500",
    "503",
    "error with 200",
    "error in the choice",
    "page",
    "half a body",
    "no choices",
    "broken stream",
    "length",
    "max_tokens",
    "MAX_TOKENS",
    "model_length",
    "insufficient_system_resource",
    "error",
    "content_filter",
    "tool_calls",
];

/// Shapes of whole answers.
const SHAPES: [&str; 18] = [
    "plain",
    "fence",
    "think",
    "think without opening",
    "empty think",
    "reasoning",
    "parts",
    "thinking parts",
    "special token",
    "stream",
    "mark",
    "comments",
    "gzip",
    "NaN",
    "surrogate",
    "floats",
    "no count",
    "thoughts in the sum",
];

/// A whole answer in some shape.
fn shaped(account: &mut Account, body: &Value, hash: u64) -> Response {
    let text = whole_text(body, hash);
    let is_json = body["response_format"].is_object();
    let shape = SHAPES[(hash >> 16) as usize % SHAPES.len()];
    *account.kinds.entry(shape).or_default() += 1;
    let (mut usage, mut billed) =
        (json!({"prompt_tokens": 50, "completion_tokens": 30, "total_tokens": 80}), 80);
    let part = |text: &str| json!({"type": "text", "text": text});
    let message = match shape {
        "fence" if is_json => {
            json!({"content": format!("Here is the JSON you asked for:\n```json\n{text}\n```")})
        }
        "think" => json!({"content": format!("<think>\nHm, half a\n</think>\n\n{text}")}),
        "think without opening" => json!({"content": format!("Hm, half a\n</think>\n\n{text}")}),
        "empty think" => json!({"content": format!("<think>\n\n</think>\n\n{text}")}),
        "reasoning" => json!({"content": text, "reasoning": "Hm, half a"}),
        "parts" => json!({"content": [part(&text)]}),
        "thinking parts" => {
            json!({"content": [{"type": "thinking", "thinking": [part("Hm, half a")]}, part(&text)]})
        }
        "special token" => json!({"content": format!("{text}<|im_end|>")}),
        _ => json!({"content": text}),
    };
    match shape {
        "floats" => usage = json!({"prompt_tokens": 50.0, "completion_tokens": "30", "total_tokens": null}),
        "no count" => {
            usage = json!({"prompt_tokens": 50, "completion_tokens": null});
            billed = 50 + (text.len() as u64).div_ceil(4);
        }
        "thoughts in the sum" => {
            usage = json!({"prompt_tokens": 50, "completion_tokens": 30, "total_tokens": 200});
            billed = 200;
        }
        _ => {}
    }
    account.counted += billed;
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop", "logprobs": null});
    let whole = json!({"id": "x", "choices": [choice], "usage": usage}).to_string();
    match shape {
        "stream" => {
            let event = |content: &str, finish: Value| {
                format!(
                    "data: {}\n\n",
                    json!({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]})
                )
            };
            let (first, second) = text.split_at(text.len() / 2);
            let last = format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [], "usage": usage}));
            (event(first, Value::Null) + &event(second, json!("stop")) + &last).into_response()
        }
        "mark" => format!("\u{feff}{whole}").into_response(),
        "comments" => format!(": PROCESSING\n\n: PROCESSING\n\n{whole}").into_response(),
        "gzip" => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(whole.as_bytes()).unwrap();
            ([("content-encoding", "gzip")], packed.finish().unwrap()).into_response()
        }
        "NaN" => whole.replace("\"logprobs\":null", "\"logprobs\":NaN").into_response(),
        "surrogate" if !is_json => whole.replace("Answer", "Answer \\ud83d").into_response(),
        _ => whole.into_response(),
    }
}
