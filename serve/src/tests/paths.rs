//! Paths that a proxy passes on: the page behind a prefix.

use super::client::{settings, start};
use super::scripted::{Script, model};
use crate::state::ServerSettings;

#[tokio::test]
async fn the_page_without_its_last_slash_is_found_where_its_links_work() {
    let behind = ServerSettings { base_path: Some("/tools/llm".to_owned()), ..settings() };
    let server = start(behind, Some(vec![model(Script::default()).0])).await;
    for (path, location) in [("/tools/llm", "llm/"), ("/tools/llm?model=m", "llm/?model=m")] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.header("location")), (308, Some(location)), "{path}");
    }
    for path in ["/tools/llm/", "/tools/llm/page/app.js", "/"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // Only the page is moved.
    assert_eq!(server.request("POST", "/tools/llm", "", b"").await.status, 405);
}
