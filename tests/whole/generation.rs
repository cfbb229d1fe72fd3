use crate::local_http::{hub_file, serve};
use crate::programs::{in_shell, loads_with_datasets, of_project, program, read_json};
use crate::scripted_teacher::ScriptedTeacher;
use axum::extract::Path as Segments;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tests::shared_data;

fn smoltalk() -> Command {
    program("smoltalk")
}

fn generate(arguments: &[&str]) -> Output {
    smoltalk().arg("gen").args(arguments).output().unwrap()
}

/// A source of texts of many lengths, one of them far too long for any teacher.
fn write_source(folder: &Path) -> PathBuf {
    let path = folder.join("source.jsonl");
    let text = |index: usize| {
        let sentence = format!("Letter {index} says that the boat to island {} leaves early. ", index * 7);
        let text = sentence.repeat(if index == 5 { 1000 } else { 2 + index % 4 });
        serde_json::json!({"text": text}).to_string()
    };
    std::fs::write(&path, (0..60).map(text).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

pub(crate) fn run_json(out: &Path) -> Value {
    read_json(&out.join("run.json"))
}

/// Everything a run decided: its rows and its drops, without the order of anything.
pub(crate) fn content(out: &Path) -> BTreeSet<String> {
    let rows = datasets::read(&out.join("data"))
        .unwrap()
        .map(|row| serde_json::to_string(&row.unwrap().row).unwrap());
    let dropped = std::fs::read_to_string(out.join("dropped.jsonl")).unwrap();
    let dropped: Vec<String> = dropped.lines().map(str::to_owned).collect();
    rows.chain(dropped).collect()
}

/// Whether the reply passes every check its row names, all of them there.
fn keeps_its_constraints(row: &Value) -> bool {
    let kwargs: Vec<Value> = serde_json::from_str(row["kwargs"].as_str().unwrap()).unwrap();
    let ids = row["instruction_id_list"].as_array().unwrap();
    let check = |(id, kwargs): (&Value, &Value)| {
        ifeval::Instruction::new(id.as_str().unwrap(), kwargs.as_object().unwrap()).unwrap()
    };
    let response = row["response"].as_str().unwrap();
    !ids.is_empty()
        && ids.len() == kwargs.len()
        && ids.iter().zip(&kwargs).map(check).all(|check| check.strict(response))
}

#[test]
fn four_subsets_from_an_endpoint_with_faults() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (write_source(folder.path()), folder.path().join("out"));
    let teacher = ScriptedTeacher::start(Duration::ZERO, true);
    let arguments = [
        "--teacher",
        &teacher.name,
        "--source",
        source.to_str().unwrap(),
        "--rows",
        "60",
        "--out",
        out.to_str().unwrap(),
    ];
    let output = generate(&[&arguments[..], &["--reward-teacher", &teacher.name]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = run_json(&out);
    let mut kept = 0;
    for task in ["magpie-ultra", "smol-constraint", "smol-rewrite", "smol-summarization"] {
        let config = &run["configs"][task];
        let rows = datasets::read(&out.join("data").join(task)).unwrap().map(|row| row.unwrap().row);
        let rows: Vec<Value> = rows.map(|row| serde_json::to_value(row).unwrap()).collect();
        assert_eq!(rows.len() as u64, config["rows"].as_u64().unwrap());
        assert!(rows.len() > 5, "{task}: {config}");
        let dropped: u64 =
            config["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(config["begun"], 60);
        assert_eq!(rows.len() as u64 + dropped, 60, "every row is kept or dropped");
        for row in &rows {
            let messages = row["messages"].as_array().unwrap();
            assert_eq!(messages.last().unwrap()["role"], "assistant");
            assert!(messages.iter().all(|message| !message["content"].as_str().unwrap().is_empty()));
            if task == "magpie-ultra" {
                assert_eq!(messages.len(), 6, "three turns");
                assert!(["average", "good", "excellent"].contains(&row["quality"].as_str().unwrap()));
                assert!(row["score"].as_i64().unwrap() >= 3 || row["score"].is_null());
            }
            if task == "smol-constraint" {
                assert!(keeps_its_constraints(row), "{row}");
            }
        }
        kept += rows.len();
    }
    assert_eq!(run["configs"]["all"]["rows"], kept);
    let constraint = &run["configs"]["smol-constraint"]["dropped"];
    assert!(constraint["constraint_violated"].as_u64() > Some(0), "{constraint}");
    let rewrite = &run["configs"]["smol-rewrite"]["dropped"];
    assert_eq!(rewrite["prompt_too_long"], 1, "{rewrite}");
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(
        card.contains("config_name: \"all\"\n  default: true")
            && card.contains("| smol-rewrite | prompt_too_long | 1 |")
    );
    let show = smoltalk().args(["show", out.to_str().unwrap(), "--n", "1"]).output().unwrap();
    let text = String::from_utf8(show.stdout).unwrap();
    assert!(text.contains("== magpie-ultra\n[user] Tell me in"), "{text}");
    let show = smoltalk().args(["show", out.to_str().unwrap(), "--n", "1", "--dropped"]).output().unwrap();
    assert!(String::from_utf8(show.stdout).unwrap().starts_with("magpie-ultra "));
    loads_with_datasets(&out, 5); // four subsets and all
    // The same command again asks nothing and changes nothing.
    let (asked, before) = (teacher.requests().0, content(&out));
    let again = generate(&[&arguments[..], &["--reward-teacher", &teacher.name]].concat());
    assert!(again.status.success());
    assert_eq!((teacher.requests().0, content(&out)), (asked, before));
    // Another seed is another dataset, and is refused here.
    let other = generate(&[&arguments[..], &["--reward-teacher", &teacher.name, "--seed", "1"]].concat());
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("seed was 0, is 1"));
}

#[test]
fn a_killed_run_ends_as_an_undisturbed_one() {
    let folder = tempfile::tempdir().unwrap();
    let source = write_source(folder.path());
    let in_flight = 4;
    let start = |teacher: &ScriptedTeacher, out: &Path| {
        let mut command = smoltalk();
        command.args([
            "gen",
            "--rows",
            "50",
            "--in-flight",
            &in_flight.to_string(),
            "--teacher",
            &teacher.name,
        ]);
        command.args(["--source", source.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let undisturbed = ScriptedTeacher::start(Duration::from_millis(30), false);
    let whole = folder.path().join("whole");
    assert!(start(&undisturbed, &whole).wait().unwrap().success());
    assert_eq!(undisturbed.requests().1, 0);
    let teacher = ScriptedTeacher::start(Duration::from_millis(30), false);
    let out = folder.path().join("killed");
    let mut kills = 0;
    // Moments spread over the run by a fixed rule; a slow machine only dies earlier in the run.
    for kill in 0..50u64 {
        let moment = 20 + kill * 7919 % 211;
        let mut child = start(&teacher, &out);
        std::thread::sleep(Duration::from_millis(moment));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
        if out.join("data").is_dir() {
            datasets::read(&out.join("data"))
                .map(|rows| rows.for_each(|row| drop(row.unwrap())))
                .unwrap_or(());
        }
    }
    assert!(start(&teacher, &out).wait().unwrap().success());
    let (asked, repeated) = teacher.requests();
    let run = run_json(&out);
    let lost = run["calls"].as_array().unwrap().iter().filter(|entry| entry["outcome"] == "lost");
    let lost: usize = lost.map(|entry| entry["calls"].as_u64().unwrap() as usize).sum();
    println!("{kills} kills; {lost} calls were on their way; {repeated} of {asked} requests were repeated");
    assert!(kills > 0);
    assert_eq!(content(&out), content(&whole));
    assert!(repeated <= lost, "only what was on its way at a kill is asked again: {repeated} of {asked}");
    // At most `in_flight` at the endpoint, and as many whose answers were on their way to the disk.
    assert!(lost <= kills * 2 * in_flight, "{lost} lost in {kills} kills");
    assert_eq!(asked - repeated, undisturbed.requests().0);
}

#[test]
fn a_checkpoint_teaches_in_this_process() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = data.join("models/stories260k");
    let stories = data.join("text/tinystories_197k.txt");
    let make = |out: &Path| {
        let output = generate(&[
            "--teacher",
            model.to_str().unwrap(),
            "--source",
            stories.to_str().unwrap(),
            "--prompts",
            of_project("pocket/prompts").to_str().unwrap(),
            "--rows",
            "12",
            "--out",
            out.to_str().unwrap(),
        ]);
        // 4: a model of 260,000 parameters keeps next to nothing.
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 4)), "{error}");
        content(out)
    };
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    assert_eq!(make(&first), make(&second), "same seed, same teacher, same rows");
    let run = run_json(&first);
    for task in ["magpie-ultra", "smol-rewrite", "smol-summarization"] {
        let config = &run["configs"][task];
        assert_eq!(config["begun"], 12, "{task}");
    }
    // A model of 260,000 parameters judges its own rows, and may leave none: what it made is in `content`, kept or dropped.
    assert!(!content(&first).is_empty(), "{run}");
}

/// Web pages, questions with answers, and a folder of instruction data in many layouts, as sources.
#[test]
fn public_data_feeds_the_source_tasks() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::ZERO, true);
    for (source, layouts) in [
        ("text/c4_demo.jsonl", "300 texts"),
        ("text/stack_exchange.jsonl", "70 texts"),
        (
            "instruct",
            "(layout: Alpaca, Instances, Instruction, Messages, MessagesPreference, ShareGpt, ShareGptPreference, Tree)",
        ),
    ] {
        let (path, out) = (data.join(source), folder.path().join(source.replace('/', "-")));
        for task in ["smol-rewrite", "smol-summarization"] {
            let out = out.join(task);
            let source = ["--source", path.to_str().unwrap(), "--columns", "ignore=responses"];
            let arguments = [&["--teacher", &teacher.name, "--rows", "40"], &source[..]].concat();
            let output = generate(&[&[task][..], &arguments[..], &["--out", out.to_str().unwrap()]].concat());
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{error}");
            assert!(error.contains(layouts), "{error}");
            let config = &run_json(&out)["configs"][task];
            assert_eq!(config["begun"], 40);
            assert!(config["rows"].as_u64().unwrap() > 0, "{config}");
        }
    }
}

