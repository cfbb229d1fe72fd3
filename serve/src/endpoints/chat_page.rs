//! `GET /` and `GET /page/...`: a page to chat on, whose files (`serve/page`) are part of the program.
//!
//! The page loads nothing from elsewhere. Its policy permits files of this server and nothing inline, and makes browsers
//! with Trusted Types refuse every HTML text that did not go through its sanitizer: nothing a model writes can run.

use crate::error::ApiError;
use axum::Extension;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Scripts, styles and connections of this server; no HTML from strings but the sanitizer's.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types dompurify";

const INDEX: &str = "index.html";

/// Names below `/page/` and contents.
macro_rules! page_files {
    ($($name:literal),* $(,)?) => {
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../page/", $name)))),*];
    };
}

page_files![
    "answering.js",
    "app.js",
    "conversation.css",
    "conversation.js",
    "dom.js",
    "export.js",
    "history.js",
    "icon.svg",
    "imported.js",
    "index.html",
    "key.js",
    "lanes.js",
    "layout.css",
    "markdown.js",
    "messages.js",
    "meter.js",
    "panels.js",
    "samplers.js",
    "server.js",
    "sidebar.js",
    "theme.js",
    "vendor/LICENSE-dompurify.txt",
    "vendor/LICENSE-highlight.js.txt",
    "vendor/LICENSE-marked.txt",
    "vendor/highlight.min.js",
    "vendor/marked.esm.js",
    "vendor/purify.min.js",
];

/// A file as it is sent.
struct PageFile {
    content: &'static str,
    content_type: &'static str,
    etag: String,
}

static BY_NAME: LazyLock<HashMap<&str, PageFile>> =
    LazyLock::new(|| FILES.iter().map(|(name, content)| (*name, page_file(name, content))).collect());

fn page_file(name: &str, content: &'static str) -> PageFile {
    let content_type = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    };
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(content)[..12]));
    PageFile { content, content_type, etag }
}

/// The request's path is that of the page without the slash at its end; the value is where the page is, relative to it.
#[derive(Debug, Clone)]
pub(crate) struct MissingSlash(pub(crate) String);

/// Returns the page, or the address at which its relative links work.
pub(crate) async fn page(
    missing: Option<Extension<MissingSlash>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    match missing {
        Some(Extension(MissingSlash(location))) => {
            Ok((StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response())
        }
        None => respond(INDEX, &headers),
    }
}

/// Returns a file of the page.
///
/// # Errors
/// 404 for a name that is not a file of the page.
pub(crate) async fn file(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|rejection| not_found(&rejection.body_text()))?;
    respond(&name, &headers)
}

/// The file, or 304 where the browser has it.
fn respond(name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let file = BY_NAME.get(name).ok_or_else(|| not_found(&format!("the page has no file `{name}`")))?;
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known =
        known.flat_map(|tags| tags.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == file.etag);
    let head = [
        (header::CONTENT_TYPE, file.content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A browser asks whether the file has changed before it uses what it has.
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, file.etag.as_str()),
    ];
    let response = if is_known {
        (StatusCode::NOT_MODIFIED, head).into_response()
    } else {
        (head, file.content).into_response()
    };
    Ok(response)
}

