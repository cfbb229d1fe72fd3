//! Servers of the tests' own, over HTTP on this machine.

use axum::Router;
use axum::http::StatusCode;
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

/// A file of a hub that lists no hashes: its entity tag names the content.
pub(crate) fn hub_file(name: &str, bytes: Vec<u8>) -> Response {
    (StatusCode::OK, [("etag", format!("\"{}\"", name.replace(['/', '.'], "-")))], bytes).into_response()
}

/// FNV-1a of 64 bits: what a scripted answer follows from.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}
