//! The extractor that reads a request's body.
//!
//! Memory is taken as bytes come, and the bodies of all requests share a budget. tower-http's body limit is not used: it
//! answers with plain text, and it does not read the rest of a body that is too large, so that a client which is still
//! sending sees a broken connection instead of the error.

use crate::byte_budget::Share;
use crate::connections::Activity;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::prompt::parse_in_background;
use crate::state::ServerState;
use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// A request's body as fields, and its share of the memory for bodies, to be kept while the body is; refused while models
/// load, when its content type is not JSON, when it is too large, and when it is not a JSON object.
pub(crate) struct JsonBody(pub(crate) Fields, pub(crate) Share);

/// How many bytes of a body that is too large are read and discarded, and for how long.
const MAX_DISCARDED: usize = 1 << 30;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes from which a body is parsed where it delays no other request: a megabyte takes ten milliseconds.
const LARGE_BODY: usize = 1 << 20;
/// Bytes of memory for each byte of a body: what JSON becomes when it is parsed.
const PARSED_BYTES: usize = 8;

impl FromRequest<Arc<ServerState>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<ServerState>) -> Result<Self, ApiError> {
        state.models()?;
        check_type(request.headers())?;
        let activity = request.extensions().get::<Activity>().cloned();
        let mut share = state.bodies.share();
        let reading = read(request, state.settings.body_limit, &mut share);
        let bytes = tokio::time::timeout(BODY_TIMEOUT, reading).await;
        let slow = |_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", "the body did not arrive in time")
                .with_code("timeout")
        };
        let bytes = bytes.map_err(slow)??;
        let fields = match bytes.len() {
            0..LARGE_BODY => Fields::parse(&bytes)?,
            _ => parse_in_background(move || Fields::parse(&bytes)).await?,
        };
        if let Some(activity) = activity {
            activity.begin();
        }
        Ok(Self(fields, share))
    }
}

/// Refuses bodies of another type. A web page may send those without asking first.
fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            let message = format!("the body is encoded as {coding:?}; send it without `Content-Encoding`");
            let error = ApiError::invalid_request(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
            return Err(error.with_code("unsupported_media_type"));
        }
        return Ok(());
    }
    let message = match kind.as_str() {
        "" => "the request has no content type".to_owned(),
        kind => format!("the content type is `{kind}`"),
    };
    let message = format!("{message}; send the header `Content-Type: application/json`");
    let error = ApiError::invalid_request(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    Err(error.with_code("unsupported_media_type"))
}

async fn read(request: Request, limit: usize, share: &mut Share) -> Result<Vec<u8>, ApiError> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let mut chunks = request.into_body().into_data_stream();
    let mut bytes = Vec::new();
    let mut total = announced;
    while total <= limit {
        let Some(chunk) = chunks.next().await else { return Ok(bytes) };
        let chunk = chunk.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
        if !share.grow(chunk.len().saturating_mul(PARSED_BYTES)) {
            drop(bytes);
            let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(chunks)).await;
            return Err(ApiError {
                retry_after: Some(1),
                ..ApiError::unavailable(
                    "bodies_too_large",
                    "the bodies of all requests together exceed `--bodies-memory`; try again in 1 s",
                )
            });
        }
        bytes.extend_from_slice(&chunk);
        total = total.max(bytes.len());
    }
    drop(bytes);
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(chunks)).await;
    let message = format!("the body is larger than {limit} bytes (--body-limit)");
    Err(ApiError::invalid_request(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("body_too_large"))
}

async fn discard(mut chunks: BodyDataStream) {
    let mut left = MAX_DISCARDED;
    while let Some(Ok(chunk)) = chunks.next().await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}
