//! The chat page and the description of the API, both part of the program.
//!
//! The page brings all it needs and may load nothing else: its policy names the hashes of its own script and style,
//! so that nothing a model writes could ever run.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const PAGE: &str = include_str!("page.html");
/// OpenAPI 3.1 of everything the server answers.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

/// `GET /`.
pub(crate) async fn page() -> Response {
    static POLICY: LazyLock<String> = LazyLock::new(policy);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE).into_response()
}

/// `GET /openapi.json`.
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// What the page may do: run its own script, wear its own style, speak to this server.
fn policy() -> String {
    let hash = |name: &str| {
        let inside = inside(name).expect("the page has one script and one style");
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside)))
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

/// What stands between the page's tags of that name.
fn inside(name: &str) -> Option<&'static str> {
    let (_, rest) = PAGE.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_page_brings_all_it_needs() {
        for foreign in
            ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("]
        {
            let own = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!own.contains(foreign), "{foreign}");
        }
        assert_eq!((PAGE.matches("<script").count(), PAGE.matches("<style").count()), (1, 1));
        assert!(!PAGE.contains("style=\"") && policy().contains("script-src 'sha256-"));
    }

    #[test]
    fn the_description_is_whole() {
        let description: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(description["openapi"], "3.1.0");
        // Every reference leads somewhere.
        let mut rest = OPENAPI;
        while let Some((_, after)) = rest.split_once("\"$ref\": \"#") {
            let (pointer, after) = after.split_once('"').unwrap();
            assert!(description.pointer(pointer).is_some(), "{pointer}");
            rest = after;
        }
        let mut described: Vec<String> = description["paths"].as_object().unwrap().keys().cloned().collect();
        let routes = include_str!("server.rs").split(".route(\"").skip(1);
        let mut served: Vec<String> =
            routes.filter_map(|rest| rest.split('"').next()).map(|path| path.replace("{*", "{")).collect();
        described.sort();
        served.sort();
        assert_eq!(described, served);
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(
                    operation["summary"].is_string() && operation["responses"].is_object(),
                    "{method} {path}"
                );
            }
        }
    }
}
