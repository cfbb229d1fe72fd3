//! `posttrain ... --eval-tasks`: the scores are those of `smoleval` for the same weights, and the run stays as it is
//! without them.

use crate::programs::{killed_and_resumed, metric_lines, program, read_json, refused, succeeds};
use crate::workshop::Workshop;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of datasets with six questions.
pub(crate) fn datasets(workshop: &Workshop) -> PathBuf {
    let rows = (0..6).map(|index| {
        let choices = json!({"text": [format!("{index}"), "no".to_owned()], "label": ["A", "B"]});
        json!({"question": format!("Count {index}."), "choices": choices, "answerKey": if index % 2 == 0 {"A"} else {"B"}})
    });
    let folder = workshop.path("datasets/ai2_arc/ARC-Easy");
    std::fs::create_dir_all(&folder).unwrap();
    let text: Vec<String> = rows.map(|row| row.to_string()).collect();
    std::fs::write(folder.join("test.jsonl"), text.join("\n")).unwrap();
    workshop.path("datasets")
}

fn with_tasks(mut command: Command, data: &Path, tasks: &str) -> Command {
    command.arg("--eval-tasks").arg(tasks).arg("--eval-tasks-data").arg(data);
    command.args(["--eval-limit", "4", "--eval-every", "2"]);
    command
}

/// The lines with scores: the step, and the values without the time that they took.
fn scores(out: &Path) -> Vec<(Value, Vec<Value>)> {
    let lines = metric_lines(out).into_iter().filter(|line| line.get("benchmark_seconds").is_some());
    let keys = ["acc", "acc_stderr", "acc_norm", "acc_norm_stderr"].map(|key| format!("eval_arc_easy/{key}"));
    lines.map(|line| (line["step"].clone(), keys.iter().map(|key| line[key].clone()).collect())).collect()
}

/// What `smoleval` says about the model of a run.
fn scored_by_smoleval(workshop: &Workshop, run: &Path, data: &Path) -> Vec<Value> {
    let out = run.join("../smoleval");
    let mut command = program("smoleval");
    command.arg("score").arg("--model").arg(format!("m={}", run.display())).args(["--tasks", "arc_easy"]);
    command.arg("--data").arg(data).args(["--limit", "4"]).arg("--out").arg(&out);
    succeeds(command.current_dir(workshop.folder.path()));
    let results = read_json(&out.join("m/results.json"));
    let metrics = results["tasks"][0]["metrics"].as_array().unwrap().iter();
    metrics.flat_map(|one| [one["value"].clone(), one["standard_error"].clone()]).collect()
}

#[test]
fn scores_in_training_are_smolevals_and_change_nothing() {
    let workshop = Workshop::new();
    let data = datasets(&workshop);
    let command = |name: &str, root: &str| match name {
        "sft" => workshop.tune("sft", "chats.jsonl", root),
        "dpo" => workshop.tune("dpo", "pairs.jsonl", root),
        _ => {
            let mut command = workshop.pretrain(root);
            command.args(["--tokens", "768", "--save-steps", "2"]);
            command
        }
    };
    for name in ["sft", "dpo", "pretrain"] {
        let (plain, scored) = (format!("{name}-plain"), format!("{name}-scored"));
        succeeds(&mut command(name, &plain));
        let said = succeeds(&mut with_tasks(command(name, &scored), &data, "arc_easy"));
        let (plain, scored) = (workshop.path(&plain).join("run"), workshop.path(&scored).join("run"));
        let weights = |run: &Path| std::fs::read(run.join("model.safetensors")).unwrap();
        assert!(weights(&plain) == weights(&scored), "{name}: other weights");
        let found = scores(&scored);
        assert_eq!(found.iter().map(|(step, _)| step.clone()).collect::<Vec<_>>(), [0, 2, 4, 6], "{name}");
        assert_eq!(found[3].1, scored_by_smoleval(&workshop, &scored, &data), "{name}: the same bits");
        assert!(said.contains("step 4: arc_easy acc "), "{said}");
        assert_eq!(read_json(&scored.join("run.json"))["benchmarks"]["arc_easy"]["documents"], 4);
        let report = std::fs::read_to_string(scored.join("report.html")).unwrap();
        assert!(report.contains("Benchmark scores") && report.contains("arc_easy, acc_norm"), "{report}");
        let names = std::fs::read_dir(&scored).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with(".writing-")), "{name}");

        let killed = format!("{name}-killed");
        let out = workshop.path(&killed).join("run");
        killed_and_resumed(|| with_tasks(command(name, &killed), &data, "arc_easy"), &out, 1);
        assert_eq!(scores(&out), found, "{name}: a run that was killed has the same scores");
        assert!(weights(&out) == weights(&plain), "{name}: other weights after a kill");
    }
}

#[test]
fn tasks_that_cannot_be_scored_are_refused_before_the_first_step() {
    let workshop = Workshop::new();
    let data = datasets(&workshop);
    let command = || workshop.tune("sft", "chats.jsonl", "refused");
    refused(&mut with_tasks(command(), &data, "arc_esay"), "`arc_easy`");
    refused(&mut with_tasks(command(), &data, "piqa"), "baber/piqa");
    refused(&mut with_tasks(command(), &data, "humaneval"), "`humaneval` runs the model's code");
    refused(command().args(["--eval-limit", "3"]), "`--eval-limit` has no effect");
    // Longer than the model's context of 64 tokens.
    let path = data.join("ai2_arc/ARC-Easy/test.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("Count", &"count ".repeat(60))).unwrap();
    refused(&mut with_tasks(command(), &data, "arc_easy"), "`arc_easy`: document 0 needs");
    assert!(metric_lines(&workshop.path("refused/run")).is_empty(), "nothing was trained");
}
