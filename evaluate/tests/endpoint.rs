//! An OpenAI-compatible endpoint as the model, played by a server of the test's own whose tokens are characters.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "endpoint/server.rs"]
mod server;

use serde_json::{Value, json};
use server::serve;
use std::path::Path;
use std::process::{Command, Output};

/// The made-up log-probability of a character.
fn logprob(letter: char) -> f64 {
    -f64::from(u32::from(letter) % 7) / 4.0
}

fn completions(path: &str, body: &Value) -> (u16, Value) {
    if path == "/v1/chat/completions" {
        let last = body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
        let text = if last.contains("moon") { "December 1972. And more" } else { "nothing" };
        let choice = json!({"message": {"content": text}, "finish_reason": "stop"});
        return (200, json!({"choices": [choice], "usage": {"completion_tokens": 3}}));
    }
    let prompt = format!("{}!", body["prompt"].as_str().unwrap());
    let letters: Vec<char> = prompt.chars().collect();
    let values: Vec<Value> = letters
        .iter()
        .enumerate()
        .map(|(at, one)| if at == 0 { Value::Null } else { json!(logprob(*one)) })
        .collect();
    let best: Vec<Value> = letters.iter().map(|letter| json!({letter.to_string(): 0.0})).collect();
    let logprobs = json!({
        "tokens": letters.iter().map(char::to_string).collect::<Vec<_>>(),
        "text_offset": (0..letters.len()).collect::<Vec<_>>(), "token_logprobs": values, "top_logprobs": best,
    });
    (200, json!({"choices": [{"text": prompt, "logprobs": logprobs}]}))
}

fn without_logprobs(_: &str, body: &Value) -> (u16, Value) {
    (200, json!({"choices": [{"text": body["prompt"], "logprobs": null}]}))
}

fn data(folder: &Path) {
    let rows = [
        (
            "openbookqa/test.jsonl",
            json!({"question_stem": "Süß is", "choices": {"text": ["sugar", "salt é"], "label": ["A", "B"]},
                                         "answerKey": "A"}),
        ),
        (
            "nq_open/validation.jsonl",
            json!({"question": "who was on the moon", "answer": ["1972", "december 1972"]}),
        ),
    ];
    for (name, row) in rows {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{row}\n")).unwrap();
    }
}

fn score(folder: &Path, url: &str, more: &[&str]) -> Output {
    let (data, out) = (folder.display().to_string(), folder.join("out").display().to_string());
    let model = format!("m={url}");
    let fixed = ["score", "--model", &model, "--data", &data, "--out", &out, "--endpoint-model", "any"];
    Command::new(env!("CARGO_BIN_EXE_smoleval")).args([&fixed[..], more].concat()).output().unwrap()
}

