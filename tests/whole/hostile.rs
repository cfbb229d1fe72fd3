//! `smolserve` among requests that are made to end or starve it: ordinary clients beside them see no error and do not wait,
//! the process lives, and its memory returns.
//!
//! By default 60 hostile requests are sent over the small model; `SMOL_ALL_HOSTILE=1` sends 500, over the real model where
//! there is one.

use crate::clients::{Served, long_stories};
use crate::serving::{answer_text, memory, metric, send, settle};
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CHAT: &str = "/v1/chat/completions";
const ORDINARY_CLIENTS: usize = 8;
const HOSTILE_CLIENTS: usize = 12;
/// The number of kinds of hostile requests. It is odd, so that both grammars of a kind come up.
const KINDS: usize = 21;
/// Grammars whose every text has as many trees as there are ways to split it.
const AMBIGUOUS: &str = "start: e\ne: e e | \"a\" | /[a-z ]/";
const AMBIGUOUS_GBNF: &str = "root ::= e\ne ::= e e | \"a\" | [a-z ]";

/// What a hostile client does after it has sent its request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It reads the answer.
    Read,
    /// It hangs up after some milliseconds.
    Leave(u64),
    /// It holds the connection for some milliseconds and reads nothing.
    Stall(u64),
}

fn chat(more: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 16});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn user(content: &str) -> Value {
    chat(&json!({"messages": [{"role": "user", "content": content}]}))
}

fn schema(schema: &Value) -> Value {
    chat(&json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}))
}

/// A schema whose definitions refer to one another in a chain.
fn chain(length: usize) -> Value {
    let step = |index: usize| {
        let next =
            json!({"type": "object", "properties": {"a": {"$ref": format!("#/$defs/d{}", index + 1)}}});
        (format!("d{index}"), if index + 1 == length { json!({"type": "string"}) } else { next })
    };
    json!({"$ref": "#/$defs/d0", "$defs": (0..length).map(step).collect::<Map<_, _>>()})
}

fn lark(length: usize, name: &str) -> String {
    let rule = |index: usize| format!("{name}{index}: {name}{}\n", index + 1);
    let rules: String = (0..length).map(rule).collect();
    format!("start: {name}0\n{rules}{name}{length}: \"a\"\n")
}

/// The hostile request of a number: path, body, and what its client does.
fn hostile(index: usize) -> (&'static str, Value, Then) {
    use Then::{Leave, Read, Stall};
    let digits = |bytes: usize| "0123456789".repeat(bytes / 10);
    match index % KINDS {
        0 => (CHAT, schema(&chain(1000)), Read),
        1 => (CHAT, chat(&json!({"guided_grammar": lark(700, "r")})), Read),
        2 => (CHAT, chat(&json!({"guided_grammar": lark(1000, "T")})), Read),
        3 => (CHAT, chat(&json!({"guided_regex": "(ab|c)d?".repeat(12_500)})), Read),
        4 => {
            let choices: Vec<String> = (0..100_000).map(|index| format!("choice {index}")).collect();
            (CHAT, chat(&json!({"guided_choice": choices})), Read)
        }
        5 => (CHAT, user(&digits(4_000_000)), Read),
        6 => ("/tokenize", json!({"prompt": digits(4_000_000)}), Read),
        7 => (CHAT, user(&digits(300_000)), Leave(20)),
        8 => (CHAT, chat(&json!({"stream": true, "max_tokens": 2000, "ignore_eos": true})), Stall(3000)),
        9 => (CHAT, chat(&json!({"stop_token_ids": (0..500).collect::<Vec<u32>>()})), Read),
        10 => (CHAT, chat(&json!({"n": 128, "max_tokens": 500, "ignore_eos": true})), Leave(100)),
        11 => {
            let prompts = vec!["Once upon a time"; 2048];
            ("/v1/completions", json!({"prompt": prompts, "n": 4, "max_tokens": 300}), Leave(200))
        }
        12 => (CHAT, schema(&json!({"type": "string", "pattern": "(a{1,500}){1,500}"})), Read),
        13 => (CHAT, schema(&json!({"type": "array", "minItems": 100_000, "items": chain(50)})), Read),
        14 => {
            let deep = (0..100).fold(json!("x"), |inner, _| json!([inner]));
            (CHAT, chat(&json!({"chat_template_kwargs": {"documents": deep}, "tools": deep})), Read)
        }
        15 => {
            let messages: Vec<Value> = (0..20_000).map(|_| json!({"role": "user", "content": "a"})).collect();
            (CHAT, chat(&json!({"messages": messages})), Read)
        }
        16 => {
            let bias: Map<String, Value> = (0..100_000).map(|id| (id.to_string(), 1.into())).collect();
            (CHAT, chat(&json!({"logit_bias": bias})), Read)
        }
        17 => ("/v1/embeddings", json!({"input": vec!["word ".repeat(600); 500]}), Leave(100)),
        18 => {
            let tool = |index: usize| json!({"type": "function", "function": {"name": format!("f{index}"), "parameters": chain(40)}});
            let tools: Vec<Value> = (0..128).map(tool).collect();
            (CHAT, chat(&json!({"tools": tools, "tool_choice": "required"})), Read)
        }
        19 => {
            let grammar = if index.is_multiple_of(2) { AMBIGUOUS } else { AMBIGUOUS_GBNF };
            let name = if index.is_multiple_of(2) { "guided_grammar" } else { "grammar" };
            (CHAT, chat(&json!({name: grammar, "max_tokens": 3000})), Leave(3000))
        }
        _ => (CHAT, json!({"messages": "[".repeat(100_000), "max_tokens": -7}), Read),
    }
}

