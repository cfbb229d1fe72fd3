//! The whole circle with the models that come with the project: no network, no downloaded data. A teacher writes rows
//! and pairs, a base model is trained on them, what came out is scored and served.

use crate::clients::Served;
use crate::generation::content;
use crate::programs::{metric, of_project, posttrain, program, read_json, succeeds, text_of};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

fn recipe(name: &str) -> PathBuf {
    of_project("pocket/recipes").join(name)
}

/// `smoltalk gen` with the project's own teacher; returns the dataset's folder.
fn generated(folder: &Path, task: &str, rows: usize, more: &[&str]) -> PathBuf {
    let out = folder.join(task);
    let rows = rows.to_string();
    let mut command = program("smoltalk");
    command.args(["gen", task, "--rows", &rows, "--seed", "1"]).args(more).arg("--out").arg(&out);
    command.arg("--teacher").arg(of_project("models/pocket-instruct"));
    command.arg("--prompts").arg(of_project("pocket/prompts"));
    succeeds(&mut command);
    out
}

/// `posttrain sft` on datasets, as the quickstart does it.
fn student(folder: &Path, name: &str, data: &[PathBuf]) -> PathBuf {
    let out = folder.join(name);
    let mut command = posttrain(folder);
    command.arg("sft").arg("--recipe").arg(recipe("student-sft.toml"));
    command.arg("--model").arg(of_project("models/pocket-base"));
    command.args(["--logging-steps", "1"]).arg("--out").arg(&out).arg("--data").args(data);
    succeeds(&mut command);
    out
}

fn world(folder: &Path) -> PathBuf {
    let out = folder.join("world");
    let none = ["--documents", "0", "--conversations", "0", "--pairs", "0"];
    succeeds(program("smolpocket").arg("world").args(none).arg("--out").arg(&out));
    out
}

/// Letters to rewrite and stories to sum up.
fn texts(folder: &Path) -> PathBuf {
    let out = folder.join("texts");
    succeeds(program("smolpocket").args(["texts", "--rows", "20", "--seed", "1", "--out"]).arg(&out));
    out
}

fn post(address: &str, path: &str, body: &Value) -> Value {
    let mut stream = std::net::TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}",
        body.len()
    );
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn the_whole_circle_from_what_comes_with_the_project() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let world = world(folder);
    let mut data = vec![generated(folder, "magpie-ultra", 60, &[])];
    data.push(generated(folder, "smol-constraint", 20, &[]));
    let texts = texts(folder);
    for (task, file) in [("smol-rewrite", "letters.jsonl"), ("smol-summarization", "stories.jsonl")] {
        data.push(generated(folder, task, 20, &["--source", texts.join(file).to_str().unwrap()]));
    }
    for out in &data {
        let configs = read_json(&out.join("run.json"))["configs"].clone();
        let (_, of_task) = configs.as_object().unwrap().iter().find(|(name, _)| *name != "all").unwrap();
        let (begun, kept) = (of_task["begun"].as_f64().unwrap(), of_task["rows"].as_f64().unwrap());
        // BENCHMARKS.md has the shares of many rows; here is room for chance.
        assert!(kept >= 0.5 * begun, "{}: {kept} of {begun} rows kept", out.display());
    }
    let sft = student(folder, "sft", &data);
    let losses = metric(&sft, "loss");
    assert!(losses.last().unwrap() < losses.first().unwrap(), "{losses:?}");

    let teacher = of_project("models/pocket-instruct");
    let both = [teacher.to_str().unwrap(), sft.to_str().unwrap()];
    let both = both.map(|teacher| ["--completion-teacher", teacher]).concat();
    let pairs = generated(folder, "preferences", 60, &both);
    let dpo = folder.join("dpo");
    let mut command = posttrain(folder);
    command.arg("dpo").arg("--recipe").arg(recipe("student-dpo.toml")).arg("--model").arg(&sft);
    succeeds(command.arg("--data").arg(&pairs).arg("--out").arg(&dpo));

    let scores = folder.join("scores");
    let mut command = program("smolpocket");
    command.args(["score", "--limit", "4", "--model"]);
    command.arg(format!("base={}", of_project("models/pocket-base").display()));
    command.arg("--model").arg(format!("sft={}", sft.display()));
    command.arg("--model").arg(format!("dpo={}", dpo.display()));
    succeeds(command.arg("--data").arg(&world).arg("--out").arg(&scores));
    let report = folder.join("report.html");
    let mut command = program("smoleval");
    command.arg("report").arg(&scores).arg("--run").arg(&sft).arg(&dpo).arg("--dataset").args(&data);
    succeeds(command.arg("--out").arg(&report));
    let page = std::fs::read_to_string(report).unwrap();
    for name in ["base", "sft", "dpo", "magpie-ultra"] {
        assert!(page.contains(&format!("<h3>{name}</h3>")), "{name} is not on the page");
    }

    let served = Served::start(&dpo, &[]);
    let asked = json!({"model": "stories", "max_tokens": 40, "temperature": 0,
        "messages": [{"role": "user", "content": "Name three fruits for a game."}]});
    let answer = post(&served.address, "/v1/chat/completions", &asked);
    assert!(!answer["choices"][0]["message"]["content"].as_str().unwrap().is_empty(), "{answer}");
}

