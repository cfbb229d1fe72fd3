//! Tests of the whole command on small folders.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::{Options, run};
use clap::Parser;
use serde_json::{Value, json};
use std::path::Path;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn clean(folder: &Path, arguments: &[&str]) -> anyhow::Result<u8> {
    let (input, out) = (folder.join("in"), folder.join("out"));
    let fixed = ["clean", input.to_str().unwrap(), "--out", out.to_str().unwrap()];
    run(&Line::try_parse_from(fixed.iter().chain(arguments))?.options)
}

fn write_lines(path: &Path, rows: &[Value]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn story(number: usize) -> String {
    (0..40).map(|word| format!("word{}", number * 100 + word)).collect::<Vec<_>>().join(" ")
}

const QUESTION: &str =
    "A baker fills twelve trays with nine rolls each and sells half of them. How many are left?";

/// Alpaca rows: a story, its copy with one more word, a question of the set, another story.
fn alpaca(folder: &Path) {
    let row = |id: &str, output: String| json!({"instruction": "Tell", "input": "", "output": output, "id": id, "n": 1.5});
    let rows = [
        row("a", story(1)),
        row("b", format!("{} more", story(1))),
        row("c", QUESTION.to_lowercase()),
        row("d", story(2)),
    ];
    write_lines(&folder.join("in/rows.jsonl"), &rows);
    let set = [
        json!({"question": QUESTION, "answer": "It is #### 54"}),
        json!({"question": "Short?", "answer": ""}),
    ];
    write_lines(&folder.join("set.jsonl"), &set);
}

#[test]
fn rows_are_dropped_with_their_reasons_and_the_rest_keep_their_columns() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    alpaca(folder);
    let set = format!("gsm8k={}", folder.join("set.jsonl").display());
    let arguments = ["--decontaminate", set.as_str()];
    assert_eq!(clean(folder, &arguments).unwrap(), 0);
    let kept: Vec<Value> =
        datasets::read_raw(&folder.join("out")).unwrap().map(|raw| raw.unwrap().object.into()).collect();
    let row = |id: &str, output: String| json!({"instruction": "Tell", "input": "", "output": output, "id": id, "n": 1.5});
    assert_eq!(kept, [row("a", story(1)), row("d", story(2))]);
    let dropped = lines(&folder.join("out/dropped.jsonl"));
    assert_eq!(dropped.len(), 2);
    let near = &dropped[0];
    assert_eq!((&near["row"], &near["of"]), (&json!("rows.jsonl:2"), &json!("rows.jsonl:1")));
    assert!(near["reason"] == "near_duplicate" && near["similarity"].as_f64().unwrap() > 0.8, "{near}");
    let hit = &dropped[1];
    assert_eq!(
        (&hit["id"], &hit["reason"], &hit["set"]),
        (&json!("c"), &json!("contaminated"), &json!("gsm8k"))
    );
    assert_eq!((&hit["item"], &hit["ratio"]), (&json!("line 1"), &json!(1.0)));
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("out/contamination.json")).unwrap())
            .unwrap();
    assert_eq!(report["rows_contaminated"], 1);
    assert_eq!(report["questions_shorter_than_an_ngram"], 1);
    assert_eq!(report["hits"][0]["ngram"], hit["ngram"]);

    // The same command over its own output writes the same bytes.
    let files = [
        "clean.json",
        "README.md",
        "dropped.jsonl",
        "contamination.json",
        "data/train-00000-of-00001.parquet",
    ];
    let bytes = || files.map(|file| std::fs::read(folder.join("out").join(file)).unwrap());
    let before = bytes();
    clean(folder, &arguments).unwrap();
    assert!(before == bytes());
}

#[test]
fn unreadable_rows_and_foreign_folders_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    alpaca(folder);
    let bad = [json!({"instruction": 3, "output": "x"}), json!({"instruction": "b", "output": story(9)})];
    write_lines(&folder.join("in/worse.jsonl"), &bad);
    let refused = |arguments: &[&str]| format!("{:#}", clean(folder, arguments).unwrap_err());
    let reason = refused(&[]);
    assert!(
        reason.contains("worse.jsonl, line 1: instruction is 3") && reason.contains("--skip-invalid"),
        "{reason}"
    );
    assert!(refused(&["--decontaminate", "mine=nowhere.jsonl"]).contains("nowhere.jsonl"));
    assert!(refused(&["--similarity", "1.5"]).contains("from 0 to 1"));
    clean(folder, &["--skip-invalid", "--no-near-duplicates"]).unwrap();
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("out/clean.json")).unwrap()).unwrap();
    assert_eq!((&manifest["kept"], &manifest["rows"]), (&json!(5), &json!(5)));
    assert!(manifest["skipped"][0].as_str().unwrap().contains("worse.jsonl, line 1"), "{manifest}");
    for name in ["clean.json", "checksums.json"] {
        std::fs::remove_file(folder.join("out").join(name)).unwrap();
    }
    assert!(refused(&["--skip-invalid"]).contains("did not write"));
}
