//! An endpoint that answers every completion with the same sentence after a fixed delay, for the benchmark of
//! `smoltalk gen` against other clients. Run it with `mock_endpoint PORT DELAY_MS`.
#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use std::time::Duration;

const ANSWER: &str = r#"{"id":"mock","object":"chat.completion","created":0,"model":"mock","choices":[{"index":0,"message":{"role":"assistant","content":"Short and plain."},"text":"Short and plain.","finish_reason":"stop","logprobs":null}],"usage":{"prompt_tokens":20,"completion_tokens":4,"total_tokens":24}}"#;

fn json(body: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], body)
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (port, delay): (u16, u64) = (arguments[1].parse().unwrap(), arguments[2].parse().unwrap());
    let answer = async move |_: Bytes| {
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        json(ANSWER)
    };
    let models = async || json(r#"{"object":"list","data":[{"id":"mock","object":"model"}]}"#);
    let app = Router::new()
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(answer))
        .route("/v1/completions", post(answer));
    axum::serve(tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap(), app).await.unwrap();
}
