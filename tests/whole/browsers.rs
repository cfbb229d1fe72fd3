//! What pages in a real browser get from `smolserve`: headless Chromium, where this machine has one.

use crate::clients::{Served, long_stories};
use crate::local_http;
use crate::programs::{program, succeeds};
use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A page that tries to read and to generate, and writes what it got into its title.
const PAGE: &str = r#"<!doctype html><title>running</title><script>
const server = "SERVER";
const body = JSON.stringify({model: "stories", messages: [{role: "user", content: "Once"}], max_tokens: 4});
async function attempt(name, path, options) {
  try {
    const response = await fetch(server + path, options);
    const text = response.type === "opaque" ? "" : await response.text();
    return `${name}:${response.type === "opaque" ? "opaque" : response.status}:${text.length > 0}`;
  } catch { return `${name}:blocked`; }
}
(async () => {
  const json = {"content-type": "application/json"};
  document.title = [
    await attempt("models", "/v1/models", {}),
    await attempt("health", "/health", {}),
    await attempt("chat", "/v1/chat/completions", {method: "POST", headers: json, body}),
    await attempt("simple", "/v1/chat/completions", {method: "POST", body}),
    await attempt("no-cors", "/v1/chat/completions", {method: "POST", mode: "no-cors", body}),
  ].join(" ");
})();
</script>"#;

/// The program, or `None`, said in one line.
fn chromium() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders)
        .flat_map(|folder| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: no Chromium on PATH");
    }
    found
}

/// The page at an address after its scripts have run; `evil.test` is this machine.
fn opened(chromium: &Path, address: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"])
        .args(["--virtual-time-budget=20000", "--timeout=60000"])
        .arg("--host-resolver-rules=MAP *.test 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the page got from a server.
fn attempts(chromium: &Path, server: &str, host: &str) -> String {
    let page = PAGE.replace("SERVER", server);
    let app = Router::new().route("/", get(move || async move { Html(page) }));
    let port = local_http::serve(app).rsplit(':').next().unwrap().to_owned();
    let page = opened(chromium, &format!("http://{host}:{port}/"));
    let title = page.split_once("<title>").unwrap_or_else(|| panic!("{page}")).1;
    title.split("</title>").next().unwrap().to_owned()
}

fn generated_tokens(address: &str) -> u64 {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with("smolserve_completion_tokens_total")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn pages_of_strangers_read_and_generate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(chromium), Some(model)) = (chromium(), long_stories(folder.path())) else { return };
    let blocked = "models:blocked health:blocked chat:blocked simple:blocked no-cors:opaque:false";
    for options in [&[][..], &["--cors", "https://good.example"]] {
        let served = Served::start(&model, options);
        assert_eq!(attempts(&chromium, &served.address, "evil.test"), blocked, "{options:?}");
        assert_eq!(generated_tokens(&served.address), 0, "{options:?}");
        // A name that was pointed at this machine.
        let port = served.address.rsplit(':').next().unwrap();
        let rebound = opened(&chromium, &format!("http://evil.test:{port}/v1/models"));
        assert!(rebound.contains("host_not_allowed") && !rebound.contains("stories"), "{rebound}");
        // Pages of this machine are no strangers.
        let own = attempts(&chromium, &served.address, "localhost");
        assert!(own.starts_with("models:200:true health:200:true chat:200:true simple:415:true"), "{own}");
    }
}

/// A page of scores whose search box gets these words before it is read.
fn searched(chromium: &Path, page: &str, words: &str) -> String {
    // The page's policy forbids scripts that are not its own.
    let start = page.find("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let length = page[start..].find('>').unwrap() + 1;
    let script = format!(
        "<script>{{ const input = document.getElementById('search'); input.value = '{words}'; \
         input.dispatchEvent(new Event('input')); }}</script></body>"
    );
    let page = (page[..start].to_owned() + &page[start + length..]).replace("</body>", &script);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    std::fs::write(&path, page).unwrap();
    opened(chromium, &format!("file://{}", path.display()))
}

#[test]
fn documents_of_a_report_are_searchable() {
    let Some(chromium) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("scores/m");
    std::fs::create_dir_all(&model).unwrap();
    let row = |index: usize, query: &str, value: f64| {
        json!({"task": "nq_open", "doc_id": index, "key": index.to_string(), "scorer": "", "query": query, "gold": ["x"],
               "response": "Well.", "finish": "stop", "tokens": 1, "metrics": {"exact_match": value}})
    };
    let rows = [row(0, "The moon", 0.0), row(1, "the MOON again", 1.0), row(2, "the sun", 0.0)];
    let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(model.join("nq_open.jsonl"), text).unwrap();
    let task = json!({"task": "nq_open", "scorer": "", "shots": 0, "documents": 3, "metrics": [], "files": {},
                      "first_prompt": "", "first_prompt_ids": [], "seconds": 0.0});
    let results = json!({"program": "test", "name": "m", "model": {}, "groups": [], "tasks": [task]});
    std::fs::write(model.join("results.json"), results.to_string()).unwrap();
    let page = folder.path().join("report.html");
    let mut report = program("smoleval");
    succeeds(report.arg("report").arg(folder.path().join("scores")).arg("--out").arg(&page));
    let page = std::fs::read_to_string(page).unwrap();
    for (words, shown) in [("moon", 2), ("moon wrong", 1), ("nq_open", 3), ("mars", 0)] {
        let found = searched(&chromium, &page, words);
        assert!(found.contains(&format!(">{shown} of 3<")), "{words}: {found}");
        assert_eq!(
            found.matches("<article").count() - found.matches(" hidden=\"\"").count(),
            shown,
            "{words}"
        );
    }
}
