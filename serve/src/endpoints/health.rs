//! `GET /health`: whether a request sent now would be answered.
//!
//! It reads the engines' published status and never waits for an engine, so it answers under any load, and also while a
//! step of an engine does not end.

use crate::caller::is_authorized;
use crate::model::Model;
use crate::state::ServerState;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// 200 when every model answers; 503 while models load, while an engine is stuck or has stopped, and while the server
/// shuts down. Where keys are needed, those without one read the word alone.
pub(crate) async fn health(State(state): State<Arc<ServerState>>, headers: HeaderMap) -> Response {
    let (word, models) = match state.models() {
        Err(_) => ("loading", Value::Null),
        Ok(table) => {
            let models = table.loaded_now();
            (word(&state, &table.loaded, &models), models.iter().map(|model| entry(model)).collect())
        }
    };
    let status = if word == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = if is_authorized(&headers, &state.settings.api_keys) {
        json!({"status": word, "version": env!("CARGO_PKG_VERSION"), "models": models})
    } else {
        json!({"status": word})
    };
    (status, Json(body)).into_response()
}

/// `kept` stay loaded; a model of a folder whose engine has stopped is loaded again when it is asked for.
fn word(state: &ServerState, kept: &[Arc<Model>], models: &[Arc<Model>]) -> &'static str {
    let any = |models: &[Arc<Model>], is: &dyn Fn(&engine::Status) -> bool| {
        models.iter().any(|model| is(&model.engine.status()))
    };
    if *state.closing().borrow() {
        "shutting down"
    } else if any(kept, &|status| status.stopped) {
        "stopped"
    } else if any(models, &|status| is_stuck(status, state.settings.stuck_after)) {
        "stuck"
    } else {
        "ok"
    }
}

fn entry(model: &Model) -> Value {
    let status = model.engine.status();
    json!({
        "model": model.name,
        "engine": model.engine_name,
        "waiting": status.waiting,
        "running": status.running,
        "step_milliseconds": status.step_milliseconds,
    })
}

fn is_stuck(status: &engine::Status, limit: Duration) -> bool {
    status.step_milliseconds.is_some_and(|step| u128::from(step) > limit.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_step_is_stuck() {
        let step = |step_milliseconds| engine::Status { step_milliseconds, ..engine::Status::default() };
        let limit = Duration::from_secs(1);
        assert!(!is_stuck(&step(None), limit) && !is_stuck(&step(Some(1000)), limit));
        assert!(is_stuck(&step(Some(1001)), limit));
    }
}
