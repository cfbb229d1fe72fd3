//! An OpenAI-compatible endpoint as the model, played by a server of the test's own whose tokens are characters.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

/// Serves until the process ends; returns `http://host:port/v1`.
fn serve(answer: fn(&str, &Value) -> (u16, Value)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve_one(stream, answer));
        }
    });
    url
}

fn serve_one(mut stream: TcpStream, answer: fn(&str, &Value) -> (u16, Value)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let path = first.split_whitespace().nth(1).unwrap();
    let (code, reply) = answer(path, &serde_json::from_slice(&body).unwrap());
    let text = reply.to_string();
    let head = format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{text}", text.len()).unwrap();
}

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
