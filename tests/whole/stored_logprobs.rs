//! `smoltalk gen --keep-logprobs` and `posttrain sft --stored-logprobs`: what a teacher found likely when it wrote a reply is
//! learned later, without the teacher.

use crate::clients::Served;
use crate::distillation::write_student;
use crate::local_http::serve;
use crate::programs::{
    killed_and_resumed, metric, of_project, posttrain, program, refused, succeeds, text_of,
};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// One question a row, and its reply.
const RECIPE: &str = r#"
about = "Short questions"
row_key = "questions"
source = "questions"
columns = ["question"]

[draw]
question = ["Hello!", "What can you do?", "Who are you?", "Tell me something.", "Thank you!", "Is it late?"]

[[step]]
name = "reply"

[[message]]
role = "user"
content = "{{ question }}"

[[message]]
role = "assistant"
content = "{{ reply }}"

[sampling.assistant]
temperature = 1.0
top_p = 1.0
max_tokens = 60
"#;

fn write_recipe(folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    std::fs::write(folder.join("reply.jinja"), "{{ question }}").unwrap();
    folder.join("recipe.toml")
}

fn generating(folder: &Path, teacher: &str, out: &Path) -> Command {
    let mut command = program("smoltalk");
    command.args(["gen", "--rows", "24", "--keep-logprobs", "20", "--teacher", teacher, "--recipe"]);
    command.arg(write_recipe(&folder.join("recipe"))).args(["--format", "jsonl"]).arg("--out").arg(out);
    command
}

/// Writes the rows whose tokens spell the reply and nothing else, so that both tokenizers split it alike.
fn write_aligned(out: &Path, into: &Path) {
    let data = out.join("data/recipe");
    let files = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let text: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let is_aligned = |line: &&str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let reply = &row["messages"][1];
        let first = reply["logprobs"][0]["token"].as_str().unwrap();
        reply["content"].as_str().unwrap().starts_with(first)
    };
    let kept: Vec<&str> = text.lines().filter(is_aligned).collect();
    assert!(kept.len() > 12, "{} rows", kept.len());
    std::fs::write(into, kept.join("\n")).unwrap();
}

/// Trains a step on rows; returns the loss and the cross-entropy before it.
fn first_step(folder: &Path, model: &Path, rows: &Path, name: &str, more: &[&str]) -> (f64, f64) {
    let out = folder.join(name);
    let mut command = posttrain(folder);
    command.arg("sft").arg("--model").arg(model).arg("--data").arg(rows).arg("--out").arg(&out);
    command.args(["--steps", "1", "--batch-size", "24", "--max-length", "256", "--precision", "f32"]);
    let text = succeeds(command.args(more));
    println!("{name}: {}", text.lines().find(|line| line.contains("rows:")).unwrap_or_default());
    (metric(&out, "loss")[0], metric(&out, "cross_entropy")[0])
}

#[test]
fn what_a_teacher_stored_is_what_it_would_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = of_project("models/pocket-instruct");
    let server = Served::start(&model, &[]);
    let endpoint = format!("{}/v1#stories", server.address);
    let own = model.to_str().unwrap();
    for (name, teacher) in [("embedded", own), ("served", &endpoint)] {
        succeeds(&mut generating(folder.path(), teacher, &path(&format!("{name}-rows"))));
        let rows = path(&format!("{name}.jsonl"));
        write_aligned(&path(&format!("{name}-rows")), &rows);
        // From itself a model has nothing to learn; an endpoint does not say how likely the end of a turn was.
        let (loss, cross_entropy) =
            first_step(folder.path(), &model, &rows, &format!("{name}-same"), &["--stored-logprobs"]);
        println!("{name}: {loss:.5} nats from itself, cross-entropy {cross_entropy:.3}");
        let most = if name == "embedded" { 1e-4 } else { 0.1 };
        assert!(loss.abs() < most && cross_entropy > 5.0 * loss, "{name}: {loss}, {cross_entropy}");
    }
    // Twenty tokens and a tail are nearly all that there is to learn.
    let student = path("student");
    write_student(&model, &student);
    for beta in ["0", "0.5", "1"] {
        let step = |name: &str, more: &[&str]| {
            let more = [more, &["--distill-beta", beta]].concat();
            first_step(folder.path(), &student, &path("embedded.jsonl"), &format!("{name}-{beta}"), &more).0
        };
        let (stored, live) = (step("stored", &["--stored-logprobs"]), step("live", &["--teacher", own]));
        println!("beta {beta}: {stored:.4} nats of {live:.4}");
        assert!(
            stored <= 1.01 * live && stored > 0.7 * live && stored > 0.01,
            "beta {beta}: {stored}, {live}"
        );
    }
}

#[test]
fn learning_from_what_is_stored_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = of_project("models/pocket-instruct");
    succeeds(&mut generating(folder.path(), model.to_str().unwrap(), &path("rows")));
    let student = path("student");
    write_student(&model, &student);
    let command = |out: &str| {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(&student).arg("--data").arg(path("rows"));
        command.arg("--out").arg(path(out)).args(["--stored-logprobs", "--steps", "12", "--save-steps", "3"]);
        command.args([
            "--batch-size",
            "4",
            "--max-length",
            "256",
            "--eval-split",
            "0.2",
            "--learning-rate",
            "3e-4",
        ]);
        command
    };
    succeeds(&mut command("whole"));
    killed_and_resumed(|| command("torn"), &path("torn"), 1);
    let bytes = |out: &str| std::fs::read(path(out).join("model.safetensors")).unwrap();
    assert!(bytes("whole") == bytes("torn"), "resumed weights differ");
    let losses = metric(&path("whole"), "eval_loss");
    assert!(losses[losses.len() - 1] < losses[0], "{losses:?}");
    refused(command("whole").args(["--distill-beta", "1"]), "distill_beta");
    for (flags, expected) in [
        (&["--teacher", "x"][..], "`stored_logprobs` takes no `teacher`"),
        (&["--distill-temperature", "2"], "temperature 1"),
    ] {
        refused(command("other").args(flags), expected);
    }
    let rows = path("plain.jsonl");
    std::fs::write(&rows, json!({"prompt": "Hi", "completion": "Hello."}).to_string()).unwrap();
    let mut without = posttrain(folder.path());
    without.args(["sft", "--stored-logprobs", "--model"]).arg(&student).arg("--data").arg(&rows);
    refused(without.arg("--out").arg(path("none")), "no_logprobs");
}

#[test]
fn an_endpoint_that_keeps_its_log_probabilities_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let asked = async |Json(body): Json<Value>| {
        assert_eq!((&body["logprobs"], &body["top_logprobs"]), (&json!(true), &json!(20)));
        let message = json!({"role": "assistant", "content": "I am here."});
        Json(
            json!({"choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}]}),
        )
    };
    let app = Router::new()
        .route("/v1/models", get(async || Json(json!({"data": []}))))
        .route("/v1/chat/completions", post(asked));
    let teacher = format!("{}/v1#m", serve(app));
    let output = generating(folder.path(), &teacher, &folder.path().join("out")).output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("without log-probabilities of their tokens (`--keep-logprobs`)"), "{text}");
}
