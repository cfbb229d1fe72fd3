//! A server in this process, and an HTTP client that can close its connection at any time.

use crate::model::Model;
use crate::model_table::ModelTable;
use crate::origins::{Hosts, Origins};
use crate::server;
use crate::state::{ServerSettings, ServerState};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A listening server.
pub(super) struct TestServer {
    pub(super) state: Arc<ServerState>,
    pub(super) address: SocketAddr,
}

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The data of every event of a stream.
    pub(super) fn events(&self) -> Vec<String> {
        let data = |line: &str| line.strip_prefix("data: ").map(str::to_owned);
        self.body.lines().filter_map(data).collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// Settings without keys and timeouts.
pub(super) fn settings() -> ServerSettings {
    ServerSettings {
        lenient: false,
        strict: false,
        base_path: None,
        api_keys: Vec::new(),
        origins: Origins::Listed(Vec::new()),
        hosts: Hosts::Listed(Vec::new()),
        share_prefixes: false,
        special_tokens_as_text: false,
        raw_embeddings: false,
        body_limit: 1 << 20,
        bodies_memory: 64 << 20,
        responses_memory: 1 << 20,
        max_connections: 1024,
        request_timeout: None,
        shutdown_timeout: Duration::from_secs(5),
        stuck_after: Duration::from_secs(60),
    }
}

/// Models that stay loaded.
pub(super) fn table(models: Vec<Model>) -> ModelTable {
    ModelTable { loaded: models.into_iter().map(Arc::new).collect(), ..ModelTable::default() }
}

/// Starts a server; without models it stays in the state of loading them.
pub(super) async fn start(settings: ServerSettings, models: Option<Vec<Model>>) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(ServerState::new(settings));
    if let Some(models) = models {
        state.set_models(table(models));
    }
    let router = server::router(&state);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    TestServer { state, address }
}

impl TestServer {
    /// Sends a request and leaves the connection open.
    pub(super) async fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let own = |name: &str, line: &str| {
            if headers.lines().any(|line| line.starts_with(name)) { String::new() } else { line.to_owned() }
        };
        let host = own("host:", "host: localhost\r\n");
        let kind = own("content-type:", "content-type: application/json\r\n");
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{host}{kind}connection: close\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(body).await.unwrap();
        connection
    }

    /// Sends a request and reads the whole response.
    pub(super) async fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let mut connection = self.send(method, path, headers, body).await;
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).await.unwrap();
        reply(&bytes)
    }

    /// Sends bytes and leaves the connection open.
    pub(super) async fn open(&self, bytes: &[u8]) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(bytes).await.unwrap();
        connection
    }

    /// Sends bytes and reads the whole response.
    pub(super) async fn raw(&self, request: &[u8]) -> Reply {
        let mut bytes = Vec::new();
        self.open(request).await.read_to_end(&mut bytes).await.unwrap();
        reply(&bytes)
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.request("POST", path, "", body.to_string().as_bytes()).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "", b"").await
    }
}

fn reply(bytes: &[u8]) -> Reply {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the head is whole");
    let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let rest = &bytes[split + 4..];
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(rest) } else { rest.to_vec() };
    Reply { status, head, body: String::from_utf8(body).unwrap() }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").expect("a chunk begins with its length");
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + length]);
        bytes = &bytes[end + 2 + length + 2..];
    }
}
