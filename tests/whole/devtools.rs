//! A headless Chromium that is driven through its DevTools protocol, over the pipe it offers on descriptors 3 and 4:
//! messages are JSON, each ends with a zero byte.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a condition may take to become true.
const PATIENCE: Duration = Duration::from_secs(60);

/// One page in a browser with a new profile; both end with the value.
pub(crate) struct Page {
    browser: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: String,
    last_id: u64,
    /// What the page reported: exceptions, and entries of the console and of the log that are warnings or errors.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

impl Page {
    /// Starts the browser with an empty page; `script` runs before any other in each page that is opened.
    pub(crate) fn start(chromium: &Path, script: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The shell gives the browser our pipes as descriptors 3 and 4.
        let mut browser = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg(chromium)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (input, output) = (browser.stdin.take().unwrap(), BufReader::new(browser.stdout.take().unwrap()));
        let (session, complaints) = (String::new(), Vec::new());
        let mut page = Self { browser, input, output, session, last_id: 0, complaints, _profile: profile };
        let target = page.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = page.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        page.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({}));
        }
        page.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": script}));
        page
    }

    /// Calls a method and returns its result.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a method; events that arrive meanwhile are looked at.
    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method});
        message["params"] = parameters;
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        self.input.flush().unwrap();
        loop {
            let mut bytes = Vec::new();
            self.output.read_until(0, &mut bytes).unwrap();
            assert!(!bytes.is_empty(), "the browser ended during {method}");
            let message: Value = serde_json::from_slice(&bytes[..bytes.len() - 1]).unwrap();
            if message["id"] == self.last_id {
                let is_error = !message["error"].is_null();
                return if is_error { Err(message["error"].clone()) } else { Ok(message["result"].clone()) };
            }
            self.complaints.extend(complaint(&message));
        }
    }

    /// Opens an address and waits until it has loaded.
    pub(crate) fn open(&mut self, address: &str) {
        self.call("Page.navigate", json!({"url": address}));
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// Opens the page's address again and waits until it has loaded.
    pub(crate) fn reload(&mut self) {
        self.value("window.isOld = true");
        self.call("Page.reload", json!({}));
        self.wait("!window.isOld && document.readyState === 'complete'");
    }

    /// The value of an expression, which may be a promise.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        self.try_value(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn try_value(&mut self, expression: &str) -> Result<Value, Value> {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.try_call("Runtime.evaluate", parameters)?;
        let is_exception = !result["exceptionDetails"].is_null();
        if is_exception { Err(result) } else { Ok(result["result"]["value"].clone()) }
    }

    /// Waits until an expression is true; while a page is replaced, it has no value.
    pub(crate) fn wait(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let value = self.try_value(expression);
            if value.as_ref().is_ok_and(|value| *value == true) {
                return;
            }
            if Instant::now() > end {
                let shown = self.value("document.body.innerText");
                panic!("{expression} is {value:?}\n{shown}\n{:?}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Types a text where the focus is.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Presses a key by its name.
    pub(crate) fn press(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let text = if key == "Enter" && kind == "keyDown" { "\r" } else { "" };
            self.call(
                "Input.dispatchKeyEvent",
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}),
            );
        }
    }
}

/// What an event says against the page.
fn complaint(event: &Value) -> Option<String> {
    let parameters = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(parameters["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if parameters["type"] == "error" || parameters["type"] == "warning" => {
            Some(parameters["args"].to_string())
        }
        "Log.entryAdded"
            if parameters["entry"]["level"] == "error" || parameters["entry"]["level"] == "warning" =>
        {
            Some(parameters["entry"].to_string())
        }
        _ => None,
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}
