//! What `posttrain` does to a folder that is not its own, or that leads elsewhere: nothing is replaced, and nothing is
//! written through a link.

use crate::programs::{read_json, refused, succeeds};
use crate::workshop::Workshop;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

fn sft(workshop: &Workshop) -> Command {
    workshop.tune("sft", "chats.jsonl", "sft")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_refuses_a_folder_of_the_users() {
    let workshop = Workshop::new();
    let out = workshop.path("sft/run");
    std::fs::create_dir_all(&out).unwrap();
    let files = [
        "report.html",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
        "LICENSE",
        "checksums.json",
        "notes.txt",
        "run.json",
    ];
    for name in files {
        std::fs::write(out.join(name), "{\"mine\": 1}").unwrap();
        let expected = format!("contains {name}, which `posttrain sft` did not write");
        refused(&mut sft(&workshop), &expected);
        refused(sft(&workshop).arg("--restart"), &expected);
        assert_eq!(names(&out), [name]);
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), "{\"mine\": 1}");
        std::fs::remove_file(out.join(name)).unwrap();
    }
    for (command, data) in [("dpo", "pairs.jsonl"), ("kto", "pairs.jsonl")] {
        std::fs::write(out.join("report.html"), "mine").unwrap();
        refused(&mut workshop.tune(command, data, "sft"), "contains report.html, which `posttrain");
    }
    refused(workshop.pretrain("sft").args(["--tokens", "256"]), "which `posttrain pretrain` did not write");
    assert_eq!(std::fs::read_to_string(out.join("report.html")).unwrap(), "mine");
}

/// A run's own folder resumes whatever else is beside it; only what its model would replace is refused.
#[test]
fn strangers_beside_a_run_stay() {
    let workshop = Workshop::new();
    let out = workshop.path("sft/run");
    // What a run left that was killed before its run.json was written.
    std::fs::create_dir_all(out.join("tensorboard")).unwrap();
    std::fs::write(out.join("tensorboard/events.out.tfevents.1.host.2"), "").unwrap();
    std::fs::write(out.join("metrics.jsonl"), "").unwrap();
    succeeds(&mut sft(&workshop));
    for name in ["notes.txt", "LICENSE", "vocab.json"] {
        std::fs::write(out.join(name), "mine").unwrap();
    }
    // Nothing is written for a run that has finished.
    assert!(succeeds(&mut sft(&workshop)).contains("this run has finished"));
    let longer = || {
        let mut command = sft(&workshop);
        command.args(["--accept-changes", "--steps", "8"]);
        command
    };
    refused(&mut longer(), "contains LICENSE, which `posttrain sft` did not write");
    std::fs::remove_file(out.join("LICENSE")).unwrap();
    std::fs::write(out.join("config.json"), "{\"mine\": 1}").unwrap();
    succeeds(&mut longer());
    assert!(read_json(&out.join("config.json"))["hidden_size"].is_u64());
    assert_eq!(read_json(&out.join("set-aside-1/config.json"))["mine"], 1);
    // Over again: the run is set aside with its model, and the rest stays.
    std::fs::write(out.join("NOTICE"), "mine").unwrap();
    succeeds(longer().arg("--restart"));
    let aside = names(&out.join("set-aside-2"));
    for name in ["run.json", "tokenizer.json", "config.json", "model.safetensors", "NOTICE"] {
        assert!(aside.iter().any(|moved| moved == name), "{aside:?}");
    }
    for name in ["notes.txt", "vocab.json"] {
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), "mine");
    }
}

#[test]
fn a_run_writes_through_no_link() {
    let workshop = Workshop::new();
    let out = workshop.path("sft/run");
    let elsewhere = workshop.path("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let targets = [
        ("metrics.jsonl", workshop.path("absent")),
        ("samples.jsonl", workshop.path("absent")),
        ("report.html", workshop.path("chats.jsonl")),
        ("checkpoints", elsewhere.clone()),
        ("tensorboard", elsewhere.clone()),
        ("additional_chat_templates", elsewhere.clone()),
    ];
    let try_links = || {
        for (name, target) in &targets {
            let (link, kept) = (out.join(name), out.join("kept"));
            let is_there = std::fs::rename(&link, &kept).is_ok();
            symlink(target, &link).unwrap();
            refused(&mut sft(&workshop), &format!("{name} is a link"));
            std::fs::remove_file(&link).unwrap();
            if is_there {
                std::fs::rename(&kept, &link).unwrap();
            }
        }
        assert!(!workshop.path("absent").exists() && names(&elsewhere).is_empty());
    };
    std::fs::create_dir_all(&out).unwrap();
    try_links();
    succeeds(&mut sft(&workshop));
    // As if it was killed at its end.
    let text = std::fs::read_to_string(out.join("run.json")).unwrap();
    std::fs::write(out.join("run.json"), text.replace("\"finished\"", "\"running\"")).unwrap();
    try_links();
    succeeds(&mut sft(&workshop));
}
