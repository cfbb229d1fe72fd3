//! Files of LLaMA-Factory's kinds through every command that reads rows, and what each becomes: small ones of our own, and the
//! demonstration files of LLaMA-Factory where the shared data has them.

use crate::programs::{posttrain, program, read_json, succeeds, text_of};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tests::shared_data;

/// What became of a file: the numbers that each command reports.
#[derive(Debug, PartialEq, Eq)]
struct Became {
    rows: u64,
    /// Sequences that `sft` trains on; pairs are refused.
    sft: u64,
    /// Sequences that `dpo` trains on, two a pair; `None` where there are no pairs.
    dpo: Option<u64>,
    /// Rows of a mix and of a cleaned dataset.
    mixed: u64,
    cleaned: u64,
}

/// Sends a file through all commands, prints a line about it, and returns its numbers.
fn through_all(model: &Path, file: &Path, has_pairs: bool, max_length: &str) -> Became {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let name = file.file_name().unwrap().to_str().unwrap();
    let mut line = name.to_owned();
    let mut inspect = posttrain(folder.path());
    inspect.arg("inspect").arg(file).arg("--model").arg(model).args(["--counts", "--max-length", max_length]);
    let shown = String::from_utf8(inspect.output().unwrap().stdout).unwrap();
    let _ = write!(line, "\n    inspect: {}", shown.lines().next().unwrap_or_default());
    let training = |command: &str| {
        let mut training = posttrain(folder.path());
        training
            .arg(command)
            .arg("--model")
            .arg(model)
            .arg("--data")
            .arg(file)
            .arg("--out")
            .arg(path(command));
        training.args(["--steps", "10", "--batch-size", "2", "--max-length", max_length]);
        training
    };
    let mut sequences = |command: &str| {
        succeeds(&mut training(command));
        let counts = read_json(&path(command).join("run.json"))["rows"].clone();
        let _ = write!(line, "\n    {command}: {counts}");
        counts["sequences"].as_u64().unwrap()
    };
    let (sft, dpo) = match has_pairs {
        true => (0, Some(sequences("dpo"))),
        false => (sequences("sft"), None),
    };
    if has_pairs {
        let output = training("sft").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text_of(&output).contains("`posttrain dpo` trains on it"), "{}", text_of(&output));
        line.push_str("\n    sft: refused, the rows are pairs");
    }
    let recipe =
        format!("name = \"Mix\"\n[[source]]\nname = \"rows\"\ndata = {:?}\n", file.display().to_string());
    std::fs::write(path("recipe.toml"), recipe).unwrap();
    let mut mix = program("smoltalk");
    let said = succeeds(mix.arg("mix").arg(path("recipe.toml")).arg("--out").arg(path("mixed")));
    let mixed = read_json(&path("mixed/mix.json"));
    let mixed_rows = rows_of(&mixed);
    let _ = write!(line, "\n    mix: {mixed_rows} rows; {}", said.lines().last().unwrap_or_default());
    let mut clean = program("smoltalk");
    succeeds(clean.arg("clean").arg(file).arg("--out").arg(path("cleaned")));
    let cleaned = read_json(&path("cleaned/clean.json"));
    let _ =
        write!(line, "\n    clean: {} of {} rows, {}", cleaned["kept"], cleaned["rows"], cleaned["dropped"]);
    println!("{line}");
    Became {
        rows: cleaned["rows"].as_u64().unwrap(),
        sft,
        dpo,
        mixed: mixed_rows,
        cleaned: cleaned["kept"].as_u64().unwrap(),
    }
}

fn rows_of(manifest: &Value) -> u64 {
    manifest["shards"].as_array().unwrap().iter().map(|shard| shard["rows"].as_u64().unwrap()).sum()
}

