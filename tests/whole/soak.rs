//! `smolserve` for a long time: four clients, requests of every kind, a third of them cut off. Answers of the others are
//! what they are alone, and memory stays.
//!
//! It lasts 10 seconds by default; `SMOL_SOAK_SECONDS=3600` makes it an hour.

use crate::clients::{Served, long_stories};
use crate::serving::{memory, send, settle};
use serde_json::{Value, json};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Different requests; each is sent again and again.
const KINDS: usize = 60;
const CLIENTS: usize = 4;

/// A request of one of the kinds that clients send.
fn request(index: usize) -> (&'static str, Value) {
    let text = ["Once upon a time", "The dog", "One day Lily went to the park and saw a big tree"][index % 3];
    let messages = json!([{"role": "user", "content": text}]);
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "maximum": 99}, "b": {"enum": ["x", "y"]}},
        "required": ["a", "b"]});
    let tool = json!({"type": "function", "function": {"name": "look", "parameters": schema}});
    let (path, mut body) = match index % 10 {
        0 => ("/v1/completions", json!({"prompt": text})),
        1 => ("/v1/completions", json!({"prompt": [text, "A cat"], "n": 2, "echo": true, "logprobs": 2})),
        2 => ("/v1/chat/completions", json!({"messages": messages})),
        3 => (
            "/v1/chat/completions",
            json!({"messages": messages, "response_format":
            {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}),
        ),
        4 => (
            "/v1/chat/completions",
            json!({"messages": messages, "tools": [tool], "tool_choice": "required"}),
        ),
        5 => (
            "/v1/chat/completions",
            json!({"messages": messages, "logprobs": true, "top_logprobs": 3, "n": 3}),
        ),
        6 => ("/v1/embeddings", json!({"input": [text, "A cat"]})),
        7 => ("/tokenize", json!({"messages": messages})),
        8 => ("/v1/responses", json!({"input": text})),
        _ => ("/v1/completions", json!({"prompt": text.repeat(30), "guided_regex": "[a-z ]{5,40}"})),
    };
    if index % 10 != 6 && index % 10 != 7 {
        let limit = if path == "/v1/responses" { "max_output_tokens" } else { "max_tokens" };
        body[limit] = (20 + index % 40).into();
        body["seed"] = index.into();
        body["temperature"] = json!([0.0, 0.8, 1.0][index % 3]);
        body["stream"] = (index / 10).is_multiple_of(2).into();
    }
    (path, body)
}

/// Everything of a body that must not differ: without ids, times and what depends on the cache.
fn essence(body: &str) -> String {
    const VARIABLE: [&str; 9] = [
        "id",
        "created",
        "created_at",
        "completed_at",
        "usage",
        "item_id",
        "call_id",
        "system_fingerprint",
        "obfuscation",
    ];
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                VARIABLE.iter().for_each(|name| drop(map.remove(*name)));
                map.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let stripped = |text: &str| {
        let mut value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(value.get("error").is_none_or(Value::is_null), "{value}");
        strip(&mut value);
        value
    };
    let data: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    if data.is_empty() {
        return stripped(body).to_string();
    }
    // The choices of a stream come in any order, and tokens may come together.
    let mut texts = std::collections::BTreeMap::<String, String>::new();
    for event in data.into_iter().filter(|data| *data != "[DONE]") {
        gather(&stripped(event), "", &mut texts);
    }
    format!("{texts:?}")
}

/// Joins the texts of a stream by where they are.
fn gather(event: &Value, path: &str, texts: &mut std::collections::BTreeMap<String, String>) {
    match event {
        Value::Object(map) => {
            let index = map.get("index").and_then(Value::as_u64).map(|index| format!("[{index}]"));
            let path = format!("{path}{}", index.unwrap_or_default());
            for (name, value) in
                map.iter().filter(|(name, _)| !matches!(name.as_str(), "index" | "sequence_number"))
            {
                gather(value, &format!("{path}.{name}"), texts);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, path, texts)),
        Value::String(text)
            if path.ends_with("content") || path.ends_with("text") || path.ends_with("arguments") =>
        {
            texts.entry(path.to_owned()).or_default().push_str(text);
        }
        Value::String(text) if path.ends_with("finish_reason") => {
            drop(texts.insert(path.to_owned(), text.clone()));
        }
        _ => {}
    }
}

fn answer(address: &str, index: usize) -> String {
    let (path, body) = request(index);
    let mut text = String::new();
    send(address, path, Some(&body)).read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "request {index}: {text}");
    essence(body)
}

#[test]
fn a_long_time_changes_neither_answers_nor_memory() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    let seconds = std::env::var("SMOL_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    // Caches and stored responses that are full before memory is compared.
    let bounds = ["--cache-bytes", "8MiB", "--max-sequences", "8", "--responses-memory", "64KiB"];
    let served = Served::start(&model, &bounds);
    let (address, process) = (served.address.as_str(), served.child.id());
    let alone: Vec<String> = (0..KINDS).map(|index| answer(address, index)).collect();
    let (count, cut) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let run = |time: Duration| {
        let began = Instant::now();
        let client = || {
            while began.elapsed() < time {
                let number = count.fetch_add(1, Ordering::Relaxed);
                // Neighbors in time differ in everything.
                let index = number * 37 % KINDS;
                if number % 3 == 2 {
                    let (path, body) = request(index);
                    let mut stream = send(address, path, Some(&body));
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
                    let _ = stream.read(&mut vec![0; number * 31 % 500]);
                    cut.fetch_add(1, Ordering::Relaxed);
                } else {
                    assert_eq!(answer(address, index), alone[index], "request {index}");
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(client);
            }
        });
        settle(address);
    };
    // Until caches and allocators have what they need.
    run(Duration::from_secs(5).max(Duration::from_secs(seconds) / 20));
    let before = memory(process, "VmRSS");
    run(Duration::from_secs(seconds));
    let after = memory(process, "VmRSS");
    let (count, cut) = (count.into_inner(), cut.into_inner());
    println!(
        "{count} requests, {cut} of them cut off; {before} bytes resident at the start, {after} at the end"
    );
    assert!(after < before * 1.05 + 1e6, "{before} bytes resident at the start, {after} at the end");
}
