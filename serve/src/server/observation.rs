//! The request log and the count of responses.
//!
//! One line per request: method, path, model, request id, status, the time to the response's head or to the end of a
//! stream, and why it was refused; of answers their tokens (of the prompt, of those the cached ones, and generated), the
//! time in the queue and the time to the first token.
//! A client that closes the connection before that is logged and counted with status 499. Bodies are never logged.

use super::request_id;
use crate::error::Reason;
use crate::metrics::{CLIENT_CLOSED, milliseconds};
use crate::state::ServerState;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Span;

/// The request's span; the model is added once it is known.
pub(super) fn span(request: &Request) -> Span {
    let id = request.headers().get(&request_id::HEADER).and_then(|id| id.to_str().ok()).unwrap_or_default();
    tracing::info_span!(
        "request",
        method = %request.method(),
        path = request.uri().path(),
        id,
        model = tracing::field::Empty,
        prompt_tokens = tracing::field::Empty,
        completion_tokens = tracing::field::Empty,
        cached_tokens = tracing::field::Empty,
        queue_ms = tracing::field::Empty,
        first_token_ms = tracing::field::Empty,
    )
}

/// Writes the line of a request; of one without an answer with the error's code and parameter.
pub(super) fn log_response(status: u16, latency: Duration, reason: Option<&Reason>) {
    let latency_ms = milliseconds(latency);
    match reason {
        Some(Reason { code, param }) => tracing::info!(status, latency_ms, code, param, "response"),
        None => tracing::info!(status, latency_ms, "response"),
    }
}

/// Counts the response by path and status.
pub(super) async fn count(State(state): State<Arc<ServerState>>, request: Request, next: Next) -> Response {
    let path = endpoint(&request);
    let response = next.run(request).await;
    state.metrics.count_response(&path, response.status().as_u16());
    response
}

/// Returns what to do when the client closes the connection before there is a response: log and count it.
pub(super) fn closed_early(state: &Arc<ServerState>, request: &Request) -> impl FnOnce() + Send + use<> {
    let (state, path) = (Arc::clone(state), endpoint(request));
    let (span, began) = (Span::current(), Instant::now());
    move || {
        state.metrics.count_response(&path, CLIENT_CLOSED);
        span.in_scope(|| log_response(CLIENT_CLOSED, began.elapsed(), None));
    }
}

fn endpoint(request: &Request) -> String {
    request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned()
}