fn not_found(message: &str) -> ApiError {
    ApiError::invalid_request(StatusCode::NOT_FOUND, message).with_code("unknown_url")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const VENDORED: &str = "vendor/";

    fn own_files() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        FILES.iter().filter(|(name, _)| !name.starts_with(VENDORED))
    }

    fn value(response: &Response, name: header::HeaderName) -> &str {
        response.headers()[name].to_str().unwrap()
    }

    #[test]
    fn every_file_is_sent_with_its_type_and_the_policy() {
        for (name, content) in FILES {
            let response = respond(name, &HeaderMap::new()).unwrap();
            let expected = match name.rsplit('.').next().unwrap() {
                "html" => "text/html; charset=utf-8",
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                "svg" => "image/svg+xml",
                "txt" => "text/plain; charset=utf-8",
                other => panic!("{name}: no type for .{other}"),
            };
            assert_eq!(response.status(), StatusCode::OK, "{name}");
            assert_eq!(value(&response, header::CONTENT_TYPE), expected, "{name}");
            assert_eq!(value(&response, header::CONTENT_SECURITY_POLICY), POLICY, "{name}");
            assert_eq!(value(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{name}");
            assert!(!content.is_empty(), "{name}");
        }
        assert!(POLICY.contains("frame-ancestors 'none'"), "no page shows this one in a frame");
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http"));
        for name in ["", "..", "../Cargo.toml", "vendor", "vendor/README.md", "nothing.js"] {
            assert_eq!(respond(name, &HeaderMap::new()).unwrap_err().status, StatusCode::NOT_FOUND, "{name}");
        }
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = respond("app.js", &HeaderMap::new()).unwrap();
        let etag = first.headers()[header::ETAG].clone();
        for (tags, status) in [
            (etag.to_str().unwrap().to_owned(), StatusCode::NOT_MODIFIED),
            (format!("\"other\", W/{}", etag.to_str().unwrap()), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, tags.parse().unwrap())]);
            assert_eq!(respond("app.js", &headers).unwrap().status(), status, "{tags}");
        }
        assert_ne!(value(&respond("dom.js", &HeaderMap::new()).unwrap(), header::ETAG), etag);
    }

    #[test]
    fn all_files_of_the_folder_are_part_of_the_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let names = |below: &str| {
            let entries = std::fs::read_dir(folder.join(below)).unwrap().map(|entry| entry.unwrap());
            let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
            files
                .map(|entry| format!("{below}{}", entry.file_name().to_str().unwrap()))
                .collect::<BTreeSet<_>>()
        };
        let mut expected: BTreeSet<String> = &names("") | &names(VENDORED);
        expected.remove("vendor/README.md");
        assert_eq!(FILES.iter().map(|(name, _)| (*name).to_owned()).collect::<BTreeSet<_>>(), expected);
        // ARCHITECTURE.md names the sum.
        let size: usize = FILES.iter().map(|(_, content)| content.len()).sum();
        assert!((250_000..350_000).contains(&size), "{size} bytes");
    }

    #[test]
    fn vendored_files_are_the_listed_ones() {
        let readme = include_str!("../../page/vendor/README.md");
        let scripts: Vec<_> =
            FILES.iter().filter(|(name, _)| name.starts_with(VENDORED) && name.ends_with(".js")).collect();
        let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(lines.len(), scripts.len());
        for (name, content) in scripts {
            let short = name.trim_start_matches(VENDORED);
            let line = lines.iter().find(|line| line.starts_with(&format!("| `{short}` "))).unwrap();
            let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(line.contains(&format!("`{hash}`")), "{name} is {hash}");
            let [.., license] = line.split('|').take(6).collect::<Vec<_>>()[..] else { panic!("{line}") };
            let license = license.trim().trim_matches('`');
            assert!(BY_NAME.contains_key(format!("{VENDORED}{license}").as_str()), "{license}");
        }
    }

    #[test]
    fn the_page_is_made_of_elements_and_loads_its_own_files_only() {
        for (name, content) in own_files() {
            let own = content.replace("http://www.w3.org/2000/svg", "");
            for foreign in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
                "style=\"",
                " onclick=",
                "javascript:",
                "@import",
                "url(",
            ] {
                assert!(!own.contains(foreign), "{name}: {foreign}");
            }
        }
        let (_, index) = FILES.iter().find(|(name, _)| *name == INDEX).unwrap();
        assert_eq!(index.matches("<script").count(), index.matches("></script>").count());
        assert!(!index.contains("<style"));
        for reference in index.split("\"page/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(BY_NAME.contains_key(name), "{name}");
        }
        for ((name, content), before) in
            own_files().flat_map(|file| ["from \"./", "import \"./"].map(|before| (file, before)))
        {
            for import in content.split(before).skip(1) {
                let imported = import.split('"').next().unwrap();
                assert!(BY_NAME.contains_key(imported), "{name}: {imported}");
            }
        }
    }
}
