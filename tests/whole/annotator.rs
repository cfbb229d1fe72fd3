//! An OpenAI-shaped teacher that marks pages as their titles say, and answers in every way that a mark can be missing.

use crate::local_http::{hash, serve};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A running teacher; it stops with the process.
pub(crate) struct Annotator {
    /// What `--teacher` takes.
    pub(crate) name: String,
    script: Arc<Script>,
}

struct Script {
    /// The points of a page, by a text that only this page has.
    points: HashMap<String, u64>,
    /// One mark in so many is off by one, as the seed of the call decides; 0 for none.
    noise: u64,
    asked: AtomicUsize,
}

impl Annotator {
    pub(crate) fn start(points: HashMap<String, u64>, noise: u64) -> Self {
        let script = Arc::new(Script { points, noise, asked: AtomicUsize::new(0) });
        let app = Router::new()
            .route("/v1/models", get(async || Json(json!({"data": []}))))
            .route("/v1/chat/completions", post(answer))
            .with_state(script.clone());
        Self { name: format!("{}/v1#annotator", serve(app)), script }
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.script.asked.load(Ordering::Relaxed)
    }
}

/// How a page's marks fare: as its title decides, so that tests know which are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Marked,
    /// The first answer is no JSON, the second one is.
    Mended,
    /// No answer has a number.
    NoScore,
    /// Every number is above the scale.
    OutOfScale,
}

pub(crate) fn fate(title: &str) -> Fate {
    match hash(title) % 23 {
        0 | 1 => Fate::Mended,
        2 => Fate::NoScore,
        3 => Fate::OutOfScale,
        _ => Fate::Marked,
    }
}

async fn answer(State(script): State<Arc<Script>>, Json(body): Json<Value>) -> Response {
    script.asked.fetch_add(1, Ordering::Relaxed);
    let messages = body["messages"].as_array().unwrap();
    let prompt = messages[0]["content"].as_str().unwrap();
    let (title, points) = script
        .points
        .iter()
        .find(|(title, _)| prompt.contains(title.as_str()))
        .expect("a page of the script");
    let reason = format!("It is a page with {points} points.");
    let noise = match script.noise {
        0 => 0,
        noise => i64::from(hash(&body["seed"].to_string()).is_multiple_of(noise)),
    };
    let score = if *points == 0 { noise } else { *points as i64 - noise };
    let text = match fate(title) {
        Fate::Mended if messages.len() == 1 => format!("{reason}\n\nScore: {score}"),
        Fate::NoScore => json!({"reason": reason}).to_string(),
        Fate::OutOfScale => json!({"reason": reason, "score": 50}).to_string(),
        _ => json!({"reason": reason, "score": score}).to_string(),
    };
    let choice =
        json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    Json(json!({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})).into_response()
}