/// A source that ends before the rows asked for, and a run that is told to stop.
#[test]
fn a_stopped_run_says_so_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (write_source(folder.path()), folder.path().join("out"));
    let teacher = ScriptedTeacher::start(Duration::from_millis(20), false);
    let start = || {
        let mut command = smoltalk();
        command.args(["gen", "smol-rewrite", "--rows", "90", "--in-flight", "2", "--teacher", &teacher.name]);
        command.args(["--source", source.to_str().unwrap(), "--out", out.to_str().unwrap()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let child = start();
    let began = std::time::Instant::now();
    while teacher.requests().0 < 6 {
        assert!(began.elapsed() < Duration::from_secs(60), "the run has asked by now");
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = start().wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8(second.stderr).unwrap().contains("is in use by another run"));
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(143), "{error}");
    assert!(error.contains("stopped; what is recorded is safe"), "{error}");
    let output = start().wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    assert!(error.contains("rows are decided"), "{error}");
    assert!(error.contains("`--rows 90` is more than the 60 texts of the source"), "{error}");
    assert_eq!(run_json(&out)["configs"]["smol-rewrite"]["begun"], 60);
}

/// A hub of one checkpoint: the list of files, and the files.
fn start_hub(files: PathBuf) -> String {
    let names: Vec<Value> = std::fs::read_dir(&files)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let size = entry.metadata().unwrap().len();
            serde_json::json!({"rfilename": entry.file_name().to_str().unwrap(), "size": size})
        })
        .collect();
    let information = serde_json::json!({"sha": "c0ffee", "siblings": names});
    let file = async move |Segments(name): Segments<String>| match std::fs::read(files.join(&name)) {
        Ok(bytes) => hub_file(&name, bytes),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    };
    serve(
        Router::new()
            .route("/someone/stories/resolve/c0ffee/{name}", get(file))
            .route("/api/models/someone/stories/revision/main", get(async move || Json(information.clone()))),
    )
}

