//! `posttrain ... --sample-prompts`: the replies are those that `smolserve` gives with the same weights, and the run stays as
//! it is without them.

use crate::clients::Served;
use crate::programs::{killed_and_resumed, refused, succeeds};
use crate::serving::{answer_text, send};
use crate::workshop::Workshop;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn with_prompts(mut command: Command, prompts: &Path) -> Command {
    command.arg("--sample-prompts").arg(prompts).args(["--sample-every", "2", "--sample-tokens", "12"]);
    command
}

/// The samples that a run left.
fn samples(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("samples.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The reply of `smolserve` to a prompt, greedily.
fn served(run: &Path, path: &str, mut body: Value) -> String {
    let server = Served::start(run, &["--dtype", "f32"]);
    body["max_tokens"] = json!(12);
    body["temperature"] = json!(0);
    answer_text(send(&server.address, path, Some(&body)))
}

#[test]
fn samples_are_what_the_server_answers_and_change_nothing() {
    let workshop = Workshop::new();
    let prompts = |name: &str, text: &str| -> PathBuf {
        let path = workshop.path(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let questions = prompts("questions.txt", "Count 3.\nCount 5.\n");
    let openings = prompts("openings.jsonl", "{\"prompt\": \"The 7 cats\"}\n{\"prompt\": \"The\"}\n");
    for (name, prompts) in [("sft", questions), ("pretrain", openings)] {
        let command = |root: &str| match name {
            "sft" => workshop.tune("sft", "chats.jsonl", root),
            _ => {
                let mut command = workshop.pretrain(root);
                command.args(["--tokens", "768", "--save-steps", "2"]);
                command
            }
        };
        let (plain, sampled) = (format!("{name}-plain"), format!("{name}-sampled"));
        succeeds(&mut command(&plain));
        let said = succeeds(&mut with_prompts(command(&sampled), &prompts));
        assert!(said.contains("step 2: sample: "), "{said}");
        let (plain, sampled) = (workshop.path(&plain).join("run"), workshop.path(&sampled).join("run"));
        let weights = |run: &Path| std::fs::read(run.join("model.safetensors")).unwrap();
        assert!(weights(&plain) == weights(&sampled), "{name}: other weights");
        let found = samples(&sampled);
        let places: Vec<(u64, u64)> = found
            .iter()
            .map(|one| (one["step"].as_u64().unwrap(), one["prompt"].as_u64().unwrap()))
            .collect();
        assert_eq!(places, [(0, 0), (0, 1), (2, 0), (2, 1), (4, 0), (4, 1), (6, 0), (6, 1)], "{name}");
        let answer = match name {
            "sft" => {
                let messages = json!([{"role": "user", "content": "Count 5."}]);
                served(&sampled, "/v1/chat/completions", json!({"messages": messages}))
            }
            _ => served(&sampled, "/v1/completions", json!({"prompt": "The"})),
        };
        assert_eq!(found[7]["reply"], answer, "{name}: what is sampled is what is served");
        let report = std::fs::read_to_string(sampled.join("report.html")).unwrap();
        assert!(report.contains("<h3>Samples</h3>") && report.contains("after step 6"), "{report}");

        let killed = format!("{name}-killed");
        let out = workshop.path(&killed).join("run");
        killed_and_resumed(|| with_prompts(command(&killed), &prompts), &out, 1);
        assert_eq!(samples(&out), found, "{name}: a run that was killed has the same samples");
        assert!(weights(&out) == weights(&plain), "{name}: other weights after a kill");
    }
}

#[test]
fn prompts_that_cannot_be_answered_are_refused_before_the_first_step() {
    let workshop = Workshop::new();
    let path = workshop.path("prompts.txt");
    let command = || workshop.tune("sft", "chats.jsonl", "refused");
    refused(&mut with_prompts(command(), &path), "cannot read `--sample-prompts");
    std::fs::write(&path, "\n").unwrap();
    refused(&mut with_prompts(command(), &path), "has 0 prompts");
    std::fs::write(&path, "{\"prompt\": \"a\"}\n{\"question\": \"b\"}\n").unwrap();
    refused(&mut with_prompts(command(), &path), "line 2: expected either `prompt` or `messages`");
    // Longer than the model's context of 64 tokens.
    std::fs::write(&path, "count ".repeat(80)).unwrap();
    refused(&mut with_prompts(command(), &path), "prompt 1: it has");
    refused(command().args(["--sample-every", "3"]), "`--sample-every` has no effect");
}
