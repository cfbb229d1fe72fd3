//! The request log.

use super::behavior::chat;
use super::client::{settings, start};
use super::scripted::{Script, model};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[tokio::test]
async fn every_request_is_one_line_without_contents() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = Arc::new(log.reopen().unwrap());
    let subscriber = || tracing_subscriber::fmt().with_ansi(false);
    let script = Script { delay: Duration::from_millis(20), ..Script::default() };
    let (model, record) = model(script);
    let server = start(settings(), Some(vec![model])).await;
    // Tests on other threads may register a log statement while this one subscribes, which would disable it. So the first
    // request registers the statements, and the second subscriber enables them. All tasks run on this thread.
    let warm_up = tracing::subscriber::set_default(subscriber().with_writer(std::io::sink).finish());
    assert_eq!(server.get("/health").await.status, 200);
    assert_eq!(server.get("/nowhere").await.status, 404);
    drop(warm_up);
    let _guard = tracing::subscriber::set_default(subscriber().with_writer(file).finish());
    let body = chat(json!({"messages": [{"role": "user", "content": "a secret"}]})).to_string();
    let path = "/v1/chat/completions";
    let named = server.request("POST", path, "x-request-id: abc-1\r\n", body.as_bytes()).await;
    assert_eq!(named.status, 200);
    assert_eq!(server.get("/nowhere?key=secret").await.status, 404);
    let streamed = chat(json!({"stream": true})).to_string();
    assert_eq!(
        server.request("POST", path, "x-request-id: abc-3\r\n", streamed.as_bytes()).await.status,
        200
    );
    drop(server.send("POST", path, "x-request-id: abc-2\r\n", body.as_bytes()).await);
    for _ in 0..100 {
        if record.cancelled.load(Ordering::SeqCst) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = std::fs::read_to_string(log.path()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for (line, parts) in lines.iter().zip([
        ["method=POST path=\"/v1/chat/completions\"", "id=\"abc-1\" model=\"m\"", "status=200 latency_ms="],
        ["method=GET path=\"/nowhere\"", "id=\"req_", "status=404 latency_ms="],
        ["method=POST path=\"/v1/chat/completions\"", "id=\"abc-3\" model=\"m\"", "status=200 latency_ms="],
        ["method=POST path=\"/v1/chat/completions\"", "id=\"abc-2\" model=\"m\"", "status=499 latency_ms="],
    ]) {
        assert!(line.contains(" INFO ") && parts.iter().all(|part| line.contains(part)), "{line}");
    }
    for line in [lines[0], lines[2]] {
        for part in
            ["prompt_tokens=", "completion_tokens=12 ", "cached_tokens=2 ", "queue_ms=7.0", "first_token_ms="]
        {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(lines[2].contains("is_whole=true"), "{text}");
    assert!(lines[1].contains("code=\"unknown_url\""), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
