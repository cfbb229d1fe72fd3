//! `GET /health`: whether a request sent now would be answered.
//!
//! It reads what the engines have posted and never waits for one, so it answers under any load; an engine whose step
//! does not end is what it is there to notice.

use crate::server::Server;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// 200 when every model answers; 503 while they load, while one is stuck, and while the server shuts down.
pub(crate) async fn health(State(server): State<Arc<Server>>) -> Response {
    let (status, word, models) = match server.models() {
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "loading", Value::Null),
        Ok(models) => {
            let stuck =
                models.iter().any(|model| is_stuck(&model.engine.status(), server.settings.stuck_after));
            let list = models.iter().map(|model| {
                let status = model.engine.status();
                json!({
                    "model": model.name,
                    "engine": model.engine_name,
                    "waiting": status.waiting,
                    "running": status.running,
                    "step_milliseconds": status.step_milliseconds,
                })
            });
            let stopped = models.iter().any(|model| model.engine.status().stopped);
            match (stuck, *server.closing().borrow()) {
                (_, true) => (StatusCode::SERVICE_UNAVAILABLE, "shutting down", list.collect()),
                _ if stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopped", list.collect()),
                (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "stuck", list.collect()),
                _ => (StatusCode::OK, "ok", list.collect()),
            }
        }
    };
    let body = json!({"status": word, "version": env!("CARGO_PKG_VERSION"), "models": models});
    (status, Json(body)).into_response()
}

fn is_stuck(status: &engine::Status, limit: Duration) -> bool {
    status.step_milliseconds.is_some_and(|step| u128::from(step) > limit.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_end_is_noticed() {
        let step = |step_milliseconds| engine::Status { step_milliseconds, ..engine::Status::default() };
        let limit = Duration::from_secs(1);
        assert!(!is_stuck(&step(None), limit) && !is_stuck(&step(Some(1000)), limit));
        assert!(is_stuck(&step(Some(1001)), limit));
    }
}
