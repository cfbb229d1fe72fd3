//! `smoltalk gen` against endpoints that fail, die, cost money or answer in batches.

use crate::faulty_endpoint::{FaultyEndpoint, exchange, receive, respond};
use crate::generation::{content, run_json};
use crate::programs::{program, text_of};
use crate::scripted_teacher::ScriptedTeacher;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn generate(teacher: &str, out: &Path, more: &[&str]) -> Command {
    let mut command = program("smoltalk");
    command.args(["gen", "smol-constraint", "--teacher", teacher, "--out"]).arg(out).args(more);
    command.env("XDG_CONFIG_HOME", out.parent().unwrap());
    command
}

#[track_caller]
fn ends(mut command: Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text_of(&output));
    output
}

/// Calls of the ledger by outcome.
fn calls(out: &Path) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for entry in run_json(out)["calls"].as_array().unwrap() {
        *sums.entry(entry["outcome"].as_str().unwrap().to_owned()).or_default() +=
            entry["calls"].as_u64().unwrap();
    }
    sums
}

#[test]
fn every_row_ends_with_a_true_reason_whatever_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    let endpoint = FaultyEndpoint::start(&teacher.name, true);
    let name = format!("{}#scripted", endpoint.base);
    let out = folder.path().join("faulty");
    let began = Instant::now();
    ends(generate(&name, &out, &["--rows", "60", "--timeout", "1", "--in-flight", "16"]), 0);
    println!(
        "60 rows through a faulty endpoint in {:.1} s: {:?}",
        began.elapsed().as_secs_f64(),
        calls(&out)
    );
    let config = &run_json(&out)["configs"]["smol-constraint"];
    let dropped = config["dropped"].as_object().unwrap();
    let lost: u64 = dropped.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(config["rows"].as_u64().unwrap() + lost, 60);
    let calls = calls(&out);
    assert!(calls["busy"] > 5 && calls["failed"] > 15, "{calls:?}");
    // The same rows without faults; what differs failed for ever, and says so.
    let whole = folder.path().join("whole");
    ends(generate(&teacher.name, &whole, &["--rows", "60"]), 0);
    let (faulty, whole) = (outcomes(&out), outcomes(&whole));
    assert_eq!(faulty.len(), 60);
    let mut failed = 0;
    for (id, (reason, detail)) in &faulty {
        // Which row of two alike is the first one follows from which rows there are.
        match (reason.as_str(), whole[id].0.as_str()) {
            ("teacher_failed", _) => {
                failed += 1;
                assert!(detail.contains("500"), "only what never answers fails: {detail}");
            }
            ("near_duplicate" | "kept", "near_duplicate" | "kept") => {}
            (reason, undisturbed) => assert_eq!(reason, undisturbed, "{id}: {detail}"),
        }
    }
    assert!((1..30).contains(&failed), "{failed}: {dropped:?}");
}

/// Of every row whether it was kept or why not, and what was found.
fn outcomes(out: &Path) -> BTreeMap<String, (String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let mut outcomes = BTreeMap::new();
    for row in datasets::read(&out.join("data")).unwrap() {
        let row = serde_json::to_value(row.unwrap().row).unwrap();
        outcomes.insert(text(&row, "id"), ("kept".to_owned(), String::new()));
    }
    for line in std::fs::read_to_string(out.join("dropped.jsonl")).unwrap().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        outcomes.insert(text(&row, "id"), (text(&row, "reason"), text(&row, "detail")));
    }
    outcomes
}

#[test]
fn when_one_endpoint_dies_the_other_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::from_millis(10), false);
    let endpoints =
        [FaultyEndpoint::start(&teacher.name, false), FaultyEndpoint::start(&teacher.name, false)];
    let name = format!("{}#scripted,{}#scripted", endpoints[0].base, endpoints[1].base);
    let out = folder.path().join("out");
    let mut command = generate(&name, &out, &["--rows", "150", "--in-flight", "4"]);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    while endpoints[0].bodies() < 40 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(endpoints[1].bodies() > 20, "both are used");
    endpoints[0].die();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(text_of(&output).contains("failed 3 times in a row"), "{}", text_of(&output));
    let run = run_json(&out);
    let config = &run["configs"]["smol-constraint"];
    assert_eq!((&config["begun"], &config["dropped"]["teacher_failed"]), (&json!(150), &Value::Null));
    let answered = |base: &str| -> u64 {
        let entries = run["calls"].as_array().unwrap().iter();
        let ours = entries.filter(|entry| entry["endpoint"] == base && entry["outcome"] == "answered");
        ours.map(|entry| entry["calls"].as_u64().unwrap()).sum()
    };
    assert!(answered(&endpoints[0].base) >= 30 && answered(&endpoints[1].base) > 100);
}

