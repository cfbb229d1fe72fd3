//! `smolserve` among clients that behave badly: answers of the others stay what they are alone, and what the
//! bad ones held is given back.

use crate::clients::{Served, long_stories};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const REQUESTS: usize = 200;

/// Sends a request on a connection of its own.
fn send(address: &str, path: &str, body: Option<&Value>) -> TcpStream {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream
}

/// The whole reply, without what is new in each.
fn reply(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    said(body)
}

/// What was said in a body, streamed (and chunked) or whole.
fn said(body: &str) -> String {
    let choice = |value: &Value| {
        let choice = &value["choices"][0];
        let text = ["/message/content", "/delta/content", "/text"]
            .iter()
            .find_map(|path| choice.pointer(path)?.as_str());
        text.unwrap_or_default().to_owned()
    };
    if let Ok(whole) = serde_json::from_str::<Value>(body) {
        assert!(whole.get("error").is_none(), "{whole}");
        return choice(&whole);
    }
    let events = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let chunks = events.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap());
    chunks.map(|chunk: Value| choice(&chunk)).collect()
}

/// A request that differs from its neighbours in everything it may.
fn request(index: usize) -> (&'static str, Value) {
    let common = json!({"model": "stories", "max_tokens": 20 + index % 50, "seed": index, "stream": index.is_multiple_of(2), "top_p": 0.95});
    let mut body = common;
    body["temperature"] = json!([0.0, 0.8, 1.0][index % 3]);
    let beginnings =
        ["Once upon a time", "The dog", "One day, a girl named Lily went to the park and saw a big tree"];
    let text = beginnings[index % 3];
    if index.is_multiple_of(4) {
        body["prompt"] = json!(text);
        ("/v1/completions", body)
    } else {
        body["messages"] = json!([{"role": "user", "content": text}]);
        ("/v1/chat/completions", body)
    }
}

fn metric(address: &str, name: &str) -> f64 {
    let mut text = String::new();
    send(address, "/metrics", None).read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("smolserve_{name}"))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Resident bytes of a process.
fn resident(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// All requests at once over sixteen clients; a third hang up after some bytes, some read slowly. Gives the
/// answers of those that stayed.
fn storm(address: &str) -> Vec<Option<String>> {
    let (next, answers) = (AtomicUsize::new(0), std::sync::Mutex::new(vec![None; REQUESTS]));
    let client = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= REQUESTS {
                return;
            }
            let (path, body) = request(index);
            let mut stream = send(address, path, Some(&body));
            if index % 3 == 2 {
                // From before the first byte to the middle of the answer.
                let mut few = vec![0; index * 37 % 400];
                let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
                let _ = stream.read(&mut few);
                continue;
            }
            if index.is_multiple_of(10) {
                std::thread::sleep(Duration::from_millis(150));
            }
            let answer = reply(stream);
            answers.lock().unwrap()[index] = Some(answer);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(client);
        }
    });
    answers.into_inner().unwrap()
}

#[test]
fn clients_that_hang_up_cost_the_others_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    // A small cache, so that answers are paused and kept blocks are let go.
    let served = Served::start(&model, &["--cache-bytes", "8MiB", "--max-sequences", "8"]);
    let (address, process) = (served.address.as_str(), served.child.id());
    let alone: Vec<String> = (0..REQUESTS)
        .map(|index| {
            let (path, body) = request(index);
            reply(send(address, path, Some(&body)))
        })
        .collect();
    storm(address);
    let settled = || {
        let began = Instant::now();
        while ["running", "waiting", "cache_bytes"].iter().any(|name| metric(address, name) != 0.0) {
            assert!(began.elapsed() < Duration::from_secs(60), "something is held for good");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    settled();
    let before = resident(process);
    for (index, answer) in storm(address).into_iter().enumerate() {
        assert!(
            answer.is_none_or(|answer| answer == alone[index]),
            "request {index} was answered differently"
        );
    }
    settled();
    assert!(metric(address, "cancelled") > 0.0, "nobody hung up in time");
    let after = resident(process);
    // 5% of the process, and what an allocator keeps of so small a one.
    assert!(after < before * 1.05 + 8e6, "{before} bytes resident before the second storm, {after} after it");
}

#[test]
fn a_thousand_idle_connections_leave_health_quick() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    let served = Served::start(&model, &[]);
    let address = served.address.as_str();
    let idle: Vec<TcpStream> =
        (0..1000).filter_map(|_| TcpStream::connect(address.trim_start_matches("http://")).ok()).collect();
    assert!(idle.len() > 900, "only {} connections were let in", idle.len());
    let body = json!({"model": "stories", "prompt": "Once", "max_tokens": 1500, "ignore_eos": true});
    let load: Vec<TcpStream> = (0..8).map(|_| send(address, "/v1/completions", Some(&body))).collect();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let began = Instant::now();
            let mut text = String::new();
            send(address, "/health", None).read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("health under load: median {:?}, p99 {:?}", times[100], times[198]);
    drop((idle, load));
}
