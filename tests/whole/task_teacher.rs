//! An OpenAI-shaped teacher for the newer tasks. A step is known by the schema it is asked under; how a row fares
//! follows from the first thing the teacher writes for it, which later steps find in their prompts again: the second
//! try of a step is as bad as the first one.

use crate::local_http::{hash, serve};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A running teacher; it stops with the process.
pub(crate) struct Teacher {
    /// What `--teacher` takes.
    pub(crate) name: String,
    asked: Arc<AtomicUsize>,
}

impl Teacher {
    pub(crate) fn start(model: &str) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let app = Router::new()
            .route("/v1/models", get(async || Json(json!({"data": []}))))
            .route("/v1/chat/completions", post(answer))
            .route("/v1/completions", post(answer))
            .with_state(asked.clone());
        Self { name: format!("{}/v1#{model}", serve(app)), asked }
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn answer(State(asked): State<Arc<AtomicUsize>>, Json(body): Json<Value>) -> Response {
    asked.fetch_add(1, Ordering::Relaxed);
    let hash = hash(&body.to_string());
    let hash = hash ^ (hash >> 29);
    let text = match (&body["prompt"], &body["response_format"]["json_schema"]["schema"]) {
        (Value::String(_), _) if body["model"] == "flawed" && hash.is_multiple_of(2) => {
            format!("{GUIDE} Where is the bridge?")
        }
        (Value::String(prompt), _) => user_turn(prompt, hash),
        (_, Value::Null) => reply(&body, hash),
        (_, schema) => judgement(&body, &schema["properties"], hash).to_string(),
    };
    let choice = json!({
        "index": 0, "message": {"role": "assistant", "content": text}, "text": text, "finish_reason": "stop"
    });
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 5});
    Json(json!({"choices": [choice], "usage": usage})).into_response()
}

/// The system prompt that the model "flawed" writes, and repeats as the user in every second turn.
pub(crate) const GUIDE: &str = "You are a guide who says please in every single answer.";

const THINGS: [&str; 12] = [
    "bridges", "rivers", "violins", "gardens", "planets", "markets", "engines", "poems", "maps", "bees",
    "clocks", "kites",
];
const PLACES: [&str; 12] = [
    "Norway",
    "a desert",
    "a small town",
    "Kyoto",
    "the coast",
    "Peru",
    "a harbour",
    "the Alps",
    "Cairo",
    "the moon",
    "a valley",
    "Ghent",
];

