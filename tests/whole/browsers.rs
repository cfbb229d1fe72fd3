//! What pages in a real browser get from `smolserve`: headless Chromium, where this machine has one.

use crate::clients::{Served, long_stories};
use crate::devtools::Page;
use crate::local_http;
use crate::programs::{of_project, program, succeeds};
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
const server = location.hash.slice(1);
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

/// The port of a server of the page.
fn strangers_port() -> String {
    let app = Router::new().route("/", get(|| async { Html(PAGE) }));
    local_http::serve(app).rsplit(':').next().unwrap().to_owned()
}

/// What the page got from a server.
fn attempts(chromium: &Path, server: &str, host: &str, port: &str) -> String {
    let page = opened(chromium, &format!("http://{host}:{port}/#{server}"));
    let title = page.split_once("<title>").unwrap_or_else(|| panic!("{page}")).1;
    title.split("</title>").next().unwrap().to_owned()
}

/// The server's metrics.
fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn generated_tokens(address: &str) -> u64 {
    let text = metrics(address);
    // Before the first token, there is no such line.
    let line = text.lines().find(|line| line.starts_with("smolserve_generation_tokens_total"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn pages_of_strangers_read_and_generate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(chromium), Some(model)) = (chromium(), long_stories(folder.path())) else { return };
    let blocked = "models:blocked health:blocked chat:blocked simple:blocked no-cors:opaque:false";
    let strangers = strangers_port();
    for options in [&[][..], &["--cors", "https://good.example"]] {
        let served = Served::start(&model, options);
        assert_eq!(attempts(&chromium, &served.address, "evil.test", &strangers), blocked, "{options:?}");
        assert_eq!(generated_tokens(&served.address), 0, "{options:?}");
        // A name that was pointed at this machine.
        let port = served.address.rsplit(':').next().unwrap();
        let rebound = opened(&chromium, &format!("http://evil.test:{port}/v1/models"));
        assert!(rebound.contains("host_not_allowed") && !rebound.contains("stories"), "{rebound}");
        // Pages of this machine are no strangers.
        let own = attempts(&chromium, &served.address, "localhost", &strangers);
        assert!(own.starts_with("models:200:true health:200:true chat:200:true simple:415:true"), "{own}");
    }
    // An origin that `--cors` names may do what pages of this machine may; another port is another origin.
    let good = format!("http://good.test:{strangers}");
    let served = Served::start(&model, &["--cors", &good]);
    let allowed = attempts(&chromium, &served.address, "good.test", &strangers);
    assert!(
        allowed.starts_with("models:200:true health:200:true chat:200:true simple:415:true"),
        "{allowed}"
    );
    assert_eq!(attempts(&chromium, &served.address, "good.test", &strangers_port()), blocked);
}

#[test]
fn no_page_can_show_the_chat_page_in_a_frame() {
    const PARTS: &str = "endpoint=\"/page/{*path}\",status=\"200\"";
    let folder = tempfile::tempdir().unwrap();
    let (Some(chromium), Some(model)) = (chromium(), long_stories(folder.path())) else { return };
    for host in ["evil.test", "localhost"] {
        let served = Served::start(&model, &["--cors", "*"]);
        let frame = format!("<!doctype html><iframe src=\"{}/\"></iframe>", served.address);
        let app = Router::new().route("/", get(move || async move { Html(frame) }));
        let port = local_http::serve(app).rsplit(':').next().unwrap().to_owned();
        opened(&chromium, &format!("http://{host}:{port}/"));
        let asked = metrics(&served.address);
        assert!(asked.contains("endpoint=\"/\",status=\"200\""), "the frame asked for the page: {asked}");
        assert!(!asked.contains(PARTS), "the frame loaded the page's parts: {asked}");
        opened(&chromium, &served.address);
        assert!(metrics(&served.address).contains(PARTS), "a page that is shown loads its parts");
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

/// Records what the page's policy refuses, and sets fields as a person does.
const WATCH: &str = r#"
window.violations = [];
document.addEventListener("securitypolicyviolation", event =>
  violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
window.fill = (id, value) => {
  const field = document.getElementById(id);
  if (field.type === "checkbox") field.checked = value; else field.value = value;
  field.dispatchEvent(new Event("change", {bubbles: true}));
};
window.click = label => [...document.querySelectorAll("button")].find(button => button.textContent === label).click();
window.texts = selector => [...document.querySelectorAll(selector)].map(node => node.innerText);
"#;
/// Whether no answer is being written, and the last one is whole.
const ANSWERED: &str = "document.getElementById('stop').hidden && texts('.note').at(-1)?.includes('tokens')";

/// What the page's database has.
const STORED: &str = "new Promise(done => { indexedDB.open('smolserve').onsuccess = event => event.target.result \
    .transaction('conversations').objectStore('conversations').getAll().onsuccess = all => done(all.target.result); })";

/// A browser with the chat page of a server, once the models are listed.
fn chat_page(chromium: &Path, served: &Served) -> Page {
    let mut page = Page::start(chromium, WATCH);
    page.open(&served.address);
    page.wait("document.querySelector('#lanes select')?.value === 'stories'");
    page
}

fn send(page: &mut Page, message: &str) {
    page.value("document.getElementById('input').focus()");
    page.write(message);
    page.press("Enter", 13);
}

/// The page obeyed its policy, and nothing in it failed.
#[track_caller]
fn is_clean(page: &mut Page) {
    assert_eq!(page.value("violations"), serde_json::json!([]));
    assert_eq!(page.complaints, Vec::<String>::new());
}

#[test]
fn the_chat_page_answers_again_and_side_by_side_and_keeps_its_history() {
    let Some(chromium) = chromium() else { return };
    let served = Served::start(&of_project("models/pocket-instruct"), &[]);
    let mut page = chat_page(&chromium, &served);
    page.value("fill('set-max_tokens', '2'); fill('set-ignore_eos', true)");
    send(&mut page, "What can you do?");
    page.wait(ANSWERED);
    page.wait("texts('#context')[0].includes(' of 1,024 tokens')");
    page.wait("texts('.note')[0].includes('+ 2 tokens') && texts('.note')[0].includes('cut at max tokens')");
    page.value("fill('set-max_tokens', '5'); click('Continue')");
    page.wait("texts('.note')[0]?.includes('+ 7 tokens')");
    page.value("click('Retry')");
    page.wait("texts('.chooser').some(text => text.includes('2/2'))");
    page.value("document.querySelector('#lanes .add').click()");
    page.value("fill(document.querySelectorAll('#lanes .kind')[1].id = 'kind', 'text')");
    send(&mut page, "And then?");
    page.wait("texts('.answers').length === 2 && document.getElementById('stop').hidden");
    page.wait("[...document.querySelectorAll('.answers')].at(-1).querySelectorAll('.note').length === 2");
    let shown = page.value("texts('.body').join('|')");
    assert!(shown.as_str().unwrap().len() > 10, "{shown}");
    // The history is written after the answers: two of the first message's lane, and two side by side.
    page.wait(&format!(
        "{STORED}.then(([one]) => Object.values(one.turns).flatMap(turn => Object.keys(turn.answers)).length === 3 \
         && !JSON.stringify(one).includes('isWriting'))"
    ));
    page.reload();
    page.wait("texts('.note').length >= 3");
    assert_eq!(page.value("texts('.body').join('|')"), shown);
    is_clean(&mut page);
}

#[test]
fn hostile_markdown_of_a_model_runs_nothing() {
    let Some(chromium) = chromium() else { return };
    let served = Served::start(&of_project("models/pocket-instruct"), &[]);
    let mut page = chat_page(&chromium, &served);
    // The model has no choice but to write this.
    let hostile = concat!(
        r#"<img src=x onerror="hacked=1"> <script>hacked=2</script> [a](javascript:hacked=3) "#,
        r#"![b](https://evil.test/pixel.png) [c](https://example.org "t\" onmouseover=\"hacked=4") "#,
        r#"<iframe src="javascript:parent.hacked=5"></iframe> <style>*{display:none}</style> `x`"#,
    );
    page.value("fill('set-constraint', 'guided_choice')");
    page.value(&format!("fill('set-constraint_text', {})", serde_json::json!(hostile)));
    send(&mut page, "Hello");
    page.wait(ANSWERED);
    page.wait("texts('.markdown code').includes('x')");
    assert_eq!(page.value("typeof hacked"), "undefined");
    let elements =
        "img, script, iframe, style, svg, form, input, object, embed, [onerror], [onmouseover], [style]";
    assert_eq!(
        page.value(&format!("document.querySelectorAll(`#talk .markdown :is({elements})`).length")),
        0
    );
    let links = page
        .value("[...document.querySelectorAll('.markdown a[href]')].map(a => [a.protocol, a.rel, a.target])");
    let safe = serde_json::json!(["https:", "noopener noreferrer nofollow", "_blank"]);
    assert_eq!(links, serde_json::json!([safe, safe]));
    let text = page.value("texts('.markdown')[0]");
    assert!(text.as_str().unwrap().contains("<script>hacked=2</script>"), "{text}");
    is_clean(&mut page);
    // The policy holds even where the page would be at fault.
    let attempt =
        "try { document.body.insertAdjacentHTML('beforeend', '<b>x</b>'); 'run' } catch { 'refused' }";
    assert_eq!(page.value(attempt), "refused");
    page.value(
        "{ const s = document.createElement('style'); s.textContent = 'a{}'; document.head.append(s); }",
    );
    page.wait("violations.some(text => text.startsWith('style-src'))");
}

#[test]
fn the_chat_page_keeps_an_api_key_for_the_session_only_unless_told() {
    let Some(chromium) = chromium() else { return };
    let served = Served::start(&of_project("models/pocket-instruct"), &["--api-key", "sk-SECRET"]);
    let mut page = Page::start(&chromium, WATCH);
    page.open(&served.address);
    page.wait("texts('#alert')[0].includes('requires an API key')");
    page.value("fill('key', 'sk-SECRET')");
    page.wait("document.querySelector('#lanes select').value === 'stories'");
    send(&mut page, "Hello");
    page.wait(ANSWERED);
    page.wait("location.hash.length > 1");
    let places = "[localStorage, sessionStorage].map(storage => JSON.stringify(storage).includes('SECRET'))";
    assert_eq!(page.value(places), serde_json::json!([false, true]));
    page.value("fill('keep', true)");
    assert_eq!(page.value(places), serde_json::json!([true, true]));
    page.value("fill('keep', false)");
    assert_eq!(page.value(places), serde_json::json!([false, true]));
    page.value("fill('keep', true); document.getElementById('forget').click()");
    assert_eq!(page.value(places), serde_json::json!([false, false]));
    page.reload();
    page.wait("texts('#alert')[0]?.includes('requires an API key')");
    assert_eq!(page.value("[key.value, keep.checked]"), serde_json::json!(["", false]));
    // Conversations stay, and have no key.
    page.wait("texts('article.user').length === 1");
    let stored = format!("{STORED}.then(all => [all.length, JSON.stringify(all).includes('SECRET')])");
    assert_eq!(page.value(&stored), serde_json::json!([1, false]));
}
