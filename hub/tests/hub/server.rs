//! A hub of one repository, with switches for what can go wrong.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// What the server has, and how it misbehaves.
#[derive(Debug, Clone)]
pub struct Served {
    pub commit: String,
    /// Names and the bytes that are sent.
    pub files: Vec<(String, Vec<u8>)>,
    /// What is listed: size and hash of these bytes.
    listed: Vec<Vec<u8>>,
    pub lists_hashes: bool,
    pub lists_sizes: bool,
    /// Files never end.
    pub is_endless: bool,
    pub etag: Option<String>,
    /// Every file is at this address.
    pub redirect: Option<String>,
    /// The first answer with a file ends after so many bytes.
    pub break_after: Option<usize>,
    /// A status and an error code for every request.
    pub refusal: Option<(u16, &'static str)>,
    /// Hashes of stored contents.
    pub stored: Vec<String>,
}

impl Served {
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        Self {
            commit: "c0ffee".to_owned(),
            files: files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
            listed: files.iter().map(|(_, bytes)| bytes.to_vec()).collect(),
            lists_hashes: true,
            lists_sizes: true,
            is_endless: false,
            etag: None,
            redirect: None,
            break_after: None,
            refusal: None,
            stored: Vec::new(),
        }
    }
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    pub method: String,
    pub authorization: String,
    pub range: String,
    pub body: Vec<u8>,
}

impl Recorded {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

#[derive(Clone)]
struct Shared {
    served: Arc<Mutex<Served>>,
    requests: Arc<Mutex<Vec<Recorded>>>,
    address: String,
}

/// A server on a port of its own, until the process ends.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl Server {
    pub fn start(served: Served) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<Recorded>>>::default();
        let state = Shared {
            served: Arc::new(Mutex::new(served)),
            requests: Arc::clone(&requests),
            address: address.clone(),
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let app = Router::new().fallback(answer).with_state(state);
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
            });
        });
        Self { address, requests }
    }

    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }
}

/// SHA-1 of a git blob, from `git hash-object`'s definition.
pub fn git_hash(bytes: &[u8]) -> String {
    use sha1::Digest;
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    format!("{:x}", hasher.finalize())
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let text = |name: header::HeaderName| {
        parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    shared.requests.lock().unwrap().push(Recorded {
        method: parts.method.to_string(),
        authorization: text(header::AUTHORIZATION),
        range: text(header::RANGE),
        body: body.to_vec(),
    });
    let mut served = shared.served.lock().unwrap();
    if let Some((status, code)) = served.refusal {
        let error = json!({"error": "words of the server\u{1b}[2J"});
        return (StatusCode::from_u16(status).unwrap(), [("x-error-code", code)], Json(error))
            .into_response();
    }
    let path = parts.uri.path();
    match path {
        "/api/models/someone/thing/revision/main" => Json(list(&served)).into_response(),
        _ if path.contains("/resolve/") => file(&mut served, path, &parts.headers),
        _ => upload(&served, &shared.address, path, &body),
    }
}

fn list(served: &Served) -> Value {
    let file = |((name, _), bytes): (&(String, Vec<u8>), &Vec<u8>)| {
        let mut file = json!({"rfilename": name, "size": bytes.len()});
        if !served.lists_sizes {
            file.as_object_mut().unwrap().remove("size");
        }
        if served.lists_hashes {
            file["blobId"] = git_hash(bytes).into();
            if bytes.len() > 1000 {
                file["lfs"] =
                    json!({"sha256": files::hash::sha256(bytes), "size": bytes.len(), "pointerSize": 1});
            }
        }
        file
    };
    let files: Vec<Value> = served.files.iter().zip(&served.listed).map(file).collect();
    json!({"sha": served.commit, "siblings": files})
}

fn file(served: &mut Served, path: &str, headers: &HeaderMap) -> Response {
    if let Some(target) = &served.redirect {
        return (StatusCode::FOUND, [(header::LOCATION, target.clone())]).into_response();
    }
    let name = path.split_once("/resolve/c0ffee/").unwrap().1;
    let bytes = &served.files.iter().find(|(found, _)| found == name).unwrap().1;
    let range = headers.get(header::RANGE).map(|value| value.to_str().unwrap());
    let from: usize = range
        .map_or(0, |range| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap());
    let mut response = Response::builder();
    if let Some(tag) = &served.etag {
        response = response.header(header::ETAG, tag);
    }
    if from > 0 {
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
    }
    if served.is_endless {
        let piece = Bytes::from(vec![7; 1 << 16]);
        let endless = stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        return response.body(Body::from_stream(endless)).unwrap();
    }
    let bytes = Bytes::copy_from_slice(&bytes[from..]);
    match served.break_after.take() {
        Some(count) => {
            let whole = stream::iter([Ok(bytes.slice(..count))]);
            // Later, so that what was sent before arrives.
            let broken = stream::once(async {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                Err(std::io::Error::other("broken"))
            });
            response.body(Body::from_stream(whole.chain(broken))).unwrap()
        }
        None => response.body(Body::from(bytes)).unwrap(),
    }
}

fn upload(served: &Served, address: &str, path: &str, body: &[u8]) -> Response {
    let value = || serde_json::from_slice::<Value>(body).unwrap();
    match path {
        "/api/repos/create" => StatusCode::OK.into_response(),
        "/api/datasets/someone/thing/preupload/main" => {
            let files = value()["files"].as_array().unwrap().clone();
            let modes: Vec<Value> = files
                .iter()
                .map(|file| {
                    let is_large = file["path"].as_str().unwrap().ends_with(".parquet");
                    json!({"path": file["path"], "uploadMode": if is_large { "lfs" } else { "regular" }})
                })
                .collect();
            Json(json!({"files": modes})).into_response()
        }
        "/datasets/someone/thing.git/info/lfs/objects/batch" => {
            let objects = value()["objects"].as_array().unwrap().clone();
            let answers: Vec<Value> = objects
                .into_iter()
                .map(|mut object| {
                    let hash = object["oid"].as_str().unwrap().to_owned();
                    if !served.stored.contains(&hash) {
                        object["actions"]["upload"] =
                            json!({"href": format!("{address}/store/{hash}"), "header": {"authorization": "signed"}});
                    }
                    object
                })
                .collect();
            Json(json!({"objects": answers})).into_response()
        }
        "/api/datasets/someone/thing/commit/main" => {
            Json(json!({"commitUrl": format!("{address}/datasets/someone/thing/commit/1")})).into_response()
        }
        _ if path.starts_with("/store/") => StatusCode::OK.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
