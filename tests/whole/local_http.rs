//! Servers of the tests' own, over HTTP on this machine.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

/// Serves on a port of its own, in a thread of its own, until the process ends; returns `http://host:port`.
pub(crate) fn serve(app: Router) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
        });
    });
    address
}

/// A file of a hub, as its client asks for it: a range of bytes.
pub(crate) fn hub_file(name: &str, bytes: &[u8], headers: &HeaderMap) -> Response {
    let range = headers["range"].to_str().unwrap().strip_prefix("bytes=").unwrap();
    let (from, to) = range.split_once('-').unwrap();
    let (from, last): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap_or(bytes.len() - 1));
    let headers = [
        ("content-range", format!("bytes {from}-{last}/{}", bytes.len())),
        ("x-repo-commit", "c0ffee".to_owned()),
        ("etag", format!("\"{name}\"").replace('/', "-")),
    ];
    (StatusCode::PARTIAL_CONTENT, headers, bytes[from..=last].to_vec()).into_response()
}

/// FNV-1a of 64 bits: what a scripted answer follows from.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
