//! Errors of requests that no endpoint takes.

use crate::error::ApiError;
use axum::http::{Method, StatusCode, Uri};

/// No endpoint has this path.
pub(super) async fn not_found(method: Method, uri: Uri) -> ApiError {
    let message = format!("no such endpoint: {method} {}", uri.path());
    ApiError::invalid_request(StatusCode::NOT_FOUND, message).with_code("unknown_url")
}

/// An endpoint has this path, but not this method.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::invalid_request(StatusCode::METHOD_NOT_ALLOWED, message).with_code("method_not_allowed")
}