/// Rows of the kinds of the demonstration files: name, rows, whether they are pairs, and what they become.
#[allow(clippy::too_many_lines, reason = "a table")]
fn kinds() -> Vec<(&'static str, Vec<Value>, bool, Became)> {
    let part = |kind: &str, text: &str| json!([{"type": kind, "value": text}]);
    let turn = |role: &str, text: &str, weight: f64| json!({"role": role, "content": part("text", text), "loss_weight": weight});
    let names = ["oak", "elm", "ash", "fir", "yew", "box"];
    let each = |row: &dyn Fn(&str) -> Value| names.iter().map(|name| row(name)).collect::<Vec<_>>();
    let all = |dpo: Option<u64>| Became {
        rows: 6,
        sft: if dpo.is_some() { 0 } else { 6 },
        dpo,
        mixed: 6,
        cleaned: 6,
    };
    vec![
        (
            "alpaca.json",
            each(
                &|name| json!({"instruction": format!("Where does the {name} grow?"), "input": format!("The {name} is a tree of hills and rivers, says {name}."), "output": format!("The {name} grows on hills.")}),
            ),
            false,
            all(None),
        ),
        (
            "alpaca_history.json",
            each(
                &|name| json!({"instruction": format!("And how old is the {name}?"), "input": "", "output": format!("The {name} is a hundred years old."), "system": format!("You know the {name}."), "history": [[format!("Is the {name} tall?"), "Yes."]]}),
            ),
            false,
            all(None),
        ),
        (
            "sharegpt_pairs.json",
            each(
                &|name| json!({"conversations": [{"from": "human", "value": format!("What is the {name}?")}], "chosen": {"from": "gpt", "value": format!("The {name} is a tree.")}, "rejected": {"from": "gpt", "value": "I do not know."}}),
            ),
            true,
            all(Some(12)),
        ),
        (
            "sharegpt_tools.json",
            each(&|name| {
                json!({
            "conversations": [
                {"from": "human", "value": format!("Find the {name}.")},
                {"from": "function_call", "value": json!({"name": "find", "arguments": {"tree": name}}).to_string()},
                {"from": "observation", "value": format!("{{\"place\": \"hill of {name}\"}}")},
                {"from": "gpt", "value": format!("The {name} is on the hill.")}],
            "tools": "[{\"name\": \"find\", \"parameters\": {\"type\": \"object\", \"properties\": {\"tree\": {\"type\": \"string\"}}}}]"})
            }),
            false,
            all(None),
        ),
        // Rows with a label of false are replies that are not to be learned.
        (
            "kto.json",
            each(
                &|name| json!({"messages": [{"role": "user", "content": format!("Name the {name}.")}, {"role": "assistant", "content": format!("It is the {name}.")}], "label": name.len() == 3 && *name != *"fir"}),
            ),
            false,
            Became { rows: 6, sft: 5, dpo: None, mixed: 5, cleaned: 6 },
        ),
        (
            "v1_sft.jsonl",
            each(
                &|name| json!({"messages": [turn("user", &format!("Who is {name}?"), 0.0), turn("assistant", &format!("I am {name}."), 1.0)]}),
            ),
            false,
            all(None),
        ),
        (
            "v1_dpo.jsonl",
            each(&|name| {
                let with = |reply: &str| {
                    json!([
                        turn("system", "Be brief.", 0.0),
                        turn("user", &format!("What is the {name}?"), 0.0),
                        turn("assistant", reply, 1.0)
                    ])
                };
                json!({"chosen_messages": with(&format!("The {name} is a tree.")), "rejected_messages": with("A cat.")})
            }),
            true,
            all(Some(12)),
        ),
        (
            "v1_tools.jsonl",
            each(&|name| {
                let call = json!({"name": "find", "arguments": {"tree": name}}).to_string();
                let thinks = json!([{"type": "reasoning", "value": format!("Look for the {name}.")}, {"type": "tool_call", "value": call}]);
                json!({"messages": [turn("user", &format!("Find the {name}."), 0.0), {"role": "assistant", "content": thinks, "loss_weight": 1.0},
                {"role": "tool", "content": part("text", &format!("hill of {name}")), "loss_weight": 0.0}, turn("assistant", &format!("The {name} is on the hill."), 1.0)],
                "tools": "[{\"name\": \"find\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}]"})
            }),
            false,
            all(None),
        ),
    ]
}

fn write(path: &Path, rows: &[Value]) {
    let text = match path.extension().is_some_and(|extension| extension == "json") {
        true => serde_json::to_string_pretty(rows).unwrap(),
        false => rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"),
    };
    std::fs::write(path, text).unwrap();
}

fn model() -> Option<PathBuf> {
    Some(shared_data()?.join("models/stories260k"))
}

#[test]
fn files_of_every_kind_go_through_every_command() {
    let Some(model) = model() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, rows, has_pairs, expected) in kinds() {
        let path = folder.path().join(name);
        write(&path, &rows);
        assert_eq!(through_all(&model, &path, has_pairs, "512"), expected, "{name}");
    }
}

/// The demonstration files themselves: prints what each became.
#[test]
fn demonstration_files_go_through_every_command() {
    let (Some(model), Some(data)) = (model(), shared_data()) else { return };
    let folder = data.join("instruct/llamafactory");
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.file_name().unwrap() != "dataset_info.json");
    names.sort();
    for path in &names {
        let has_pairs = path.to_string_lossy().contains("dpo");
        let became = through_all(&model, path, has_pairs, "512");
        assert!(
            (has_pairs || became.sft > 0) && became.mixed > 0 && became.cleaned > 0,
            "{}: {became:?}",
            path.display()
        );
        assert_eq!(became.dpo.is_some_and(|pairs| pairs > 0), has_pairs);
    }
    assert_eq!(names.len(), 8);
}
