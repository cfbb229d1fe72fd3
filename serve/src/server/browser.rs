//! What a web page may do here: the rules of the `Host` and `Origin` headers.
//!
//! A browser lets any page send requests to this machine. Pages of other origins are refused, and so is a page whose own
//! name was pointed at this machine (DNS rebinding): its `Host` is a name that is not the server's. Browsers cannot be
//! made to lie in either header.

use crate::error::ApiError;
use crate::origins::name;
use crate::state::ServerState;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// The value of the first `Host` header.
pub(crate) fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST).and_then(|host| host.to_str().ok())
}

/// Refuses requests whose `Host` or `Origin` is not allowed; the authority of an absolute target goes before `Host`. Where a key is needed, any `Host` will do: a page of a
/// stranger has no key.
pub(super) async fn guard(
    State(state): State<Arc<ServerState>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let settings = &state.settings;
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
    if hosts.len() > 1 || (hosts.is_empty() && request.version() > Version::HTTP_10) {
        let message = format!("the request has {} `Host` headers; send one", hosts.len());
        return Err(ApiError::bad_request(message).with_code("invalid_host"));
    }
    let expected = request.headers().get(header::EXPECT);
    if let Some(expected) = expected.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let expected = shown(expected.to_str().unwrap_or_default());
        let message = format!("`Expect` is `{expected}`; this server knows `100-continue` only");
        return Err(ApiError::invalid_request(StatusCode::EXPECTATION_FAILED, message));
    }
    let host = request.uri().authority().map(|authority| authority.as_str()).or(host(request.headers()));
    let host = host.unwrap_or_default();
    if settings.api_keys.is_empty() && !hosts.is_empty() && !settings.hosts.allow(host) {
        let message = format!(
            "this server is not called `{}`; start it with `--allowed-host {}` if it is",
            shown(host),
            shown(name(host))
        );
        return Err(ApiError::invalid_request(StatusCode::FORBIDDEN, message).with_code("host_not_allowed"));
    }
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !settings.origins.allow(origin, host) {
            let origin = shown(origin);
            let message = format!(
                "pages of `{origin}` may not use this server; start it with `--cors {origin}` if they may"
            );
            let error = ApiError::invalid_request(StatusCode::FORBIDDEN, message);
            return Err(error.with_code("origin_not_allowed"));
        }
    }
    Ok(next.run(request).await)
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| character.is_ascii_graphic()).take(100).collect()
}
