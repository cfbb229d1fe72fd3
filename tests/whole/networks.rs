//! `smoltalk gen` in networks as people have them: certificates of a company's own authority, SOCKS and HTTP proxies, addresses
//! that lack a part.

use crate::local_http::serve;
use crate::programs::{of_project, program, read_json, text_of};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn completion() -> Value {
    let message = json!({"role": "assistant", "content": "A baker who rises before the sun."});
    json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9, "completion_tokens": 8}})
}

/// An endpoint below `/v1`.
fn endpoint() -> String {
    let app = Router::new()
        .route("/v1/models", get(async || Json(json!({"data": []}))))
        .route("/v1/chat/completions", post(async || Json(completion())));
    serve(app)
}

/// Generates a row from a teacher with these variables set and no others of their kind.
fn generate(out: &Path, teacher: &str, variables: &[(&str, &str)]) -> Output {
    generating(out, teacher, variables).output().unwrap()
}

fn generating(out: &Path, teacher: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = program("smoltalk");
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.envs(variables.iter().copied()).args([
        "gen",
        "--rows",
        "1",
        "--patience",
        "3",
        "--teacher",
        teacher,
    ]);
    command.arg("--recipe").arg(of_project("generate/recipes/personas/recipe.toml"));
    command.arg("--out").arg(out);
    command
}

#[track_caller]
fn succeeds(out: &Path, output: &Output) {
    assert!(output.status.success(), "{}", text_of(output));
    assert_eq!(read_json(&out.join("run.json"))["configs"]["personas"]["rows"], 1);
}

const TLS_SERVER: &str = r#"
import http.server, json, ssl, sys
answer = sys.argv[3].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(b'{"data": []}')
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.reply(answer)
    def reply(self, body):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An authority of our own and a certificate of this machine that it signed; whether openssl is there to make them.
fn certificates(folder: &Path) -> bool {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(folder).args(arguments.split(' ')).stderr(Stdio::null()).status()
    };
    std::fs::write(folder.join("extensions"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    let authority = format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE"
    );
    let request = format!("req {key} -keyout server.key -out server.csr -subj /CN=127.0.0.1");
    let sign = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem";
    match openssl(&authority) {
        Ok(status) => {
            assert!(
                status.success() && openssl(&request).unwrap().success() && openssl(sign).unwrap().success()
            );
            true
        }
        Err(_) => false,
    }
}

#[test]
fn an_authority_of_ones_own_is_trusted_by_the_usual_variable() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let Ok(python) = std::env::var("SMOL_PYTHON") else { return };
    if !certificates(folder.path()) {
        eprintln!("skipped: there is no openssl");
        return;
    }
    let mut server = Command::new(python);
    server
        .args(["-c", TLS_SERVER])
        .args([path("server.pem"), path("server.key")])
        .arg(completion().to_string());
    let mut server = Ended(server.stdout(Stdio::piped()).spawn().unwrap());
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let teacher = format!("https://127.0.0.1:{}/v1#m", port.trim());
    let stranger = generate(&path("stranger"), &teacher, &[]);
    assert_eq!(stranger.status.code(), Some(2));
    assert!(text_of(&stranger).to_lowercase().contains("certificate"), "{}", text_of(&stranger));
    let known = generate(&path("known"), &teacher, &[("SSL_CERT_FILE", path("ca.pem").to_str().unwrap())]);
    succeeds(&path("known"), &known);
}

/// A SOCKS 5 proxy for addresses of this machine; counts its connections.
fn socks_proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections: Arc<AtomicUsize> = Arc::default();
    let counted = connections.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || relay(client));
        }
    });
    (format!("socks5://{address}"), connections)
}

/// Relays one connection; ends with it.
fn relay(mut client: TcpStream) -> std::io::Result<()> {
    let mut start = [0; 2];
    client.read_exact(&mut start)?;
    client.read_exact(&mut vec![0; start[1] as usize])?;
    client.write_all(&[5, 0])?;
    // Version, connect, reserved, IPv4, address, port.
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    let address = std::net::Ipv4Addr::new(request[4], request[5], request[6], request[7]);
    let server = TcpStream::connect((address, u16::from_be_bytes([request[8], request[9]])))?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    let (mut from_server, mut to_client) = (server, client);
    std::io::copy(&mut from_server, &mut to_client).map(drop)
}

