//! `smoltalk gen` with a recipe that runs what the teacher writes: tests decide which rows are kept.

use crate::local_http::{hash, serve};
use crate::programs::{of_project, program, read_json, text_of};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the teacher's tests do, by the last figure of the task.
const TESTS: [&str; 6] = [
    "assert f(1) == 2\nassert f(0) == 0",
    "```python\nassert f(2) == 4, 'doubles'\n```\nThat is all.",
    "```python\nassert f(1) == 3\n```",
    "```python\nassert True\n```",
    "```python\nprint(f(1))\n```",
    "```python\nimport socket\nassert f(1) == 2\nsocket.socket()\n```",
];

async fn answer(State(requests): State<Arc<AtomicUsize>>, Json(body): Json<Value>) -> Json<Value> {
    requests.fetch_add(1, Ordering::Relaxed);
    let prompt = body["messages"][0]["content"].as_str().unwrap();
    let text = if prompt.contains("Write tests of it") {
        let number = prompt.split(['#', '.']).nth(1).unwrap().parse::<usize>().unwrap();
        TESTS[number % TESTS.len()].to_owned()
    } else if prompt.contains("Solve it in Python") {
        "```python\ndef f(x):\n    return 2 * x\n```\nIt doubles its argument.".to_owned()
    } else {
        let number = hash(&body.to_string());
        let words: Vec<String> =
            (0..20).map(|word| format!("w{}", hash(&format!("{number}{word}")) % 10_000)).collect();
        format!("#{}. Write a function `f(x)` that doubles x. {}", number % 6000, words.join(" "))
    };
    let choice =
        json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    Json(json!({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}))
}

fn generate(teacher: &str, out: &Path, more: &[&str]) -> Output {
    let mut command = program("smoltalk");
    command.args(["gen", "--rows", "60", "--teacher", teacher, "--out"]).arg(out).arg("--recipe");
    command.arg(of_project("generate/recipes/code-with-tests/recipe.toml")).args(more).output().unwrap()
}

#[test]
fn rows_of_code_are_kept_if_their_tests_pass() {
    if !cfg!(target_os = "linux")
        || !Path::new("/usr/bin/python3").exists() && !Path::new("/usr/local/bin/python3").exists()
    {
        eprintln!("skipped: no python3 of the system");
        return;
    }
    let requests: Arc<AtomicUsize> = Arc::default();
    let app = Router::new()
        .route("/v1/models", get(async || Json(json!({"data": []}))))
        .route("/v1/chat/completions", post(answer))
        .with_state(requests.clone());
    let teacher = format!("{}/v1#coder", serve(app));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refused = generate(&teacher, &out, &[]);
    assert_eq!((refused.status.code(), requests.load(Ordering::Relaxed)), (Some(2), 0));
    assert!(text_of(&refused).contains("runs code that the teacher writes; give `--allow-code`"));
    let output = generate(&teacher, &out, &["--allow-code"]);
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(text_of(&output).contains("note: code runs in Python 3"), "{}", text_of(&output));
    let config = read_json(&out.join("run.json"))["configs"]["code-with-tests"].clone();
    let dropped = &config["dropped"];
    for reason in ["tests_failed", "empty_tests", "no_tests"] {
        assert!(dropped[reason].as_u64().is_some_and(|count| count > 1), "{reason}: {config}");
    }
    let rows: Vec<Value> = datasets::read(&out.join("data"))
        .unwrap()
        .map(|row| serde_json::to_value(row.unwrap().row).unwrap())
        .collect();
    assert!(rows.len() > 5, "{config}");
    for row in rows {
        let task = row["messages"][0]["content"].as_str().unwrap();
        let number: usize = task.split(['#', '.']).nth(1).unwrap().parse().unwrap();
        assert!(number % TESTS.len() < 2, "{row}");
        assert_eq!(row["tests"], TESTS[number % TESTS.len()]);
        assert!(row["concept"].is_string() && row["level"].is_string(), "{row}");
    }
    let lines = std::fs::read_to_string(out.join("dropped.jsonl")).unwrap();
    assert!(lines.contains("AssertionError") && lines.contains("PermissionError"), "{lines}");
}
