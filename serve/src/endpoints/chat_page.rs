//! `GET /`: a page to chat on, which is part of the program.
//!
//! The page contains everything it needs and may load nothing else: its policy names the hashes of its own script and
//! style, so that nothing a model writes can run.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const PAGE: &str = include_str!("chat_page.html");

/// Returns the page.
pub(crate) async fn chat_page() -> Response {
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

/// The content security policy: the page's own script and style, and connections to this server.
fn policy() -> String {
    let hash = |name: &str| {
        let inside = inside(name).expect("the page has a script and a style");
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside)))
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

/// The text between the page's tags of that name.
fn inside(name: &str) -> Option<&'static str> {
    let (_, rest) = PAGE.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing() {
        for foreign in
            ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("]
        {
            let own = PAGE.replace("http://www.w3.org/2000/svg", "");
            assert!(!own.contains(foreign), "{foreign}");
        }
        assert_eq!((PAGE.matches("<script").count(), PAGE.matches("<style").count()), (1, 1));
        assert!(!PAGE.contains("style=\"") && policy().contains("script-src 'sha256-"));
    }
}
