//! API keys.

use crate::error::ApiError;
use crate::state::ServerState;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use subtle::{Choice, ConstantTimeEq};

/// Refuses requests without one of the server's API keys, if the server has any.
pub(super) async fn authorize(
    State(state): State<Arc<ServerState>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let keys = &state.settings.api_keys;
    if keys.is_empty() {
        return Ok(next.run(request).await);
    }
    let header = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let refuse = |message: &str| {
        let error = ApiError::invalid_request(StatusCode::UNAUTHORIZED, message);
        Err(error.with_code("invalid_api_key"))
    };
    match header.and_then(bearer) {
        None => refuse("no API key; send the header `Authorization: Bearer KEY`"),
        Some(key) if is_known(key, keys) => Ok(next.run(request).await),
        Some(_) => refuse("the API key is not one of this server's keys"),
    }
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// Compares with every key, in a time that depends on the lengths alone.
fn is_known(key: &[u8], keys: &[String]) -> bool {
    keys.iter().fold(Choice::from(0), |known, candidate| known | candidate.as_bytes().ct_eq(key)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_compared() {
        assert_eq!(bearer(b"Bearer abc "), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer x"), Some(&b"x"[..]));
        assert_eq!(bearer(b"Basic x"), None);
        assert_eq!(bearer(b"Be"), None);
        let keys = ["key".to_owned()];
        assert!(is_known(b"key", &keys) && !is_known(b"kez", &keys) && !is_known(b"ke", &keys));
        assert!(!is_known(b"", &["k".to_owned()]));
    }
}
