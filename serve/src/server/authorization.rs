//! Requests without an API key are refused, those with a wrong one after a wait.

use crate::caller::{Caller, Peer, known_key, sent_key};
use crate::error::ApiError;
use crate::state::ServerState;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// Refuses requests without one of the server's API keys, if the server has any, and names the caller of the others.
pub(super) async fn authorize(
    State(state): State<Arc<ServerState>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let settings = &state.settings;
    let key = match known_key(request.headers(), &settings.api_keys) {
        _ if settings.api_keys.is_empty() => 0,
        Some(index) => index as u64 + 1,
        None => return Err(refuse(&state, request.headers()).await),
    };
    let prefix_scope = if settings.share_prefixes { 0 } else { key };
    let peer = request.extensions().get::<Peer>().copied();
    let client = if key > 0 { key } else { peer.map_or(0, Peer::number) };
    request.extensions_mut().insert(Caller { prefix_scope, key, client });
    Ok(next.run(request).await)
}

/// The error of a request without a right key, after the wait of those with a wrong one.
async fn refuse(state: &ServerState, headers: &HeaderMap) -> ApiError {
    let unauthorized = |message: &str| {
        ApiError::invalid_request(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key")
    };
    if sent_key(headers).is_none() {
        return unauthorized("no API key; send the header `Authorization: Bearer KEY`");
    }
    state.metrics.count_failed_key();
    if state.failed_keys.wait().await {
        return unauthorized("the API key is not one of this server's keys");
    }
    let message = "too many requests with wrong API keys; try again in 5 s";
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
    ApiError { retry_after: Some(5), ..error.with_code("too_many_failed_keys") }
}
