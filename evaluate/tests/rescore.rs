//! `smoleval rescore` on stored replies: the verdicts are those of lm-evaluation-harness's own filters.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod shared;

use serde_json::{Value, json};
use shared::lines;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Writes a folder of results with these replies and scores them; returns the rows of each task.
fn rescored(rows: &BTreeMap<String, Vec<Value>>) -> BTreeMap<String, Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let summary = |task: &String| {
        json!({"task": task, "scorer": "", "shots": 0, "documents": rows[task].len(), "metrics": [], "files": {},
               "first_prompt": "", "first_prompt_ids": [], "seconds": 0.0})
    };
    for (task, rows) in rows {
        let record = |(index, row): (usize, &Value)| {
            json!({
                "task": task, "doc_id": index, "key": index.to_string(), "scorer": "old", "query": "",
                "gold": row["gold"], "response": row["response"], "finish": "stop", "tokens": 1, "metrics": {},
            })
        };
        let text: String = rows.iter().enumerate().map(|row| format!("{}\n", record(row))).collect();
        std::fs::write(folder.path().join(format!("{task}.jsonl")), text).unwrap();
    }
    let tasks: Vec<Value> = rows.keys().map(summary).collect();
    let results = json!({"program": "test", "name": "m", "model": {}, "groups": [], "tasks": tasks});
    std::fs::write(folder.path().join("results.json"), results.to_string()).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_smoleval")).arg("rescore").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |task: &String| (task.clone(), lines(&folder.path().join(format!("{task}.jsonl"))));
    rows.keys().map(read).collect()
}

#[test]
fn filters_are_lm_evals() {
    let golden = lines(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/filters.jsonl"));
    let mut by_task: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in golden {
        by_task.entry(row["task"].as_str().unwrap().to_owned()).or_default().push(row);
    }
    assert!(by_task.values().map(Vec::len).sum::<usize>() >= 2000);
    let rescored = rescored(&by_task);
    let mut different = Vec::new();
    for (task, rows) in &by_task {
        for (golden, own) in rows.iter().zip(&rescored[task]) {
            if golden["metrics"] != own["metrics"] {
                different.push(format!("{golden} is {}", own["metrics"]));
            }
            assert_eq!(own["scorer"], "lm-eval-0.4.13-v1");
        }
    }
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different[..different.len().min(10)].join("\n")
    );
}

#[test]
fn ifeval_and_gsm8k_verdicts_are_lm_evals() {
    let Some(data) = shared::shared_data() else { return };
    let golden = lines(&data.join("goldens/evaluation/ifeval_chat.jsonl"));
    let inputs: BTreeMap<u64, Value> = lines(&data.join("evaluation/ifeval/input_data.jsonl"))
        .into_iter()
        .map(|row| (row["key"].as_u64().unwrap(), row))
        .collect();
    let ifeval = golden.iter().map(|row| {
        let input = &inputs[&row["key"].as_u64().unwrap()];
        let gold = json!({"instruction_id_list": input["instruction_id_list"], "kwargs": input["kwargs"]});
        json!({"gold": gold, "response": row["response"]})
    });
    let gsm8k = lines(&data.join("goldens/evaluation/gsm8k.jsonl"));
    let answers = lines(&data.join("evaluation/gsm8k/test.jsonl"));
    let arithmetic = gsm8k.iter().map(|row| {
        json!({"gold": answers[row["doc_id"].as_u64().unwrap() as usize]["answer"], "response": row["response"]})
    });
    let rows = BTreeMap::from([
        ("ifeval".to_owned(), ifeval.collect::<Vec<_>>()),
        ("gsm8k".to_owned(), arithmetic.collect::<Vec<_>>()),
    ]);
    let rescored = rescored(&rows);
    for (golden, own) in golden.iter().zip(&rescored["ifeval"]) {
        for (name, verdict) in golden["metrics"].as_object().unwrap() {
            let own = &own["metrics"][name];
            let verdict =
                if verdict.is_boolean() { json!(f64::from(verdict == true)) } else { verdict.clone() };
            assert_eq!(*own, verdict, "{name}, key {}", golden["key"]);
        }
    }
    for (golden, own) in gsm8k.iter().zip(&rescored["gsm8k"]) {
        let is_right = |value: &Value| value.as_f64().unwrap() > 0.5;
        let golden = golden["metrics"].as_object().unwrap();
        for (own_name, own) in own["metrics"].as_object().unwrap() {
            let filter = own_name.split(',').next_back().unwrap();
            let verdict = golden.iter().find(|(name, _)| name.contains(filter));
            if let Some((_, verdict)) = verdict {
                assert_eq!(is_right(own), is_right(verdict), "{own_name}");
            }
        }
    }
}
