//! `mt_bench`: conversations of two turns with an endpoint, judged by another one.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[path = "endpoint/server.rs"]
mod server;

use serde_json::{Value, json};
use server::serve;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests to the model that is evaluated.
static ASKED: AtomicUsize = AtomicUsize::new(0);

fn reply(text: &str) -> (u16, Value) {
    let choice = json!({"message": {"content": text}, "finish_reason": "stop"});
    (200, json!({"choices": [choice], "usage": {"completion_tokens": 2}}))
}

fn model_and_judge(_: &str, body: &Value) -> (u16, Value) {
    let messages = body["messages"].as_array().unwrap();
    let last = messages.last().unwrap()["content"].as_str().unwrap();
    match body["model"].as_str().unwrap() {
        "broken" if last.len() > 30 => (400, json!({"error": "no"})),
        "judge" | "broken" => {
            // What is judged, so that the test sees it.
            let rating = if last.contains("second") { "Rating: [[4]]" } else { "Rating: [[7]]" };
            let system = messages[0]["role"] == "system";
            assert_eq!(body["temperature"], 0.0);
            reply(&format!("{last} ({system}) {rating}"))
        }
        _ => {
            ASKED.fetch_add(1, Ordering::SeqCst);
            let expected = if last.contains("Poem") { 0.7 } else { 0.0 };
            assert!(
                (body["temperature"].as_f64().unwrap() - expected).abs() < 1e-6 || messages.len() > 1,
                "{body}"
            );
            reply(&format!("reply {} to {last}", messages.len()))
        }
    }
}

fn files(folder: &Path) {
    let folder = folder.join("mt-bench");
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, rows: &[Value]| {
        let text: Vec<String> = rows.iter().map(Value::to_string).collect();
        std::fs::write(folder.join(name), text.join("\n")).unwrap();
    };
    write(
        "question.jsonl",
        &[
            json!({"question_id": 81, "category": "writing", "turns": ["Poem {answer}", "Again"]}),
            json!({"question_id": 111, "category": "math", "turns": ["1 + 1", "And 2 more"]}),
        ],
    );
    let prompt = |name: &str, system: &str, template: &str| json!({"name": name, "type": "single", "system_prompt": system, "prompt_template": template});
    write(
        "judge_prompts.jsonl",
        &[
            prompt("single-v1", "Judge.", "Q {question} A {answer}"),
            prompt("single-math-v1", "Judge.", "Q {question} R {ref_answer_1} A {answer}"),
            prompt(
                "single-v1-multi-turn",
                "",
                "Q {question_1} A {answer_1} Q {question_2} A {answer_2} second",
            ),
            prompt(
                "single-math-v1-multi-turn",
                "",
                "R {ref_answer_1} {ref_answer_2} A {answer_1} A {answer_2} second",
            ),
        ],
    );
    write(
        "reference_answer-gpt-4.jsonl",
        &[json!({"question_id": 111, "choices": [{"turns": ["two", "four"]}]})],
    );
}

fn references(folder: &Path, rows: &[Value]) {
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(folder.join("mt-bench/reference_answer-gpt-4.jsonl"), text.join("\n")).unwrap();
}

/// The reference answers to the question of mathematics.
fn reference(second: &str) -> Value {
    json!({"question_id": 111, "choices": [{"turns": ["two", second]}]})
}

fn score(folder: &Path, url: &str, more: &[&str]) -> Output {
    let (data, out) = (folder.display().to_string(), folder.join("out").display().to_string());
    let model = format!("m={url}");
    let fixed = ["score", "--model", &model, "--data", &data, "--out", &out, "--endpoint-model", "any"];
    let arguments = [&fixed[..], &["--tasks", "mt_bench"], more].concat();
    Command::new(env!("CARGO_BIN_EXE_smoleval")).args(arguments).output().unwrap()
}

