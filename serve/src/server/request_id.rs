//! Request ids: the client's own, if it can be logged and returned, or a random one.

use crate::ids;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use tower_http::request_id::{MakeRequestId, RequestId};

/// The header that names a request in both directions.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Length of the longest id that a client may give.
const MAX_ID: usize = 128;

/// Removes an id that is not valid, so that the request gets another one.
pub(super) async fn remove_invalid(mut request: Request) -> Request {
    if request.headers().get(&HEADER).is_some_and(|id| !is_valid(id)) {
        request.headers_mut().remove(&HEADER);
    }
    request
}

fn is_valid(id: &HeaderValue) -> bool {
    let bytes = id.as_bytes();
    (1..=MAX_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// Makes ids of requests that have none.
#[derive(Debug, Clone, Copy)]
pub(super) struct MakeId;

impl MakeRequestId for MakeId {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        HeaderValue::from_str(&ids::id("req_")).ok().map(RequestId::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_without_spaces_are_valid() {
        assert!(is_valid(&HeaderValue::from_static("a-1")) && !is_valid(&HeaderValue::from_static("")));
        assert!(!is_valid(&HeaderValue::from_static("a b")));
        assert!(!is_valid(&HeaderValue::from_static(concat!(
            "0123456789012345678901234567890123456789012345678901234567890123456789",
            "0123456789012345678901234567890123456789012345678901234567890123456789"
        ))));
    }
}
