//! Paths as clients write them: a trailing slash, or two slashes in place of one, are the path without.

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// Removes slashes that mean nothing. It runs before a route is chosen.
pub(super) async fn normalize(mut request: Request) -> Request {
    let path = request.uri().path();
    let is_plain = path.len() < 2 || (!path.ends_with('/') && !path.contains("//"));
    if !is_plain && let Some(uri) = normalized(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn normalized(uri: &Uri) -> Option<Uri> {
    let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("/{}{query}", segments.join("/"))).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_that_mean_nothing_are_removed() {
        for (path, expected) in [
            ("/v1/models/", "/v1/models"),
            ("/v1//models?a=/b/", "/v1/models?a=/b/"),
            ("//", "/"),
            ("http://localhost/v1/models/", "http://localhost/v1/models"),
        ] {
            assert_eq!(normalized(&path.parse().expect("a URI")).expect("a URI").to_string(), expected);
        }
    }
}
