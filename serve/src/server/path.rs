//! Paths as clients write them: a trailing slash, or two slashes in place of one, are the path without. The prefix of a
//! proxy (`--base-path`) is removed.

use crate::endpoints::chat_page::MissingSlash;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// Removes slashes that mean nothing, and the prefix. It runs before a route is chosen.
pub(super) fn normalize(mut request: Request, prefix: Option<&str>) -> Request {
    let path = request.uri().path();
    let missing = prefix.filter(|prefix| path == *prefix).map(|prefix| missing_slash(prefix, request.uri()));
    let is_plain = path.len() < 2 || (!path.ends_with('/') && !path.contains("//"));
    if (!is_plain || prefix.is_some())
        && let Some(uri) = normalized(request.uri(), prefix)
    {
        *request.uri_mut() = uri;
    }
    if let Some(missing) = missing {
        request.extensions_mut().insert(missing);
    }
    request
}

/// The page's links are relative to the prefix with a slash at its end.
fn missing_slash(prefix: &str, uri: &Uri) -> MissingSlash {
    let last = prefix.rsplit('/').next().unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    MissingSlash(format!("{last}/{query}"))
}

fn normalized(uri: &Uri, prefix: Option<&str>) -> Option<Uri> {
    fn segments(path: &str) -> Vec<&str> {
        path.split('/').filter(|segment| !segment.is_empty()).collect()
    }
    let (own, prefix) = (segments(uri.path()), segments(prefix.unwrap_or_default()));
    let rest = own.strip_prefix(prefix.as_slice()).unwrap_or(&own);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("/{}{query}", rest.join("/"))).ok()?);
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
            let uri = normalized(&path.parse().expect("a URI"), None).expect("a URI");
            assert_eq!(uri.to_string(), expected);
        }
    }

    #[test]
    fn the_prefix_of_a_proxy_is_removed() {
        for (path, expected) in [
            ("/llm/v1/models", "/v1/models"),
            ("/llm", "/"),
            ("/llm/", "/"),
            ("/v1/models", "/v1/models"),
            ("/llmv1/models", "/llmv1/models"),
        ] {
            let uri = normalized(&path.parse().expect("a URI"), Some("/llm")).expect("a URI");
            assert_eq!(uri.to_string(), expected);
        }
    }
}