fn row(folder: &Path, task: &str) -> Value {
    let text = std::fs::read_to_string(folder.join(format!("out/m/{task}.jsonl"))).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn an_endpoint_scores_choices_and_replies_in_a_chat() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let url = serve(completions);
    let output = score(folder.path(), &url, &["--tasks", "openbookqa"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let scored = row(folder.path(), "openbookqa");
    for (index, choice) in [" sugar", " salt é"].iter().enumerate() {
        let expected: f64 = choice.chars().map(logprob).sum();
        let own = scored["loglikelihoods"][index].as_f64().unwrap();
        assert!((own - expected).abs() < 1e-9, "{choice}: {own} is not {expected}");
    }
    assert_eq!(scored["is_greedy"], json!([true, true]));
    let output = score(folder.path(), &url, &["--tasks", "nq_open", "--chat-template"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let reply = row(folder.path(), "nq_open");
    assert_eq!(reply["response"], "December 1972", "cut at the stop string");
    assert_eq!(reply["metrics"]["exact_match"], 1.0);
}

#[test]
fn an_endpoint_that_cannot_answer_is_refused_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let url = serve(without_logprobs);
    let error = |more: &[&str]| {
        let output = score(folder.path(), &url, more);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let message = error(&["--tasks", "openbookqa"]);
    assert!(
        message.contains("`openbookqa` needs log-probabilities") && message.contains("`echo`"),
        "{message}"
    );
    let message = error(&["--tasks", "openbookqa", "--chat-template"]);
    assert!(message.contains("`openbookqa`") && message.contains("`--chat-template`"), "{message}");
    assert!(!folder.path().join("out/m/openbookqa.jsonl").exists());
}

#[test]
fn options_that_do_not_apply_to_tasks_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    for more in [&["--parts", "pairs"][..], &["--kinds", "sum"], &["--per-kind", "3"], &["--shots", "5"]] {
        let output = score(folder.path(), "http://127.0.0.1:1", &[&["--tasks", "nq_open"], more].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && message.contains(more[0]) && message.contains("--tasks"),
            "{message}"
        );
    }
    let output = score(folder.path(), "http://127.0.0.1:1", &["--dtype", "bf16"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--tasks"));
}

#[test]
fn a_second_run_into_one_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let url = serve(completions);
    let out = folder.path().join("out/m");
    std::fs::create_dir_all(&out).unwrap();
    let lock = files::run_folder::Lock::acquire(&out, "another run").unwrap();
    let arguments = ["--tasks", "nq_open", "--chat-template"];
    let output = score(folder.path(), &url, &arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && message.contains("in use") && message.contains("another run"),
        "{message}"
    );
    assert!(!out.join("nq_open.jsonl").exists());
    drop(lock);
    assert!(score(folder.path(), &url, &arguments).status.success());
}

/// A hub with one dataset, and a model.
fn hub_and_model(path: &str, body: &Value) -> (u16, Value) {
    let row = json!({"question_stem": "Süß is", "choices": {"text": ["sugar", "salt"], "label": ["A", "B"]},
                     "answerKey": "A"});
    let text = row.to_string();
    if path.contains("/api/datasets/") && path.contains("openbookqa/revision/main") {
        let hash = files::hash::sha256(&text);
        let file = |name: &str| json!({"rfilename": name, "size": text.len(), "lfs": {"sha256": hash, "size": text.len()}});
        let files = ["README.md", "additional/test.jsonl", "main/test-00000-of-00001.jsonl"].map(file);
        return (200, json!({"sha": "c0ffee", "siblings": files}));
    }
    match path.contains("/resolve/c0ffee/main/test-00000-of-00001.jsonl") {
        true => (200, row),
        false if path.starts_with("/v1/") => completions(path, body),
        false => (404, json!({"error": "no such dataset"})),
    }
}

#[test]
fn a_dataset_is_fetched_once_from_the_hub() {
    let folder = tempfile::tempdir().unwrap();
    let url = serve(hub_and_model);
    let hub = url.trim_end_matches("/v1").to_owned();
    let run = |hub: &str, out: &str, more: &[&str]| {
        let (model, out) = (format!("m={url}"), folder.path().join(out).display().to_string());
        let fixed = ["score", "--model", &model, "--out", &out, "--endpoint-model", "any"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_smoleval"));
        command.args([&fixed[..], more].concat()).env("HF_ENDPOINT", hub);
        command.env("HF_HUB_CACHE", folder.path().join("cache")).env_remove("HF_HUB_OFFLINE");
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let files = |out: &str| {
        let text = std::fs::read_to_string(folder.path().join(out).join("m/results.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["tasks"][0]["files"].clone()
    };
    let tasks = ["--tasks", "openbookqa"];
    let (is_done, message) = run(&hub, "first", &tasks);
    assert!(is_done, "{message}");
    let names = files("first");
    let hash = &names["allenai/openbookqa@c0ffee/main/test-00000-of-00001.jsonl"];
    assert!(hash.as_str().is_some_and(|hash| hash.len() == 64), "{names}");
    // No hub any more: the cache has the file.
    let (is_done, message) = run("http://127.0.0.1:1", "second", &tasks);
    assert!(is_done && files("second") == names, "{message}");
    let (is_done, message) = run(&hub, "third", &["--tasks", "openbookqa", "--data", "mirror/openbookqa"]);
    assert!(is_done && files("third").to_string().contains("mirror/openbookqa@c0ffee/"), "{message}");
    let (is_done, message) = run(&hub, "none", &["--tasks", "piqa"]);
    assert!(!is_done && message.contains("baber/piqa"), "{message}");
    let (is_done, message) = run(&hub, "none", &["--tasks", "piqa", "--data", "mirror/openbookqa"]);
    let reason = "mirror/openbookqa on the hub has no validation";
    assert!(!is_done && message.contains(reason), "{message}");
    let (is_done, message) = run(&hub, "none", &["--tasks", "perplexity"]);
    assert!(
        !is_done && message.contains("is not on the hub") && message.contains("`--data FOLDER`"),
        "{message}"
    );
    let (is_done, message) = run(&hub, "none", &["--tasks", "piqa", "--data", "no folder"]);
    assert!(!is_done && message.contains("no folder does not exist"), "{message}");
}