/// Sends a hostile request. Whatever the server answers is fine; a connection that is refused is not.
fn attack(address: &str, index: usize) {
    let (path, body, then) = hostile(index);
    let host = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).expect("the server lives");
    let _ = stream.set_write_timeout(Some(Duration::from_secs(60)));
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let sent = stream.write_all((head + &body).as_bytes());
    match then {
        Then::Leave(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        Then::Stall(milliseconds) => std::thread::sleep(Duration::from_millis(milliseconds)),
        Then::Read if sent.is_ok() => {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(400)));
            let mut reply = Vec::new();
            let began = Instant::now();
            let read = stream.read_to_end(&mut reply);
            let head = String::from_utf8_lossy(&reply[..reply.len().min(12)]).into_owned();
            assert!(
                read.is_ok() && head.starts_with("HTTP/1.1 ") && !head.starts_with("HTTP/1.1 500"),
                "kind {}: {read:?} {head:?} after {:?}",
                index % KINDS,
                began.elapsed()
            );
        }
        Then::Read => {}
    }
}

/// An ordinary request of a client.
fn ordinary(client: usize, index: usize) -> (&'static str, Value) {
    let text = ["Once upon a time", "The dog ran to", "Tell me a story of a cat"][(client + index) % 3];
    let common =
        json!({"max_tokens": 24, "seed": client, "temperature": 0.7, "stream": index.is_multiple_of(2)});
    let mut body = common;
    if client.is_multiple_of(2) {
        body["messages"] = json!([{"role": "user", "content": text}]);
        return (CHAT, body);
    }
    body["prompt"] = text.into();
    ("/v1/completions", body)
}

/// Answers ordinary requests until `is_over`, at least `least` of each client. Returns the times of all requests.
fn ordinary_clients(address: &str, least: usize, is_over: &(dyn Fn() -> bool + Sync)) -> Vec<Duration> {
    let times = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for client in 0..ORDINARY_CLIENTS {
            let times = &times;
            scope.spawn(move || {
                for index in 0.. {
                    if index >= least && is_over() {
                        return;
                    }
                    let (path, body) = ordinary(client, index);
                    let began = Instant::now();
                    let answer = answer_text(send(address, path, Some(&body)));
                    assert!(!answer.is_empty(), "an ordinary client got no text");
                    times.lock().unwrap().push(began.elapsed());
                }
            });
        }
    });
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    times
}

#[test]
fn ordinary_clients_do_not_notice_hostile_ones() {
    let is_whole = std::env::var("SMOL_ALL_HOSTILE").as_deref() == Ok("1");
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = tests::real_model().filter(|_| is_whole).or_else(|| long_stories(folder.path())) else {
        return;
    };
    let requests = if is_whole { 500 } else { 60 };
    let served = Served::start(&model, &["--cache-bytes", "256MiB"]);
    let (address, process) = (served.address.as_str(), served.child.id());
    ordinary_clients(address, 2, &|| true);
    let alone = ordinary_clients(address, 10, &|| true);
    settle(address);
    // Keys and values that are kept for later prompts are bounded by an option.
    let resident = || memory(process, "VmRSS") - metric(address, "reusable_bytes");
    let before = resident();
    let (next, left) = (AtomicUsize::new(0), AtomicUsize::new(HOSTILE_CLIENTS));
    let has_failed = AtomicBool::new(false);
    let began = Instant::now();
    let beside = std::thread::scope(|scope| {
        for _ in 0..HOSTILE_CLIENTS {
            scope.spawn(|| {
                let attacks = std::panic::catch_unwind(|| {
                    while let Some(index) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < requests)
                    {
                        attack(address, index);
                    }
                });
                has_failed.fetch_or(attacks.is_err(), Ordering::Relaxed);
                left.fetch_sub(1, Ordering::Relaxed);
            });
        }
        ordinary_clients(address, 10, &|| left.load(Ordering::Relaxed) == 0)
    });
    let took = began.elapsed();
    assert!(!has_failed.load(Ordering::Relaxed), "a hostile request was not answered as it should be");
    settle(address);
    // The allocator's pages are given back once a second.
    std::thread::sleep(Duration::from_secs(3));
    let after = resident();
    let shown = |times: &[Duration]| {
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let [half, most, nearly_all, all] = [0.5, 0.9, 0.99, 1.0].map(at);
        format!(
            "{} requests, median {half:?}, p90 {most:?}, p99 {nearly_all:?}, longest {all:?}",
            times.len()
        )
    };
    println!("{requests} hostile requests in {took:?}");
    println!("ordinary clients alone: {}", shown(&alone));
    println!("beside hostile ones:    {}", shown(&beside));
    println!("{before} bytes resident before, {after} after, {} at the most", memory(process, "VmHWM"));
    // One of a hundred may meet what else the machine does.
    for share in [0.5, 0.9, 0.99] {
        let at = |times: &[Duration]| times[((times.len() - 1) as f64 * share) as usize];
        let (alone, beside) = (at(&alone), at(&beside));
        assert!(beside < alone * 2 + Duration::from_millis(50), "{share}: {beside:?} beside {alone:?} alone");
    }
    assert!(after < before + 64e6, "{before} bytes resident before, {after} after");
}