fn subject(hash: u64) -> String {
    let word = |list: [&'static str; 12], shift: u32| list[(hash >> shift) as usize % 12];
    format!("{} and {} of {}, {}", word(THINGS, 7), word(THINGS, 17), word(PLACES, 27), hash % 100_000)
}

/// The first turn of an everyday chat is a greeting, of one row in five none.
fn user_turn(prompt: &str, hash: u64) -> String {
    let first = !prompt.contains("<|im_start|>assistant");
    if first && prompt.contains("plain greeting") {
        // As the topic decides, so that a second try fares no better.
        return if prompt.len().is_multiple_of(5) { "Tell me more." } else { "Good morning!" }.to_owned();
    }
    format!("What about the {}?", subject(hash))
}

fn reply(body: &Value, hash: u64) -> String {
    let messages = body["messages"].as_array().unwrap();
    let last = messages.last().unwrap()["content"].as_str().unwrap();
    let said = body["messages"].to_string();
    if last.contains("None of the functions can do this") {
        return match last.contains("(calls anyway)") {
            true => "<tool_call>[{\"name\": \"find\", \"arguments\": {}}]</tool_call>".to_owned(),
            false => "I cannot do that with what I have.".to_owned(),
        };
    }
    if messages[0]["role"] == "system" && said.contains("chatter") {
        return "word ".repeat(100);
    }
    if messages[0]["role"] == "system" && said.contains("Always say please") {
        // One system prompt in three is not kept to.
        return if said.contains("case 0") { "No." } else { "Yes, please." }.to_owned();
    }
    if body["model"] == "steady" {
        return "Good answer.".to_owned();
    }
    if said.contains("\"model\":\"poor\"") || body["model"] == "poor" {
        return format!("Bad answer {}.", hash % 7);
    }
    match last.len() % 4 {
        // All completions are alike to the judge: a tie.
        0 => format!("Even answer {}.", hash % 7),
        _ if hash.is_multiple_of(2) => format!("Good answer {}.", hash % 7),
        _ => format!("Fair answer {}.", hash % 7),
    }
}

/// JSON by the step's first field.
fn judgement(body: &Value, fields: &Value, hash: u64) -> Value {
    let question = body["messages"][0]["content"].as_str().unwrap();
    let step = fields.as_object().unwrap().keys().next().unwrap().as_str();
    match step {
        "tools" => tools(hash, fields["tools"]["minItems"].as_u64().unwrap()),
        "query" => json!({"query": format!("Find the {} {}.", subject(hash), fault(question, hash))}),
        "calls" => calls(question),
        "system_prompt" if body["model"] == "flawed" => {
            // Every second one has a placeholder, or fills the schema's limit inside a word.
            let text = match hash % 4 {
                0 => format!("{GUIDE} You work for [company_name]."),
                1 => format!("{GUIDE} {}", "You are kind and never tired ".repeat(99))[..1500].to_owned(),
                _ => format!("{GUIDE} Number {}.", hash % 100_000),
            };
            json!({"system_prompt": text})
        }
        "system_prompt" => {
            let rules = question.split("- ").nth(1).unwrap().lines().next().unwrap();
            json!({"system_prompt": format!("You are case {}. Always say please. {rules}.", hash % 3)})
        }
        "explanation" => match question.contains("\nNo.\n") {
            true => json!({"explanation": "It never says please.", "adherence": 2}),
            false => json!({"explanation": "It says please.", "adherence": 5}),
        },
        "instruction_following" => {
            let good = |word: &str| question.contains(word);
            let ratings = match (good("Good answer"), good("Fair answer"), good("Bad answer")) {
                (true, _, _) => [4, 4, 5, 5],
                (_, true, _) => [3, 4, 4, 3],
                (_, _, true) => [1, 1, 2, 1],
                _ => [3, 3, 3, 3],
            };
            let names = ["instruction_following", "truthfulness", "honesty", "helpfulness"];
            let rating = |(name, rating): (&str, i32)| {
                (name.to_owned(), json!({"reason": "It is so.", "rating": rating}))
            };
            names.into_iter().zip(ratings).map(rating).collect()
        }
        other => panic!("a step under a schema that begins with {other}"),
    }
}

fn tools(hash: u64, count: u64) -> Value {
    let tool = |index: u64| {
        // One list in nine has a name twice.
        let name = if hash.is_multiple_of(9) { "find".to_owned() } else { format!("find_{index}") };
        let parameter = |name: &str, kind: &str, required: bool| json!({"name": name, "type": kind, "description": "What to find.", "required": required, "choices": []});
        json!({
            "name": name, "description": "Finds things.",
            "parameters": [parameter("what", "string", true), parameter("most", "integer", false)]
        })
    };
    json!({"tools": (0..count).map(tool).collect::<Vec<_>>()})
}

/// What the calls of a request will do wrong, told in the request.
fn fault(question: &str, hash: u64) -> String {
    let faults = [
        "(unknown tool)",
        "(missing argument)",
        "(unknown argument)",
        "(wrong argument)",
        "(other number)",
        "(no list)",
        "(no call)",
        "",
        "",
        "",
        "",
        "",
    ];
    if question.contains("none of the functions can do it") {
        return ["(none)", "(none)", "(none) (calls anyway)", "(one)"][(hash >> 40) as usize % 4].to_owned();
    }
    let need = if question.contains("two to four calls") { "(several)" } else { "(one)" };
    format!("{need} {}", faults[(hash >> 40) as usize % faults.len()])
}

fn calls(question: &str) -> Value {
    let call = |arguments: Value| json!({"name": "find_0", "arguments": arguments});
    let good = || call(json!({"what": "bridges", "most": null}));
    let list = match question {
        _ if question.contains("(unknown tool)") => vec![json!({"name": "search", "arguments": {}})],
        _ if question.contains("(missing argument)") => vec![call(json!({"most": 3}))],
        _ if question.contains("(unknown argument)") => vec![call(json!({"what": "a", "where": "b"}))],
        _ if question.contains("(wrong argument)") => vec![call(json!({"what": "a", "most": "3"}))],
        _ if question.contains("(no list)") => return json!("find_0('bridges')"),
        _ if question.contains("(none)") || question.contains("(no call)") => vec![],
        _ if question.contains("(several)") == question.contains("(other number)") => vec![good()],
        _ => vec![good(), call(json!({"what": "kites", "most": 2}))],
    };
    json!({"calls": list})
}
