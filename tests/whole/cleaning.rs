//! `smoltalk clean`: the same result on any number of cores, and with the embeddings of an endpoint that misbehaves.

use crate::local_http::serve;
use crate::programs::{loads_with_datasets, program, read_json, succeeds};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// SHA-256 of `dropped.jsonl` for the rows below, as it was when rows were compared one after another.
const DROPPED: &str = "700748455c5ba8d08ccada3a8e7507629833f090ba95f1189163bade44d050b4";

/// A text of sixty words; texts of different numbers have few in common.
fn words(number: usize) -> String {
    let word = |place: usize| format!("w{}", (number * 7919 + place * 104_729) % 50_021);
    (0..60).map(word).collect::<Vec<_>>().join(" ")
}

/// A row: a copy, nearly a copy, a question of the set with more words, an empty reply, or a text of its own.
fn row(index: usize) -> Value {
    let text = match index {
        index if index % 500 == 11 => String::new(),
        index if index % 10 == 9 => words(index - 9),
        index if index % 15 == 7 => format!("{} more", words(index - 5)),
        index if index % 50 == 3 => format!("Q {} and some more words", words(100_000 + index % 4)),
        index => words(index),
    };
    let question = json!({"role": "user", "content": format!("question {}", index % 7)});
    let mut row = json!({"messages": [question, {"role": "assistant", "content": text}], "id": index});
    if index.is_multiple_of(3) {
        row["messages"][0]["name"] = "x".into();
    }
    if index.is_multiple_of(4) {
        row["note"] = if index.is_multiple_of(8) { "x".into() } else { json!(index as f64 / 2.0) };
    }
    row
}

#[test]
fn any_number_of_threads_drops_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(
        folder.join("rows.jsonl"),
        (0..3000).map(|index| format!("{}\n", row(index))).collect::<String>(),
    )
    .unwrap();
    let question =
        |number: usize| format!("{}\n", json!({"question": words(100_000 + number), "answer": "a"}));
    std::fs::write(folder.join("set.jsonl"), (0..4).map(question).collect::<String>()).unwrap();
    let files = ["dropped.jsonl", "contamination.json", "clean.json", "data/train-00000-of-00001.parquet"];
    let clean = |threads: &str| {
        let mut command = program("smoltalk");
        command.current_dir(folder).env("RAYON_NUM_THREADS", threads);
        succeeds(command.args([
            "clean",
            "rows.jsonl",
            "--decontaminate",
            "made=set.jsonl#question",
            "--out",
            "out",
        ]));
        files.map(|name| std::fs::read(folder.join("out").join(name)).unwrap())
    };
    let one = clean("1");
    assert_eq!(files::hash::sha256(&one[0]), DROPPED);
    for threads in ["2", "5"] {
        let other = clean(threads);
        for (name, same) in files.iter().zip(one.iter().zip(&other).map(|(one, other)| one == other)) {
            assert!(same, "{name} with {threads} threads");
        }
    }
}

/// 429 first, a 400 for any request with the text "refuse me", else a vector a text, turned by its length.
async fn answer(State(asked): State<Arc<AtomicUsize>>, Json(body): Json<Value>) -> Response {
    let texts: Vec<&str> = body["input"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let vector = |(index, text): (usize, &&str)| {
        let angle = text.len() as f64 / 1000.0;
        json!({"index": index, "embedding": [angle.cos(), angle.sin()]})
    };
    match (asked.fetch_add(1, Ordering::Relaxed), texts.iter().any(|text| text.contains("refuse me"))) {
        (0, _) => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "{}").into_response(),
        (_, true) => {
            (StatusCode::BAD_REQUEST, Json(json!({"error": {"message": "too long"}}))).into_response()
        }
        _ => Json(json!({"data": texts.iter().enumerate().rev().map(vector).collect::<Vec<_>>()}))
            .into_response(),
    }
}

#[test]
fn embeddings_of_an_endpoint_find_what_words_do_not() {
    let app = Router::new().route("/v1/embeddings", post(answer)).with_state(Arc::default());
    let endpoint = format!("{}/v1#made", serve(app));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // By length the first and the third are alike, and nothing is like the second.
    let texts = ["a".repeat(100), "b".repeat(1500), "c".repeat(120), "refuse me".to_owned()];
    let rows: Vec<String> = texts.iter().map(|text| json!({"text": text}).to_string()).collect();
    std::fs::write(folder.join("rows.jsonl"), rows.join("\n")).unwrap();
    let mut command = program("smoltalk");
    command.arg("clean").arg(folder.join("rows.jsonl")).arg("--out").arg(folder.join("out"));
    succeeds(command.args(["--embeddings", &endpoint]));
    let dropped = std::fs::read_to_string(folder.join("out/dropped.jsonl")).unwrap();
    let dropped: Vec<Value> = dropped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(dropped.len(), 1, "{dropped:?}");
    assert_eq!((&dropped[0]["row"], &dropped[0]["of"]), (&json!("rows.jsonl:3"), &json!("rows.jsonl:1")));
    assert_eq!(dropped[0]["reason"], "near_embedding");
    assert!((dropped[0]["similarity"].as_f64().unwrap() - 0.02f64.cos()).abs() < 1e-6);
    let manifest = read_json(&folder.join("out/clean.json"));
    assert_eq!(manifest["kept"], 3);
    loads_with_datasets(&folder.join("out"), 1);
    assert!(manifest["kept_without_an_embedding"][0].as_str().unwrap().contains("too long"), "{manifest}");
}
