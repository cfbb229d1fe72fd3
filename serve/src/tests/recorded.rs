//! Requests that clients in use have sent, recorded by `tests/foreign/record.py`: each is answered as it was then.

use super::client::{settings, start};
use super::scripted::{Script, model};
use serde_json::Value;
use std::path::Path;

#[tokio::test]
async fn requests_of_real_clients_are_answered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/recorded");
    let mut clients = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let requests = file["requests"].as_array().unwrap();
        assert!(!requests.is_empty(), "{}", path.display());
        clients += 1;
        for request in requests {
            answered(&file["client"], request).await;
        }
    }
    assert!(clients >= 6, "{clients} recorded clients in {}", folder.display());
}

/// Sends a recorded request to a server of its own.
async fn answered(client: &Value, request: &Value) {
    let server =
        start(settings(), Some(vec![model(Script { context: 1 << 16, ..Script::default() }).0])).await;
    let (path, mut body) = (request["path"].as_str().unwrap(), request["body"].clone());
    let names: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    let what = format!("{client} {path} with {names:?}");
    if body.get("model").is_some() {
        body["model"] = "m".into();
    }
    let reply = server.post(path, &body).await;
    assert_eq!(u64::from(reply.status), request["status"].as_u64().unwrap(), "{what}: {}", reply.body);
    let left_out = reply.header("x-smolserve-left-out").unwrap_or_default();
    // How much room a context has depends on the model.
    let without_limits = |text: &str| -> Vec<String> {
        let names =
            text.split("; ").filter_map(|part| part.split_once(" (")).map(|(name, _)| name.to_owned());
        names.filter(|name| !name.contains("max_")).collect()
    };
    let recorded = request["left_out"].as_str().unwrap();
    assert_eq!(without_limits(left_out), without_limits(recorded), "{what}: {left_out}");
    if body["stream"] == true && reply.status == 200 {
        let events = reply.events();
        let last = events.last().map(String::as_str).unwrap_or_default();
        assert!(last == "[DONE]" || last.contains("response.completed"), "{what}: {last}");
    }
}