#[test]
fn an_endpoint_that_stays_away_ends_the_run_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::from_millis(5), false);
    let endpoint = FaultyEndpoint::start(&teacher.name, false);
    let (name, out) = (format!("{}#scripted", endpoint.base), folder.path().join("out"));
    let mut command = generate(&name, &out, &["--rows", "80", "--patience", "1"]);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    while endpoint.bodies() < 60 {
        std::thread::sleep(Duration::from_millis(1));
    }
    endpoint.die();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    assert!(text_of(&output).contains("does not answer for"), "{}", text_of(&output));
    ends(generate(&teacher.name, &out, &["--rows", "80"]), 0);
    assert_eq!(run_json(&out)["configs"]["smol-constraint"]["begun"], 80);
}

#[test]
fn a_budget_is_never_crossed_and_the_run_goes_on_with_a_larger_one() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    let out = folder.path().join("out");
    let more = ["--rows", "300", "--in-flight", "8"];
    let with = |budget: &str| generate(&teacher.name, &out, &[&more[..], &["--budget", budget]].concat());
    let spent = || -> u64 {
        let run = run_json(&out);
        let entries = run["calls"].as_array().unwrap().iter();
        entries.map(|e| e["prompt_tokens"].as_u64().unwrap() + e["completion_tokens"].as_u64().unwrap()).sum()
    };
    let output = ends(with("9ktok"), 3);
    assert!(text_of(&output).contains("stopped before the budget was exceeded"), "{}", text_of(&output));
    let first = spent();
    assert!((3000..=9000).contains(&first), "{first}");
    assert_eq!(run_json(&out)["complete"], false);
    let error = text_of(&ends(with("25usd"), 2));
    assert!(error.contains("needs the price of scripted") && error.contains("prices.toml"), "{error}");
    let prices = folder.path().join("smoltalk/prices.toml");
    std::fs::create_dir(prices.parent().unwrap()).unwrap();
    std::fs::write(&prices, "[scripted]\nprompt = 10.0\ncompletion = 100.0\n").unwrap();
    // What was spent before the price was known cost nothing that is known.
    ends(with("0.3usd"), 3);
    let money = |out: &Path| -> u64 {
        run_json(out)["calls"].as_array().unwrap().iter().map(|e| e["microdollars"].as_u64().unwrap()).sum()
    };
    assert!((1..=300_000).contains(&money(&out)), "{}", money(&out));
    ends(with("25usd"), 0);
    assert_eq!(teacher.requests().1, 0, "nothing was asked twice");
    assert_eq!(run_json(&out)["configs"]["smol-constraint"]["begun"], 300);
    let whole = folder.path().join("whole");
    ends(generate(&teacher.name, &whole, &more), 0);
    assert_eq!(content(&out), content(&whole));
}

/// A provider of batches in front of the scripted teacher: a batch is done after it was looked at twice.
struct BatchProvider {
    base: String,
    state: Arc<Mutex<Provider>>,
}

#[derive(Default)]
struct Provider {
    files: Vec<Vec<u8>>,
    /// (input file, looks, output file)
    batches: Vec<(usize, usize, Option<usize>)>,
}

impl BatchProvider {
    fn start(teacher: &str) -> Self {
        let behind = teacher.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(Provider::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Ok((head, body)) = receive(&stream) else { continue };
                let answer = shared.lock().unwrap().answer(&head, &body, &behind);
                respond(&mut stream, "200 OK", &answer).unwrap_or(());
            }
        });
        Self { base, state }
    }
}

