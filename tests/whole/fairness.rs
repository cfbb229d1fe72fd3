//! `smolserve` shared by clients of which one asks for much: the others wait no longer than for their turn.

use crate::clients::{Served, long_stories};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const CHAT: &str = "/v1/chat/completions";

/// Sends a chat with a key.
fn post(address: &str, key: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream
}

fn status(mut stream: TcpStream) -> String {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn chat(more: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// How long ordinary chats take, sorted.
fn times(address: &str, count: usize) -> Vec<Duration> {
    let one = || {
        let began = Instant::now();
        assert_eq!(status(post(address, "b", &chat(&json!({"max_tokens": 8})))), "200");
        std::thread::sleep(Duration::from_millis(20));
        began.elapsed()
    };
    let mut times: Vec<Duration> = (0..count).map(|_| one()).collect();
    times.sort_unstable();
    times
}

#[test]
fn ambiguous_grammars_leave_other_answers_quick() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    let served = Served::start(&model, &[]);
    let address = served.address.as_str();
    let long = |more: &Value| {
        let mut body = chat(&json!({"max_tokens": 3000, "stream": true}));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(address, "a", &body)
    };
    times(address, 3);
    let beside_plain = {
        let _plain: Vec<TcpStream> = (0..4).map(|_| long(&json!({}))).collect();
        times(address, 40)
    };
    let grammars = [
        json!({"guided_grammar": "start: e\ne: e e | \"a\" | /[a-z ]/"}),
        json!({"grammar": "root ::= e\ne ::= e e | \"a\" | [a-z ]"}),
    ];
    let beside_ambiguous = {
        let _running: Vec<TcpStream> = (0..4).map(|index| long(&grammars[index % 2])).collect();
        std::thread::sleep(Duration::from_secs(2));
        times(address, 60)
    };
    let after = times(address, 5);
    println!(
        "beside plain answers {beside_plain:?}\nbeside ambiguous grammars {beside_ambiguous:?}\nafter {after:?}"
    );
    let (median, most) = (beside_ambiguous[30], beside_ambiguous[59]);
    assert!(median < beside_plain[20] * 2 + Duration::from_millis(50), "{median:?}");
    assert!(most < Duration::from_secs(1), "{most:?}");
    assert!(after[4] < Duration::from_secs(1), "work for clients that left goes on: {after:?}");
}

#[test]
fn one_clients_queue_is_not_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    let options = ["--api-key", "a", "--api-key", "b", "--max-sequences", "2", "--max-waiting", "8"];
    let served = Served::start(&model, &options);
    let address = served.address.as_str();
    let much = || post(address, "a", &chat(&json!({"max_tokens": 400})));
    let streams: Vec<TcpStream> = (0..30).map(|_| much()).collect();
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..4 {
        assert_eq!(
            status(post(address, "b", &chat(&json!({"max_tokens": 2})))),
            "200",
            "another client is let in"
        );
    }
    let refused = streams.into_iter().map(status).filter(|status| status == "429").count();
    assert!(refused >= 15, "the client that fills the queue is refused: {refused}");
}
