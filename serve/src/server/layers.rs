//! What every request passes on its way in and out.

use super::Server;
use crate::error::ApiError;
use crate::identity;
use crate::valid::Fields;
use axum::extract::{FromRequest, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::{FutureExt, StreamExt};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// Names a request in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id a client may give a request.
const LONGEST_ID: usize = 128;

/// Keeps the client's id of a request or makes one; every response carries it.
pub(super) async fn identified(request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_id(id)).cloned();
    let id = given.unwrap_or_else(|| {
        HeaderValue::from_str(&identity::id("req_")).expect("an id of ours is letters and digits")
    });
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_id(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// A handler that panics is a defect; its client still gets an answer, and nobody else notices.
pub(super) async fn guarded(request: Request, next: Next) -> Response {
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answered.unwrap_or_else(|_| ApiError::internal("the server made a mistake").into_response())
}

/// Counts the response by path and status.
pub(super) async fn counted(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let mut count = Count { server, path, status: 499 };
    let response = next.run(request).await;
    count.status = response.status().as_u16();
    response
}

/// Counts when it is dropped: a client that goes away takes the handler with it.
struct Count {
    server: Arc<Server>,
    path: String,
    status: u16,
}

impl Drop for Count {
    fn drop(&mut self) {
        self.server.metrics.answered(&self.path, self.status);
    }
}

/// Lets in who has a key, where there are keys.
pub(super) async fn authorized(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let keys = &server.settings.api_keys;
    if keys.is_empty() {
        return Ok(next.run(request).await);
    }
    let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let refuse = |message: &str| {
        let error = ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message);
        Err(error.with_code("invalid_api_key"))
    };
    let Some(key) = given.and_then(bearer) else {
        return refuse("no API key: send the header `Authorization: Bearer KEY`");
    };
    // Every key is compared, so that time says nothing about which one was close.
    let known = keys.iter().fold(false, |known, candidate| known | is_same(candidate.as_bytes(), key));
    if known { Ok(next.run(request).await) } else { refuse("the API key is not one of this server's") }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// Compares in a time that depends on the lengths alone.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y));
    std::hint::black_box(difference) == 0 && a.len() == b.len()
}

/// Where there is nothing.
pub(super) async fn no_such_path(method: Method, uri: Uri) -> ApiError {
    let message = format!("no such endpoint: {method} {}", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message).with_code("unknown_url")
}

/// Where there is something, but for another method.
pub(super) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", message)
        .with_code("method_not_allowed")
}

/// A request's body as fields; refused while models load, when it is too large, or when it is no JSON object.
pub(crate) struct Body(pub(crate) Fields);

/// How much of a body that is too large is read away, and for how long: a client that is still sending does not
/// listen, and would see a broken connection in place of the answer.
const MOST_READ_AWAY: usize = 1 << 30;
const LONGEST_READ_AWAY: Duration = Duration::from_secs(10);
/// How long a client may take over its body.
const LONGEST_BODY: Duration = Duration::from_secs(60);

impl FromRequest<Arc<Server>> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Self, ApiError> {
        server.models()?;
        let bytes = tokio::time::timeout(LONGEST_BODY, read(request, server.settings.body_limit)).await;
        let slow =
            || ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", "the body did not arrive in time");
        Fields::parse(&bytes.map_err(|_| slow().with_code("timeout"))??).map(Body)
    }
}

async fn read(request: Request, limit: usize) -> Result<Vec<u8>, ApiError> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let mut chunks = request.into_body().into_data_stream();
    let mut bytes = Vec::with_capacity(announced.min(limit));
    let mut total = announced;
    while total <= limit {
        let Some(chunk) = chunks.next().await else { return Ok(bytes) };
        let chunk = chunk.map_err(|error| ApiError::body(format!("the body broke off: {error}")))?;
        bytes.extend_from_slice(&chunk);
        total = total.max(bytes.len());
    }
    drop(bytes);
    let read_away = async {
        let mut left = MOST_READ_AWAY;
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(LONGEST_READ_AWAY, read_away).await;
    let message = format!("the body is larger than {limit} bytes (--body-limit)");
    let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message);
    Err(error.with_code("body_too_large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ids_are_read() {
        assert_eq!(bearer(b"Bearer abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer x"), Some(&b"x"[..]));
        assert_eq!(bearer(b"Basic x"), None);
        assert_eq!(bearer(b"Be"), None);
        assert!(is_same(b"key", b"key") && !is_same(b"key", b"kez") && !is_same(b"key", b"ke"));
        assert!(!is_same(b"", b"k") && !is_id(&HeaderValue::from_static("a b")));
        assert!(is_id(&HeaderValue::from_static("a-1")) && !is_id(&HeaderValue::from_static("")));
    }
}
