//! Requests that cost much: they are refused, wait for one another, or end with their client, and others are served.

use super::behavior::{chat, error};
use super::client::{settings, start};
use super::scripted::{Script, model};
use crate::state::ServerSettings;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

const CHAT: &str = "/v1/chat/completions";

#[tokio::test]
async fn memory_is_taken_as_bytes_come_and_bounded_in_sum() {
    let bounded = ServerSettings { body_limit: 1 << 45, bodies_memory: 1 << 20, ..settings() };
    let server = start(bounded, Some(vec![model(Script::default()).0])).await;
    // An announced length is not allocated.
    let announced = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{{",
        1u64 << 44
    );
    let waiting = server.open(announced.as_bytes()).await;
    assert_eq!(server.get("/health").await.status, 200);
    drop(waiting);
    // Half the budget is held by a body that does not end.
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n"
    );
    let mut holding = server.open(head.as_bytes()).await;
    holding.write_all(&[b' '; 80_000]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let large = chat(json!({"user": "x".repeat(80_000)}));
    let refused = server.post(CHAT, &large).await;
    assert_eq!((refused.status, error(&refused)["code"].as_str()), (503, Some("bodies_too_large")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(server.post(CHAT, &chat(json!({}))).await.status, 200, "small ones fit");
    drop(holding);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.post(CHAT, &large).await.status, 200, "the share was given back");
}

#[tokio::test]
async fn texts_that_cannot_fit_are_refused_before_they_are_tokenized() {
    let server = start(settings(), Some(vec![model(Script::default()).0])).await;
    let text = "7".repeat(900_000);
    for (path, body, param) in [
        (CHAT, chat(json!({"messages": [{"role": "user", "content": text}]})), "messages"),
        ("/v1/completions", json!({"model": "m", "prompt": ["a", text]}), "prompt"),
        ("/v1/embeddings", json!({"model": "m", "input": text}), "input"),
        ("/v1/responses", json!({"model": "m", "input": text}), "input"),
    ] {
        let began = Instant::now();
        let refused = server.post(path, &body).await;
        let error = error(&refused);
        assert_eq!(
            (refused.status, error["code"].as_str()),
            (400, Some("context_length_exceeded")),
            "{path}"
        );
        assert_eq!(error["param"], param);
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("this model's maximum context length is 4096 tokens"), "{message}");
        assert!(began.elapsed() < Duration::from_secs(2), "{path}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn too_many_stop_token_ids_are_refused() {
    let server = start(settings(), Some(vec![model(Script::default()).0])).await;
    let all: Vec<u32> = (0..259).collect();
    let reply = server.post(CHAT, &chat(json!({"stop_token_ids": all}))).await;
    assert_eq!((reply.status, &error(&reply)["param"]), (400, &json!("stop_token_ids")), "{}", reply.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_clients_that_left_is_not_begun() {
    let script = Script { compile_time: Duration::from_millis(400), ..Script::default() };
    let (model, record) = model(script);
    let server = start(settings(), Some(vec![model])).await;
    let body = chat(json!({"guided_regex": "a"})).to_string();
    let mut connections = Vec::new();
    for _ in 0..12 {
        connections.push(server.send("POST", CHAT, "", body.as_bytes()).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(connections);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let compiled = record.requests.lock().unwrap().len();
    assert!(compiled <= 4, "{compiled} of 12 were compiled for clients that had left");
}

#[tokio::test]
async fn many_answers_of_one_request_leave_the_queue_to_others() {
    for (waiting, together) in [(0, 6), (100, 1)] {
        let script = Script { delay: Duration::from_millis(20), waiting, ..Script::default() };
        let (model, record) = model(script);
        let server = start(settings(), Some(vec![model])).await;
        let body = chat(json!({"n": 6}));
        let running = async {
            let mut most = 0;
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                most = most.max(record.running.load(Ordering::SeqCst));
            }
            most
        };
        let (reply, most) = tokio::join!(server.post(CHAT, &body), running);
        assert_eq!((reply.json()["choices"].as_array().unwrap().len(), most), (6, together));
    }
}
