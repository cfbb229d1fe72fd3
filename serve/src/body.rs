//! The extractor that reads a request's body.
//!
//! tower-http's body limit is not used: it answers with plain text, and it does not read the rest of a body that is too
//! large, so that a client which is still sending sees a broken connection instead of the error.

use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::ServerState;
use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// A request's body as fields; refused while models load, when it is too large, and when it is not a JSON object.
pub(crate) struct JsonBody(pub(crate) Fields);

/// How many bytes of a body that is too large are read and discarded, and for how long.
const MAX_DISCARDED: usize = 1 << 30;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

impl FromRequest<Arc<ServerState>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<ServerState>) -> Result<Self, ApiError> {
        state.models()?;
        let bytes = tokio::time::timeout(BODY_TIMEOUT, read(request, state.settings.body_limit)).await;
        let slow = |_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", "the body did not arrive in time")
                .with_code("timeout")
        };
        Fields::parse(&bytes.map_err(slow)??).map(JsonBody)
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
        let chunk = chunk.map_err(|error| ApiError::bad_request(format!("the body broke off: {error}")))?;
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