fn rows(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("out/m/mt_bench.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn replies_are_stored_then_judged() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let url = serve(model_and_judge);
    let error = |more: &[&str]| {
        let output = score(folder.path(), &url, more);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let judge =
        |name: &'static str| ["--chat-template", "--judge", &url, "--judge-model", name].map(str::to_owned);
    let message = error(&["--chat-template"]);
    assert!(message.contains("`mt_bench` needs a judge") && message.contains("`--judge URL`"), "{message}");
    let message = error(&["--judge", &url, "--judge-model", "judge"]);
    assert!(message.contains("`mt_bench` is a conversation; give `--chat-template`"), "{message}");
    let message = error(&["--chat-template", "--judge", "http://127.0.0.1:1", "--judge-model", "judge"]);
    assert!(message.contains("the judge") && ASKED.load(Ordering::SeqCst) == 0, "{message}");

    // A question without its reference answer is refused before the first reply.
    let good = judge("judge");
    let good: Vec<&str> = good.iter().map(String::as_str).collect();
    references(folder.path(), &[json!({"question_id": 112, "choices": [{"turns": ["x", "y"]}]})]);
    let message = error(&good);
    assert!(message.contains("question 111 has no reference answer"), "{message}");
    assert_eq!(ASKED.load(Ordering::SeqCst), 0, "{message}");
    references(folder.path(), &[reference("four")]);

    // A judge that fails later loses no reply.
    let broken = judge("broken");
    let message = error(&broken.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(message.contains("returned 400"), "{message}");
    assert_eq!((rows(folder.path()).len(), ASKED.load(Ordering::SeqCst)), (2, 4));
    let output = score(folder.path(), &url, &good);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(ASKED.load(Ordering::SeqCst), 4, "nothing is asked again");
    let rows = rows(folder.path());
    assert_eq!(rows[0]["responses"], json!(["reply 1 to Poem {answer}", "reply 3 to Again"]));
    let judgments = rows.iter().flat_map(|row| row["judgments"].as_array().unwrap());
    let judgments: Vec<&str> = judgments.map(|one| one.as_str().unwrap()).collect();
    assert_eq!(
        judgments,
        [
            "Q Poem {answer} A reply 1 to Poem {answer} (true) Rating: [[7]]",
            "Q Poem {answer} A reply 1 to Poem {answer} Q Again A reply 3 to Again second (false) Rating: [[4]]",
            "Q 1 + 1 R two A reply 1 to 1 + 1 (true) Rating: [[7]]",
            "R two four A reply 1 to 1 + 1 A reply 3 to And 2 more second (false) Rating: [[4]]",
        ]
    );
    let results = std::fs::read_to_string(folder.path().join("out/m/results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let metrics = results["tasks"][0]["metrics"].as_array().unwrap().iter();
    let values: Vec<(String, f64)> = metrics
        .map(|one| (one["metric"].as_str().unwrap().to_owned(), one["value"].as_f64().unwrap()))
        .collect();
    let expected =
        [("points_per_turn", 5.5), ("points_per_first_turn", 7.0), ("points_per_second_turn", 4.0)];
    assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(results["tasks"][0]["files"].as_object().unwrap().len(), 3);

    // The stored judgments are read again without a judge.
    let rescore = Command::new(env!("CARGO_BIN_EXE_smoleval"))
        .arg("rescore")
        .arg(folder.path().join("out"))
        .output()
        .unwrap();
    let table = String::from_utf8(rescore.stdout).unwrap();
    assert!(rescore.status.success() && table.contains("5.5000"), "{table}");
    judged_again(folder.path(), &url, &good, &rows);
}

/// Changes a reference answer, and then the file of the replies.
fn judged_again(folder: &Path, url: &str, good: &[&str], before: &[Value]) {
    // Another reference answer: the stored replies to its question are judged again, the others' judgments stay.
    references(folder, &[reference("five")]);
    assert!(score(folder, url, good).status.success());
    let after = rows(folder);
    assert_eq!(ASKED.load(Ordering::SeqCst), 4, "nothing is asked again");
    assert_eq!(after[0], before[0]);
    assert!(after[1]["judgments"][1].as_str().unwrap().starts_with("R two five"), "{}", after[1]);

    // A file with other documents than the scores are of: a run was stopped.
    let path = folder.join("out/m/mt_bench.jsonl");
    std::fs::write(&path, format!("{}\n", after[0])).unwrap();
    let rescore =
        Command::new(env!("CARGO_BIN_EXE_smoleval")).arg("rescore").arg(folder.join("out")).output().unwrap();
    let message = String::from_utf8(rescore.stderr).unwrap();
    assert!(!rescore.status.success() && message.contains("has 1 documents"), "{message}");
}