#[test]
fn the_same_seed_makes_the_same_dataset_and_the_same_losses() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runs = [one.path(), two.path()].map(|folder| {
        let data = generated(folder, "magpie-ultra", 24, &[]);
        let sft = student(folder, "sft", std::slice::from_ref(&data));
        (content(&data), metric(&sft, "loss"))
    });
    assert!(!runs[0].0.is_empty() && !runs[0].1.is_empty());
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn pocket_instruct_answers_what_was_held_out() {
    let folder = tempfile::tempdir().unwrap();
    let (world, scores) = (world(folder.path()), folder.path().join("scores"));
    let mut command = program("smolpocket");
    command.args(["score", "--parts", "questions", "--limit", "40", "--model"]);
    command.arg(of_project("models/pocket-instruct"));
    succeeds(command.arg("--data").arg(world).arg("--out").arg(&scores));
    let figures = read_json(&scores.join("pocket-instruct.json"))["figures"]["questions"][0].clone();
    let kinds = figures["kinds"].as_array().unwrap();
    let shares: Vec<f64> = kinds.iter().map(|kind| kind["accuracy"]["value"].as_f64().unwrap()).collect();
    let macro_average = shares.iter().sum::<f64>() / shares.len() as f64;
    // All 250 of a kind give the figure of BENCHMARKS.md; these are 40, with room for chance.
    assert!(shares.len() >= 8 && macro_average >= 0.8, "{macro_average}: {shares:?}");
}

#[test]
fn without_a_teacher_or_a_model_two_ways_are_shown() {
    let output =
        program("smoltalk").args(["gen", "magpie-ultra"]).current_dir(of_project(".")).output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2));
    for part in ["--teacher HuggingFaceTB/", "--teacher models/pocket-instruct --prompts pocket/prompts"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let output = program("smolserve").arg("--check").output().unwrap();
    assert!(output.status.code() == Some(2) && text_of(&output).contains("--model"), "{}", text_of(&output));
}

#[test]
fn texts_and_webs_replace_nothing_of_the_users() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |arguments: &[&str]| {
        let output = program("smolpocket").args(arguments).current_dir(folder.path()).output().unwrap();
        (output.status.code(), text_of(&output))
    };
    let texts = ["texts", "--rows", "3", "--out", "texts"];
    let web = ["web", "--pages", "20", "--out", "web"];
    for (arguments, name) in
        [(&texts, "texts/letters.jsonl"), (&web, "web/fates.jsonl"), (&web, "web/encoder/config.json")]
    {
        let file = path(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "mine").unwrap();
        let (code, text) = run(arguments);
        assert!(code == Some(2) && text.contains("did not write; move it away"), "{name}: {text}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        std::fs::remove_dir_all(path(name.split('/').next().unwrap())).unwrap();
    }
    std::fs::create_dir_all(path("web")).unwrap();
    std::os::unix::fs::symlink(folder.path(), path("web/sets")).unwrap();
    assert_eq!(run(&web).0, Some(2));
    assert!(!path("gsm8k.jsonl").exists());
    std::fs::remove_dir_all(path("web")).unwrap();
    // Once more into one's own folder: it is replaced, and what else is there stays.
    for arguments in [&texts, &web] {
        assert_eq!(run(arguments).0, Some(0));
        let notes = path(arguments[4]).join("notes.txt");
        std::fs::write(&notes, "mine").unwrap();
        let (code, text) = run(arguments);
        assert_eq!((code, std::fs::read_to_string(&notes).unwrap().as_str()), (Some(0), "mine"), "{text}");
    }
    let shown = program("smoltalk").args(["show", "texts"]).current_dir(folder.path()).output().unwrap();
    assert!(shown.status.success(), "{}", text_of(&shown));
}

/// No teacher gets other prompts than it was asked for because its context is short.
#[test]
fn a_context_too_short_for_the_prompts_is_refused_with_the_numbers() {
    let mut command = program("smoltalk");
    command
        .args(["gen", "magpie-ultra", "--rows", "2", "--teacher"])
        .arg(of_project("models/pocket-instruct"));
    let folder = tempfile::tempdir().unwrap();
    let output = command.arg("--out").arg(folder.path().join("out")).output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in ["task `magpie-ultra`", "up to 1024", "holds 1024", "--prompts DIR"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn the_audit_tells_right_rows_from_wrong_ones() {
    let folder = tempfile::tempdir().unwrap();
    let row = |user: &str, reply: &str| {
        let said = [("user", user), ("assistant", reply)];
        let messages: Vec<Value> =
            said.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
        json!({"messages": messages, "source": "made"}).to_string()
    };
    let told = "Mara is in the mill. Tolin is in the barn. Where is Tolin?";
    let rows = [
        row(told, "Tolin is in the barn."),
        row(told, "Tolin is in the mill."),
        row("Mara is in the mill. Where is Tolin?", "Tolin is in the mill."),
        row("Why is the sky blue?", "So."),
    ];
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/train.jsonl"), rows.join("\n")).unwrap();
    let output = program("smolpocket").arg("audit").arg("--dataset").arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = "made: 25.0% of 4 rows are right (1 right, 1 wrong, 1 unanswerable, 1 unreadable)";
    assert!(output.status.success() && said.contains(expected), "{said}");

    let pair = json!({"prompt": "Where?", "chosen": "Here.", "rejected": "There."}).to_string();
    std::fs::write(folder.path().join("data/train.jsonl"), pair).unwrap();
    let output = program("smolpocket").arg("audit").arg("--dataset").arg(folder.path()).output().unwrap();
    assert!(output.status.code() == Some(2) && text_of(&output).contains("no conversations"));
}