#[test]
fn proxies_of_both_kinds_are_used_and_hosts_are_excepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let teacher = format!("{}/v1#m", endpoint());
    let (socks, connections) = socks_proxy();
    succeeds(&path("socks"), &generate(&path("socks"), &teacher, &[("ALL_PROXY", &socks)]));
    assert!(connections.load(Ordering::Relaxed) > 0);
    // An HTTP proxy that answers itself, and remembers who asked.
    let credentials: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = credentials.clone();
    let proxy = serve(Router::new().fallback(any(async move |headers: HeaderMap| {
        let value = headers.get("proxy-authorization").and_then(|value| value.to_str().ok());
        seen.lock().unwrap().push(value.unwrap_or_default().to_owned());
        Json(completion())
    })));
    let with_user = proxy.replace("http://", "http://user:pass@");
    // Nobody else is at this port.
    let nowhere = "http://127.0.0.1:9/v1#m";
    succeeds(&path("http"), &generate(&path("http"), nowhere, &[("HTTP_PROXY", &with_user)]));
    let asked = credentials.lock().unwrap().len();
    assert!(asked >= 3 && credentials.lock().unwrap().iter().all(|one| one == "Basic dXNlcjpwYXNz"));
    let variables = [("HTTP_PROXY", with_user.as_str()), ("NO_PROXY", "127.0.0.1")];
    succeeds(&path("direct"), &generate(&path("direct"), &teacher, &variables));
    assert_eq!(credentials.lock().unwrap().len(), asked, "the proxy is not asked");
}

#[test]
fn a_provider_that_refuses_key_or_model_is_repeated_at_once_and_needs_no_list_of_models() {
    let folder = tempfile::tempdir().unwrap();
    let refusing = |status: StatusCode, body: Value| {
        let refuse = move || async move { (status, Json(body)) };
        let list = any(async || StatusCode::FORBIDDEN);
        serve(Router::new().route("/v1/models", list).route("/v1/chat/completions", post(refuse)))
    };
    let no_key =
        json!({"error": {"message": "Incorrect API key provided: sk-1.", "code": "invalid_api_key"}});
    let no_model = json!({"error": {"message": "model 'm' not found, try pulling it first"}});
    for (status, body, words) in [
        (StatusCode::UNAUTHORIZED, no_key, "Incorrect API key provided"),
        (StatusCode::NOT_FOUND, no_model, "try pulling it first"),
    ] {
        let teacher = format!("{}/v1#m", refusing(status, body));
        let begun = Instant::now();
        let output = generate(&folder.path().join(status.as_str()), &teacher, &[]);
        let told = text_of(&output);
        assert!(output.status.code() == Some(2) && told.contains(words), "{told}");
        assert!(begun.elapsed() < Duration::from_secs(3), "nothing was tried again");
    }
    // A list of models that is forbidden, and content in parts with thoughts, as Magistral's.
    let parts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "A baker who rises before the sun."}]);
    let mut answer = completion();
    answer["choices"][0]["message"]["content"] = parts;
    let out = folder.path().join("parts");
    succeeds(&out, &generate(&out, &format!("{}/v1#m", refusing(StatusCode::OK, answer)), &[]));
}

#[test]
fn a_key_with_a_line_end_is_named_before_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = format!("{}/v1#m", endpoint());
    for key in ["right\n", " right", ""] {
        let mut command = generating(&folder.path().join("out"), &teacher, &[("RIGHT", key)]);
        let output = command.args(["--api-key-env", "RIGHT"]).output().unwrap();
        let told = text_of(&output);
        assert!(output.status.code() == Some(2) && told.contains("the API key in RIGHT"), "{told}");
    }
}

#[test]
fn what_an_address_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let base = endpoint();
    let refused = |teacher: &str| {
        let output = generate(&folder.path().join("out"), teacher, &[]);
        assert_eq!(output.status.code(), Some(2), "{teacher}");
        text_of(&output)
    };
    let told = refused(&format!("{base}#m"));
    assert!(told.contains("/v1"), "{told}");
    let told = refused(&format!("{}/v1#m", base.replace("http://", "")));
    assert!(told.contains("without a scheme") && told.contains("http://127.0.0.1"), "{told}");
    let upper = folder.path().join("upper");
    succeeds(&upper, &generate(&upper, &format!("{}/v1/#m", base.replace("http", "HTTP")), &[]));
}
