//! Chat templates that take all memory, all time or a whole stack, and those that write to the terminal: an error of their
//! model, within seconds, and `smolserve` and its other models live.

use crate::clients::long_stories;
use crate::programs::{program, text_of};
use crate::serving::{answer_text, memory, send};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Templates with what makes them harmful, while they are parsed or rendered.
fn harmful() -> Vec<(&'static str, String)> {
    let set = |start: &str, loops: &str, body: &str| {
        let loops: Vec<&str> = loops.split(' ').collect();
        let begin: String = loops.iter().map(|count| format!("{{% for i in range({count}) %}}")).collect();
        let end = "{% endfor %}".repeat(loops.len());
        format!("{{% set ns = namespace(t={start}, x=[]) %}}{begin}{body}{end}{{{{ ns.t | length }}}}")
    };
    let folded = vec!["('a' * 90000000)"; 200].join(" ~ ");
    vec![
        ("doubles by +", set("'aaaaaaaa'", "36", "{% set ns.t = ns.t + ns.t %}")),
        ("doubles by ~", set("'aaaaaaaa'", "36", "{% set ns.t = ns.t ~ ns.t %}")),
        ("is folded", format!("{{{{ {folded} }}}}")),
        ("pads by %", "{{ '%99999999999d' | format(1) }}".to_owned()),
        ("pads by format", "{{ '{:>99999999999}'.format(1) }}".to_owned()),
        ("replaces", set("'a' * 1000000", "1", "{% set ns.t = ns.t.replace('a', ns.t) %}")),
        ("joins", set("'a' * 1000000", "1", "{% set ns.t = ns.t.join(range(100000)) %}")),
        ("lists", "{{ ([0] * 100000000000) | list }}".to_owned()),
        ("nests", set("''", "2000 1000", "{% set ns.x = [ns.x] %}")),
        ("counts nothing", "{{ 'abc'.count('') }}".to_owned()),
        ("takes time", set("'a' * 50000000", "1000 100", "{% set x = ns.t.upper() %}")),
    ]
}

fn check(model: &Path, template: &Path) -> Output {
    let mut command = program("smolserve");
    command.arg("--check").arg("--model").arg(model).arg("--chat-template").arg(template);
    command.output().unwrap()
}

#[test]
fn harmful_templates_are_errors_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    for (name, source) in harmful() {
        let template = folder.path().join("harmful.jinja");
        std::fs::write(&template, source).unwrap();
        let began = Instant::now();
        let output = check(&model, &template);
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        assert!(text.contains("smolserve: ") && text.contains("template"), "{name}: {text}");
        assert!(began.elapsed() < Duration::from_secs(40), "{name}: {:?}", began.elapsed());
    }
}

#[test]
fn what_a_template_says_is_spelled_out() {
    let folder = tempfile::tempdir().unwrap();
    let Some(model) = long_stories(folder.path()) else { return };
    let template = folder.path().join("loud.jinja");
    std::fs::write(&template, "{{ raise_exception('\u{1b}]0;TITLE\u{7}\u{1b}[2J\u{202e}no') }}").unwrap();
    let output = check(&model, &template);
    assert_eq!(output.status.code(), Some(1));
    let text = text_of(&output);
    assert!(text.contains("TITLE") && !text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
}

/// A server over a folder of models.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.split(' ').find(|word| word.starts_with("http://")).unwrap_or_else(|| panic!("{line}"));
        Self { child, address: address.to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn other_models_answer_beside_one_with_a_harmful_template() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        long_stories(&folder.path().join(name))
    };
    let names = ["good", "doubles", "nests", "late"];
    if names.map(copy).iter().any(Option::is_none) {
        return;
    }
    let all = harmful();
    let source = |name: &str| &all.iter().find(|(known, _)| known.starts_with(name)).unwrap().1;
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name).join("chat_template.jinja"), text).unwrap();
    };
    write("doubles", source("doubles"));
    write("nests", source("nests"));
    // Harmful for one conversation only.
    write(
        "late",
        &format!("{{% if messages[0].content == 'now' %}}{}{{% endif %}}hi", source("doubles by ~")),
    );
    let mut command = program("smolserve");
    command.arg("--models").arg(folder.path()).args(["--port", "0"]);
    let server = Server::start(command);
    let chat = |model: &str, content: &str| {
        let messages = json!([{"role": "user", "content": content}]);
        let body = json!({"model": model, "messages": messages, "max_tokens": 4});
        send(&server.address, "/v1/chat/completions", Some(&body))
    };
    assert!(!answer_text(chat("good", "Hi")).is_empty());
    assert!(!answer_text(chat("late", "Hi")).is_empty());
    for (model, content) in [("doubles", "Hi"), ("nests", "Hi"), ("late", "now")] {
        let mut reply = String::new();
        chat(model, content).read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 4") && reply.contains("template"), "{model}: {reply}");
        let began = Instant::now();
        assert!(!answer_text(chat("good", "Hi")).is_empty(), "beside {model}");
        assert!(began.elapsed() < Duration::from_secs(5), "beside {model}");
    }
    assert!(memory(server.child.id(), "VmHWM") < 1e9);
    let health: Value = {
        let mut text = String::new();
        send(&server.address, "/health", None).read_to_string(&mut text).unwrap();
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    assert_eq!(health["status"], "ok", "{health}");
}
