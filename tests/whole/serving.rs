//! `smolserve` among clients that behave badly: answers of the others stay what they are alone, and what the
//! bad ones held is given back.

use crate::clients::{Served, long_stories};
use crate::forward::Goldens;
use crate::programs::program;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tests::shared_data;

const REQUESTS: usize = 200;

/// Sends a request on a connection of its own.
pub(crate) fn send(address: &str, path: &str, body: Option<&Value>) -> TcpStream {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let method = if body.is_empty() { "GET" } else { "POST" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream
}

/// The whole reply, without what is new in each.
pub(crate) fn answer_text(mut stream: TcpStream) -> String {
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

pub(crate) fn metric(address: &str, name: &str) -> f64 {
    let mut text = String::new();
    send(address, "/metrics", None).read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("smolserve_{name}"))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until the server holds nothing of any request.
pub(crate) fn settle(address: &str) {
    let began = Instant::now();
    while ["running", "waiting", "cache_bytes"].iter().any(|name| metric(address, name) != 0.0) {
        assert!(began.elapsed() < Duration::from_secs(60), "something is held for good");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes of a process's memory: `VmRSS` now, `VmHWM` at the most.
pub(crate) fn memory(process: u32, kind: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
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
            let answer = answer_text(stream);
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
            answer_text(send(address, path, Some(&body)))
        })
        .collect();
    storm(address);
    settle(address);
    let before = memory(process, "VmRSS");
    for (index, answer) in storm(address).into_iter().enumerate() {
        assert!(
            answer.is_none_or(|answer| answer == alone[index]),
            "request {index} was answered differently"
        );
    }
    settle(address);
    assert!(metric(address, "cancelled") > 0.0, "nobody hung up in time");
    let after = memory(process, "VmRSS");
    println!("{before} bytes resident before the second storm, {after} after it");
    // 5% of the process, and a little for what an allocator keeps: measured were 0.1 MB of 30.
    assert!(after < before * 1.05 + 1e6, "{before} bytes resident before the second storm, {after} after it");
}

/// Asks for the server's health over a connection that stays; false when it does not answer.
fn is_let_in(connection: &mut TcpStream) -> bool {
    let asked = connection.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let _ = connection.set_read_timeout(Some(Duration::from_secs(10)));
    let mut few = [0; 12];
    asked.and_then(|()| connection.read_exact(&mut few)).is_ok() && few == *b"HTTP/1.1 200"
}

#[test]
fn a_thousand_idle_connections_leave_health_quick() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    rlimit::increase_nofile_limit(4096).unwrap();
    // The server is to raise its own limit.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -Sn 256; exec \"$0\" \"$@\""]).arg(program("smolserve").get_program());
    let served = Served::spawn(limited, &model, &[]);
    let address = served.address.as_str();
    let mut idle: Vec<TcpStream> =
        (0..1000).map(|_| TcpStream::connect(address.trim_start_matches("http://")).unwrap()).collect();
    let let_in = idle.iter_mut().map(is_let_in).filter(|let_in| *let_in).count();
    assert_eq!(let_in, 1000, "connections that were let in");
    let (probed, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = || {
        let body = json!({"model": "stories", "prompt": "Once", "max_tokens": 1500, "ignore_eos": true});
        while !probed.load(Ordering::Relaxed) {
            answer_text(send(address, "/v1/completions", Some(&body)));
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let probe = |_| {
        let began = Instant::now();
        let mut text = String::new();
        send(address, "/health", None).read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        began.elapsed()
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(load);
        }
        while metric(address, "running") < 8.0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let times = (0..400).map(probe).collect();
        probed.store(true, Ordering::Relaxed);
        times
    });
    times.sort_unstable();
    println!("health under load: median {:?}, p99 {:?}; {answered:?} answers", times[200], times[396]);
    assert!(times[396] < Duration::from_millis(50), "p99 of health under load is {:?}", times[396]);
    drop(idle);
}

#[test]
fn a_prompt_is_scored_over_http_as_transformers_scores_it() {
    let Some(data) = shared_data() else { return };
    let served = Served::start(&data.join("models/stories260k"), &["--dtype", "f32"]);
    let goldens = Goldens::read("stories260k.safetensors");
    assert!(goldens.count(".logprobs") > 0);
    for index in 0..goldens.count(".logprobs") {
        let ids = goldens.ids(&format!("score{index}.ids"));
        let body = json!({"model": "stories", "prompt": ids, "echo": true, "max_tokens": 0, "logprobs": 0});
        let reply = json_reply(send(&served.address, "/v1/completions", Some(&body)));
        let found: Vec<f64> = reply["choices"][0]["logprobs"]["token_logprobs"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        let expected = goldens.numbers(&format!("score{index}.logprobs"));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - f64::from(*expected)).abs() < 1e-4, "{found} against {expected}");
        }
    }
}

#[test]
fn many_answers_to_a_long_prompt_take_no_memory_before_it_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    let served = Served::start(&model, &[]);
    let ids = vec![1; 1_000_000];
    for (more, parameter) in [
        (json!({"prompt": ids, "n": 128}), "prompt"),
        (json!({"prompt": vec!["a"; 2048], "logit_bias": wide_bias()}), "logit_bias"),
    ] {
        let mut body = json!({"model": "stories", "max_tokens": 5000});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = json_reply(send(&served.address, "/v1/completions", Some(&body)));
        assert_eq!(refused["error"]["param"], parameter, "{refused}");
    }
    let peak = memory(served.child.id(), "VmHWM");
    // 128 copies of the ids, or 2048 of the bias, would take half a gibibyte and more.
    assert!(peak < 400e6, "{peak} bytes at the most");
}

/// A bias of a hundred thousand tokens, most of which there are not.
fn wide_bias() -> Value {
    (0..100_000).map(|id| (id.to_string(), 1.into())).collect::<serde_json::Map<_, _>>().into()
}

/// A whole reply as JSON.
fn json_reply(mut stream: TcpStream) -> Value {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[cfg(unix)]
#[test]
fn a_unix_socket_and_the_path_of_a_proxy_work() {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut command = program("smolserve");
    command.arg("--model").arg(data.join("models/stories260k")).arg("--unix-socket").arg(&socket);
    command.args(["--base-path", "/llm/"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("ready on the Unix socket"), "{line}");
    for path in ["/llm/v1/models", "/v1/models"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream
            .write_all(
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("stories260k"), "{text}");
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert!(child.wait().is_ok() && !socket.exists(), "the socket's file is removed");
}
