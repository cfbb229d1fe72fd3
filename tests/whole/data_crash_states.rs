//! What a power loss may leave of a mix, a cleaned dataset, a generated one, a tokenizer and scores: each state ends in the
//! undisturbed bytes by the same command again.

use crate::benchmarks::datasets;
use crate::programs::{posttrain, program, text_of};
use crate::scripted_teacher::ScriptedTeacher;
use crate::workshop::Workshop;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::crash::{self, MODELS, State};

/// Fewer states than this are all resumed.
const FEW: usize = 60;

/// The visible files of a dataset, without those that count calls.
fn dataset(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    const COUNT_CALLS: [&str; 7] = [
        "run.json",
        "README.md",
        "report.html",
        "checksums.json",
        "store.sqlite",
        "calls-in-flight",
        "store.sqlite-wal",
    ];
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    let is_run = folder.join("store.sqlite").exists();
    let is_tokenizer = folder.join("tokenizer.json").exists();
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.extend(Some(path).filter(|_| !name.starts_with("set-aside-")));
            } else if name != ".lock"
                // No lock says that another tokenizer is not being written here: they go after a day.
                && !(is_tokenizer && name.starts_with(".writing-"))
                && !(is_run && (COUNT_CALLS.contains(&&*name) || name.ends_with("-shm")))
            {
                let bytes = std::fs::read(&path).unwrap();
                let bytes = if name == "results.json" { without_times(&bytes) } else { bytes };
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    files
}

/// The results of `smoleval` without the seconds that a session took.
fn without_times(results: &[u8]) -> Vec<u8> {
    let mut results: serde_json::Value = serde_json::from_slice(results).unwrap();
    for task in results["tasks"].as_array_mut().unwrap() {
        task.as_object_mut().unwrap().remove("seconds");
    }
    results.to_string().into_bytes()
}

/// Resumes the states of these models that a power loss may leave of `root/out`; where the command refuses what it finds, by
/// the remedy that it names.
fn resumed(root: &Path, models: &[&str], at_least: usize, command: impl Fn() -> Command) {
    std::fs::create_dir_all(root).unwrap();
    let recorded = crash::states(command().stdout(Stdio::null()).stderr(Stdio::null()), root);
    let (mut states, status) = match recorded {
        Ok(recorded) => recorded,
        Err(error) => return println!("skipped: this system does not permit tracing ({error})"),
    };
    assert_eq!(status, 0, "the undisturbed command ends well");
    let expected = dataset(&root.join("out"));
    let is_result = |name: &PathBuf| {
        ["parquet", "jsonl", "json"].iter().any(|kind| name.extension().is_some_and(|it| it == *kind))
    };
    assert!(expected.keys().any(is_result), "{:?}", expected.keys());
    states.retain(|state| models.iter().any(|model| state.name.contains(&format!("-{model}-"))));
    let (mut count, mut refused) = (0, 0);
    let chosen: Vec<&State> =
        if states.len() < FEW { states.iter().collect() } else { crash::chosen(&states, 7).collect() };
    for state in chosen {
        state.restore(root).unwrap();
        let mut output = command().output().unwrap();
        if !output.status.success() && text_of(&output).contains("give `--restart`") {
            output = command().arg("--restart").output().unwrap();
            refused += 1;
        }
        assert!(output.status.success(), "{}: {}", state.name, text_of(&output));
        assert!(dataset(&root.join("out")) == expected, "{}", state.name);
        count += 1;
    }
    println!("{}: {count} of {} states resumed, {refused} after a refusal", root.display(), states.len());
    assert!(states.len() >= at_least, "{} states", states.len());
}

/// 60 rows, and a recipe that takes 40 of them.
fn kitchen() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let row =
        |index: usize| json!({"text": format!("Row {index} is about {} and {}.", index * 7, index * 13)});
    let rows: String = (0..60).map(|index| format!("{}\n", row(index))).collect();
    std::fs::write(folder.path().join("a.jsonl"), rows).unwrap();
    let recipe = "name = \"Soup\"\n[[source]]\nname = \"a\"\ndata = \"a.jsonl\"\ncount = 40\n";
    std::fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    folder
}

fn smoltalk(folder: &Path, arguments: &[&str], root: &Path) -> Command {
    let mut command = program("smoltalk");
    command.current_dir(folder).args(arguments).arg("--out").arg(root.join("out"));
    command
}

#[test]
fn mix_survives_power_loss() {
    let folder = kitchen();
    let root = folder.path().join("mix");
    let command = || smoltalk(folder.path(), &["mix", "recipe.toml"], &root);
    resumed(&root, &MODELS, 40, command);
    // Over an earlier result, with the same bytes in the end.
    resumed(&root, &MODELS, 40, command);
}

#[test]
fn clean_survives_power_loss() {
    let folder = kitchen();
    let root = folder.path().join("clean");
    let command = || smoltalk(folder.path(), &["clean", "a.jsonl"], &root);
    resumed(&root, &MODELS, 40, command);
    resumed(&root, &MODELS, 40, command);
}

/// SQLite overwrites pages in place, of which `zeros` and `torn` would take what was synced long before.
#[test]
fn gen_survives_power_loss() {
    let folder = kitchen();
    let root = folder.path().join("gen");
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    let command = || {
        let mut command = smoltalk(folder.path(), &["gen", "magpie-ultra", "--rows", "10"], &root);
        command.args(["--in-flight", "4", "--teacher", &teacher.name]);
        command
    };
    resumed(&root, &["kill", "journal", "empty"], 40, command);
}

#[test]
fn a_tokenizer_survives_power_loss() {
    let folder = kitchen();
    let root = folder.path().join("tokenizer");
    let command = || {
        let mut command = posttrain(folder.path());
        command.arg("tokenizer").arg("--data").arg(folder.path().join("a.jsonl"));
        command.arg("--out").arg(root.join("out")).args(["--vocab-size", "300"]);
        command
    };
    resumed(&root, &MODELS, 9, command);
}

#[test]
fn scores_survive_power_loss() {
    let workshop = Workshop::new();
    let (root, data) = (workshop.path("scores"), datasets(&workshop));
    let command = || {
        let mut command = program("smoleval");
        command.arg("score").arg("--model").arg(format!("m={}", workshop.path("base/run").display()));
        command.args(["--tasks", "arc_easy"]).arg("--data").arg(&data).arg("--out").arg(root.join("out"));
        command.current_dir(workshop.folder.path()).env("RAYON_NUM_THREADS", "1");
        command
    };
    resumed(&root, &MODELS, 20, command);
}
