use crate::programs::{read_json, succeeds, text_of};
use crate::workshop::Workshop;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tests::crash;

/// Resumes the states that a power loss may leave of a run: each ends with the undisturbed weights, at once or after the
/// remedy that the refusal names.
fn resumed(workshop: &Workshop, root: &str, command: impl Fn() -> Command) {
    let place = workshop.path(root);
    let (states, status) = match crash::states(command().stdout(Stdio::null()).stderr(Stdio::null()), &place)
    {
        Ok(recorded) => recorded,
        Err(error) => return println!("skipped: this system does not permit tracing ({error})"),
    };
    assert_eq!(status, 0, "the undisturbed run ends well");
    let weights = std::fs::read(place.join("run/model.safetensors")).unwrap();
    let (mut resumed, mut refused) = (0, Vec::new());
    for state in crash::chosen(&states, 5) {
        state.restore(&place).unwrap();
        let output = command().output().unwrap();
        resumed += 1;
        if !output.status.success() {
            let text = text_of(&output);
            assert_eq!(output.status.code(), Some(2), "{}: {text}", state.name);
            assert!(text.contains("give `--restart` to start over"), "{}: {text}", state.name);
            // The same command again is refused again, and the remedy helps.
            assert_eq!(command().output().unwrap().status.code(), Some(2), "{}", state.name);
            succeeds(command().arg("--restart"));
            refused.push(state.name.clone());
        }
        assert!(std::fs::read(place.join("run/model.safetensors")).unwrap() == weights, "{}", state.name);
        assert_eq!(read_json(&place.join("run/run.json"))["state"], "finished", "{}", state.name);
        assert!(leftovers(&place.join("run")).is_empty(), "{}: {:?}", state.name, leftovers(&place));
    }
    println!("{root}: {resumed} of {} states resumed, {} refused: {refused:?}", states.len(), refused.len());
    assert!(states.len() > 80 && resumed > 5, "{} states", states.len());
    // Whatever is synced too late, or not at all, shows here.
    assert!(refused.is_empty(), "{refused:?}");
}

/// Temporary names, here and below.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_temporary =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".writing-"));
    entries
        .flat_map(|path| match path.is_dir() {
            true if !is_temporary(&path) => leftovers(&path),
            _ => vec![path],
        })
        .filter(is_temporary)
        .collect()
}

#[test]
fn sft_survives_power_loss() {
    let workshop = Workshop::new();
    resumed(&workshop, "sft", || workshop.tune("sft", "chats.jsonl", "sft"));
}

#[test]
fn dpo_survives_power_loss() {
    let workshop = Workshop::new();
    resumed(&workshop, "dpo", || workshop.tune("dpo", "pairs.jsonl", "dpo"));
}

#[test]
fn pretrain_survives_power_loss() {
    let workshop = Workshop::new();
    resumed(&workshop, "pretrain", || {
        let mut command = workshop.pretrain("pretrain");
        command.args(["--tokens", "768", "--save-steps", "2", "--save-total-limit", "1"]);
        command
    });
}