impl Provider {
    fn answer(&mut self, head: &str, body: &[u8], behind: &str) -> Vec<u8> {
        let words: Vec<&str> = head.split([' ', '/', '?']).filter(|word| !word.is_empty()).collect();
        match words[..] {
            ["POST", "v1", "files"] => {
                let text = String::from_utf8_lossy(body).into_owned();
                assert!(text.contains("name=\"purpose\"") && text.contains("batch"));
                let lines = text.lines().filter(|line| line.starts_with("{\"custom_id\""));
                self.files.push(lines.collect::<Vec<_>>().join("\n").into_bytes());
                json!({"id": format!("file-{}", self.files.len() - 1)}).to_string().into_bytes()
            }
            ["POST", "v1", "batches"] => {
                let body: Value = serde_json::from_slice(body).unwrap();
                let file = body["input_file_id"].as_str().unwrap().trim_start_matches("file-").parse();
                self.batches.push((file.unwrap(), 0, None));
                json!({"id": format!("batch-{}", self.batches.len() - 1)}).to_string().into_bytes()
            }
            ["GET", "v1", "batches", _limit] if head.contains("limit=") => {
                let list = self.batches.iter().enumerate().map(|(index, batch)| {
                    json!({"id": format!("batch-{index}"), "input_file_id": format!("file-{}", batch.0)})
                });
                json!({"data": list.collect::<Vec<_>>()}).to_string().into_bytes()
            }
            ["GET", "v1", "batches", id] => {
                let index: usize = id.trim_start_matches("batch-").parse().unwrap();
                self.batches[index].1 += 1;
                if self.batches[index].1 >= 2 && self.batches[index].2.is_none() {
                    let output = self.run(self.batches[index].0, behind);
                    self.files.push(output);
                    self.batches[index].2 = Some(self.files.len() - 1);
                }
                let status = if self.batches[index].2.is_some() { "completed" } else { "in_progress" };
                let output = self.batches[index].2.map(|file| format!("file-{file}"));
                json!({"id": id, "status": status, "output_file_id": output}).to_string().into_bytes()
            }
            ["GET", "v1", "files", id, "content"] => {
                self.files[id.trim_start_matches("file-").parse::<usize>().unwrap()].clone()
            }
            _ => b"{}".to_vec(),
        }
    }

    fn run(&self, file: usize, behind: &str) -> Vec<u8> {
        let mut output = String::new();
        for line in String::from_utf8_lossy(&self.files[file]).lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let head = format!("POST {} HTTP/1.1", line["url"].as_str().unwrap());
            let answer = exchange(behind, &head, line["body"].to_string().as_bytes()).unwrap();
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
            let result =
                json!({"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}});
            output.push_str(&format!("{result}\n"));
        }
        output.into_bytes()
    }
}

#[test]
fn batches_survive_kills_and_are_never_submitted_twice() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    let provider = BatchProvider::start(&teacher.name);
    let (name, out) = (format!("{}#scripted", provider.base), folder.path().join("batched"));
    let start = || {
        let mut command = generate(&name, &out, &["--rows", "30", "--batch", "--batch-poll", "0.3"]);
        command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    };
    // Killed as soon as the first file is there, the first batch is made, the second one is.
    let files = || provider.state.lock().unwrap().files.len();
    let batches = || provider.state.lock().unwrap().batches.len();
    for (wanted_files, wanted_batches) in [(1, 0), (1, 1), (3, 2)] {
        let mut child = start();
        let began = Instant::now();
        while (files() < wanted_files || batches() < wanted_batches) && child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(start().wait().unwrap().success());
    let state = provider.state.lock().unwrap();
    let mut submitted = BTreeMap::new();
    for (file, ..) in &state.batches {
        for line in String::from_utf8_lossy(&state.files[*file]).lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            *submitted.entry(line["custom_id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    drop(state);
    println!("{} calls in {} batches over 4 sessions", submitted.len(), batches());
    assert!(submitted.len() > 90 && submitted.values().all(|times| *times == 1), "{submitted:?}");
    let whole = folder.path().join("whole");
    ends(generate(&teacher.name, &whole, &["--rows", "30"]), 0);
    assert_eq!(content(&out), content(&whole));
}

#[test]
fn a_preview_shows_every_step_and_an_estimate_is_the_runs_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::from_millis(2), false);
    let mut preview = program("smoltalk");
    preview.args(["preview", "smol-constraint", "--n", "8", "--teacher", &teacher.name]);
    let text = String::from_utf8(ends(preview, 0).stdout).unwrap();
    assert_eq!(text.matches("== smol-constraint ").count(), 8, "{text}");
    for word in
        ["-- user (scripted: 10 + ", "[user]\n  reply:\n    Tell me in ", "-- instruction_ids", "-- kept"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let asked = teacher.requests().0;
    let out = folder.path().join("out");
    let mut estimate = program("smoltalk");
    estimate.args(["estimate", "smol-constraint", "--rows", "200", "--teacher", &teacher.name, "--out"]);
    estimate.arg(&out).env("XDG_CONFIG_HOME", folder.path());
    let text = String::from_utf8(ends(estimate, 0).stdout).unwrap();
    assert!(text.contains("from 16 of 200 rows") && text.contains("no known price of scripted"), "{text}");
    ends(generate(&teacher.name, &out, &["--rows", "200"]), 0);
    let ledger = calls(&out);
    assert_eq!(teacher.requests().0 - asked, ledger["answered"] as usize, "the sample was not asked again");
}