#[test]
fn a_hub_id_is_fetched_once_and_works_offline_after() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let make = |endpoint: &str, out: &str| {
        let mut command = smoltalk();
        command
            .env("HF_ENDPOINT", endpoint)
            .env("HF_HOME", folder.path().join("cache"))
            .env_remove("HF_TOKEN");
        command.arg("gen").arg("--prompts").arg(of_project("pocket/prompts"));
        command.args(["magpie-ultra", "--teacher", "someone/stories", "--rows", "2", "--out"]);
        let output = command.arg(folder.path().join(out)).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = make("http://127.0.0.1:9", "unreachable");
    assert_eq!(code, Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("someone/stories") && error.contains("check the name and the network"), "{error}");
    let hub = start_hub(data.join("models/stories260k"));
    // 4: so small a model keeps next to nothing.
    let (code, error) = make(&hub, "fetched");
    assert!(matches!(code, Some(0 | 4)), "{error}");
    assert_eq!(run_json(&folder.path().join("fetched"))["configs"]["magpie-ultra"]["begun"], 2);
    let (code, error) = make("http://127.0.0.1:9", "offline");
    assert!(matches!(code, Some(0 | 4)), "{error}");
}

/// The pocket world's prompts are for contexts of 512 tokens.
#[test]
fn pocket_templates_have_at_most_120_tokens() {
    let Some(data) = shared_data() else { return };
    let tokenizer = checkpoint::Tokenizer::open(&data.join("models/stories260k/tokenizer.json")).unwrap();
    let mut folders = vec![of_project("pocket/prompts")];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jinja") {
                let tokens = tokenizer.encode(&std::fs::read_to_string(&path).unwrap()).unwrap().ids.len();
                assert!(tokens <= 120, "{}: {tokens} tokens", path.display());
                count += 1;
            }
        }
    }
    assert!(count > 20);
}

#[test]
fn bad_input_is_one_line_and_exit_code_2() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let stories = data.join("models/stories260k");
    let broken = |name: &str, file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let copy = folder.path().join(name);
        std::fs::create_dir(&copy).unwrap();
        for entry in std::fs::read_dir(&stories).unwrap().flatten() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let bytes = if entry.file_name() == file { change(bytes) } else { bytes };
            std::fs::write(copy.join(entry.file_name()), bytes).unwrap();
        }
        copy.to_str().unwrap().to_owned()
    };
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(from, to).into_bytes()
    };
    let cut = broken("cut", "model.safetensors", &|bytes| bytes[..bytes.len() / 2].to_vec());
    let other = broken("other", "config.json", &replace("\"llama\"", "\"mamba\""));
    let narrow = broken("narrow", "config.json", &replace("\"vocab_size\": 512", "\"vocab_size\": 300"));
    let good = stories.to_str().unwrap().to_owned();
    let lines = format!("{}{{\"text\": \n", "{\"text\": \"fine\"}\n".repeat(16));
    std::fs::write(path("source.jsonl"), lines).unwrap();
    let refused = |teacher: &str, more: &[&str], expected: &str| {
        let out = path("out");
        let output = generate(&[&["--teacher", teacher, "--out", &out], more].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = error
            .lines()
            .filter(|line| !line.starts_with("warning:") && !line.starts_with("source: "))
            .collect();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            lines.len() == 1 && lines[0].starts_with("smoltalk: ") && lines[0].contains(expected),
            "{error}"
        );
        assert!(!Path::new(&out).join("run.json").exists());
    };
    refused(&path("nowhere"), &["magpie-ultra"], "it is neither a folder nor a hub id");
    refused(&cut, &["magpie-ultra"], "cut/model.safetensors: not a whole safetensors file");
    refused(&other, &["magpie-ultra"], "model_type \"mamba\" is not supported");
    refused(
        &narrow,
        &["magpie-ultra"],
        "), but the model's vocab_size is 300; this tokenizer belongs to another model",
    );
    refused("http://127.0.0.1:9/v1#m", &["magpie-ultra"], "http://127.0.0.1:9/v1 does not respond");
    refused("http://127.0.0.1:9/v1", &["magpie-ultra"], "names no model");
    refused(&good, &["smol-rewrite"], "needs source texts; give `--source PATH`");
    refused(&good, &["smol-rewrite", "--source", &path("none.jsonl")], "none.jsonl");
    refused(&good, &["smol-rewrite", "--source", &path("source.jsonl")], "source.jsonl, line 17: not JSON");
    refused(&good, &["magpie-ultra", "--rows", "0"], "`--rows` and `--in-flight` must be at least 1");
}

#[test]
fn a_full_disk_is_one_line_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    let arguments =
        ["gen", "magpie-ultra", "--rows", "300", "--teacher", &teacher.name, "--out", out.to_str().unwrap()];
    // A limit on file size stands for a full disk: writes fail, the process lives.
    let limited = in_shell("ulimit -f 200", smoltalk().args(arguments)).output().unwrap();
    let error = String::from_utf8(limited.stderr).unwrap();
    assert_eq!(limited.status.code(), Some(2), "{error}");
    assert!(error.contains("store cannot be written") || error.contains("cannot write"), "{error}");
    assert!(!out.join("run.json").exists());
    let asked = teacher.requests().0;
    let freed = smoltalk().args(arguments).output().unwrap();
    assert!(freed.status.success(), "{}", String::from_utf8_lossy(&freed.stderr));
    // 64 at the teacher, and as many whose answers waited for the disk.
    assert!(teacher.requests().1 <= 128 && asked > 0, "only what could not be recorded is asked again");
}
