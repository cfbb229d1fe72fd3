//! `smoltalk gen` with teachers as people have them: whatever they answer, no half answer is kept, no row is lost without a
//! reason, and what they bill is what is booked.

use crate::generation::{content, run_json};
use crate::odd_teacher::{END, Manner, OddTeacher};
use crate::programs::{of_project, program, text_of};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;

fn generate(task: &str, teacher: &OddTeacher, out: &Path, more: &[&str]) -> Output {
    let mut command = program("smoltalk");
    command.args(["gen", task, "--teacher", &teacher.name, "--out"]).arg(out).args(more);
    command.env("XDG_CONFIG_HOME", out.parent().unwrap()).output().unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", text_of(output));
    text_of(output)
}

/// Texts to rewrite; every fiftieth is refused for good.
fn write_source(folder: &Path, rows: usize) -> PathBuf {
    let path = folder.join("source.jsonl");
    let text = |index: usize| {
        let word = if index % 50 == 7 { "flagged" } else { "plain" };
        json!({"text": format!("Letter {index} is {word} and says that the boat {} leaves early.", index * 7)}).to_string()
    };
    std::fs::write(&path, (0..rows).map(text).collect::<Vec<_>>().join("\n")).unwrap();
    path
}

/// The rows of a dataset.
fn rows(out: &Path) -> Vec<Value> {
    let rows = datasets::read(&out.join("data")).unwrap();
    rows.map(|row| serde_json::to_value(row.unwrap().row).unwrap()).collect()
}

/// The tokens of the ledger.
fn booked(out: &Path) -> u64 {
    let run = run_json(out);
    let entries = run["calls"].as_array().unwrap().iter();
    entries
        .map(|entry| entry["prompt_tokens"].as_u64().unwrap() + entry["completion_tokens"].as_u64().unwrap())
        .sum()
}

#[track_caller]
fn every_row_has_its_reason(out: &Path, task: &str, begun: u64) {
    let config = &run_json(out)["configs"][task];
    let drops = config["dropped"].as_object().unwrap();
    let dropped: u64 = drops.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(
        (&config["begun"], config["rows"].as_u64().unwrap() + dropped),
        (&json!(begun), begun),
        "{config}"
    );
    assert!(drops.keys().all(|reason| !reason.is_empty()), "{drops:?}");
}

#[test]
fn two_thousand_rows_through_every_kind_of_answer_and_fault() {
    let folder = tempfile::tempdir().unwrap();
    let source = write_source(folder.path(), 2000);
    let (teacher, out) = (OddTeacher::start(Manner::Mixed), folder.path().join("out"));
    let more = ["--rows", "2000", "--source", source.to_str().unwrap(), "--keep-reasoning"];
    let text = ends(&generate("smol-rewrite", &teacher, &out, &more), 0);
    assert!(teacher.kinds() == 35, "{} kinds of answers and faults", teacher.kinds());
    assert!(
        text.contains("`max_tokens` is sent as `max_completion_tokens`")
            && text.contains("`seed` is left out"),
        "{text}"
    );
    every_row_has_its_reason(&out, "smol-rewrite", 2000);
    let config = &run_json(&out)["configs"]["smol-rewrite"];
    assert_eq!(
        config["dropped"]["teacher_refused"], 40,
        "what is refused for good, and nothing else: {config}"
    );
    assert_eq!(config["rows"], 1960, "{config}");
    let mut thoughtful = 0;
    for row in rows(&out) {
        let reply = row["messages"].as_array().unwrap().last().unwrap().clone();
        let text = reply["content"].as_str().unwrap();
        assert!(text.starts_with("Answer ") && text.ends_with(END) && !text.contains("Hm"), "{reply}");
        thoughtful += usize::from(reply["reasoning_content"] == "Hm, half a");
    }
    assert!(thoughtful > 200, "{thoughtful} rows with thoughts beside the reply");
    let (counted, uncertain) = teacher.billed();
    assert!(uncertain > 10_000, "{uncertain}");
    assert_eq!(booked(&out), counted + uncertain, "what is booked is what was billed");
    // Again: nothing is asked, and the rows are the same.
    let (asked, before) = (teacher.requests(), content(&out));
    ends(&generate("smol-rewrite", &teacher, &out, &more), 0);
    assert_eq!((teacher.requests(), content(&out)), (asked, before));
}

#[test]
fn judges_are_understood_in_every_shape() {
    let folder = tempfile::tempdir().unwrap();
    let (teacher, out) = (OddTeacher::start(Manner::Mixed), folder.path().join("out"));
    let text = ends(&generate("system-chats", &teacher, &out, &["--rows", "150", "--user-turns", "chat"]), 0);
    assert!(text.contains("limits are left out of JSON schemas and are checked here"), "{text}");
    every_row_has_its_reason(&out, "system-chats", 150);
    let kept = rows(&out);
    assert!(kept.len() > 120, "{} of 150: {}", kept.len(), run_json(&out)["configs"]);
    for message in kept.iter().flat_map(|row| row["messages"].as_array().unwrap()) {
        let text = message["content"].as_str().unwrap();
        assert!(text.ends_with(END) && !text.contains("Hm") && !text.contains("<|im_end|>"), "{message}");
        assert_eq!(
            message["reasoning_content"],
            Value::Null,
            "thoughts are kept only where they are asked for"
        );
    }
    let (counted, uncertain) = teacher.billed();
    assert_eq!(booked(&out), counted + uncertain);
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("User's turns were asked for in a chat"), "{card}");
}

#[test]
fn an_endpoint_of_chats_alone_is_refused_before_rows_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (teacher, out) = (OddTeacher::start(Manner::ChatOnly), folder.path().join("out"));
    let text = ends(&generate("magpie-ultra", &teacher, &out, &["--rows", "20"]), 2);
    assert!(text.contains("warning: user's turns are asked for in ChatML"), "{text}");
    assert!(text.contains("does not continue a raw prompt") && text.contains("--user-turns chat"), "{text}");
    assert!(!out.join("run.json").exists());
    // Rows of both kinds are not mixed.
    let text = ends(&generate("magpie-ultra", &teacher, &out, &["--rows", "20", "--user-turns", "chat"]), 2);
    assert!(text.contains("user_turns"), "{text}");
    ends(
        &generate(
            "magpie-ultra",
            &teacher,
            &folder.path().join("chat"),
            &["--rows", "5", "--user-turns", "chat"],
        ),
        0,
    );
}

#[test]
fn a_step_that_fails_alike_stops_the_run_and_its_rows_are_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (teacher, out) = (OddTeacher::start(Manner::RefusesSchemas), folder.path().join("out"));
    let more = ["--rows", "60", "--user-turns", "chat", "--in-flight", "4"];
    let text = ends(&generate("magpie-ultra", &teacher, &out, &more), 2);
    assert!(
        text.contains("refused 20 calls of the step `difficulty`")
            && text.contains("not available for your account"),
        "{text}"
    );
    let asked = teacher.requests();
    assert!(asked < 300, "{asked} calls before it stopped");
    teacher.mend();
    ends(&generate("magpie-ultra", &teacher, &out, &more), 0);
    every_row_has_its_reason(&out, "magpie-ultra", 60);
    assert_eq!(run_json(&out)["configs"]["magpie-ultra"]["dropped"]["teacher_refused"], Value::Null);
}

#[test]
fn answers_that_are_thoughts_alone_stop_the_run_and_name_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let source = write_source(folder.path(), 200);
    let (teacher, out) = (OddTeacher::start(Manner::OnlyThinks), folder.path().join("out"));
    let more = ["--rows", "200", "--in-flight", "4", "--source", source.to_str().unwrap()];
    let text = ends(&generate("smol-rewrite", &teacher, &out, &more), 2);
    assert!(
        text.contains("all of them thoughts; run the same command again with a larger `--max-tokens`"),
        "{text}"
    );
    assert!(text.contains("not ended after 1024 tokens"), "{text}");
    assert!(teacher.requests() < 100, "{} calls before it stopped", teacher.requests());
}

#[test]
fn rows_that_an_endpoint_refused_are_tried_again_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let source = write_source(folder.path(), 60);
    let (teacher, out) = (OddTeacher::start(Manner::Mixed), folder.path().join("out"));
    let more = ["--rows", "60", "--source", source.to_str().unwrap()];
    ends(&generate("smol-rewrite", &teacher, &out, &more), 0);
    let (asked, before) = (teacher.requests(), content(&out));
    assert_eq!(run_json(&out)["configs"]["smol-rewrite"]["dropped"]["teacher_refused"], 2);
    let text =
        ends(&generate("smol-rewrite", &teacher, &out, &[&more[..], &["--retry", "refused"]].concat()), 0);
    assert!(
        text.contains("2 rows that were dropped as teacher_refused, teacher_failed are tried again"),
        "{text}"
    );
    // Refused again; with what the endpoint does not take learned again, too.
    let again = teacher.requests() - asked;
    assert!((2..20).contains(&again), "{again}");
    assert_eq!(content(&out), before);
}

#[test]
fn as_many_rows_are_started_as_it_takes_to_keep_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let source = write_source(folder.path(), 400);
    let teacher = OddTeacher::start(Manner::Mixed);
    let with = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let source = ["--source", source.to_str().unwrap()];
        (generate("smol-rewrite", &teacher, &out, &[&source[..], more].concat()), out)
    };
    let (output, out) = with("kept", &["--kept", "120", "--rows", "400"]);
    ends(&output, 0);
    let config = run_json(&out)["configs"]["smol-rewrite"].clone();
    assert_eq!((&config["rows"], &config["begun"]), (&json!(120), &json!(123)), "{config}");
    // They are the first rows of a longer run, whatever ended first.
    let (output, whole) = with("whole", &["--rows", "123"]);
    ends(&output, 0);
    assert_eq!(content(&out), content(&whole));
    let (output, _) = with("few", &["--kept", "120", "--rows", "60"]);
    assert!(ends(&output, 0).contains("58 of the 120 rows of `--kept` are kept, from 60"));
    let (output, _) = with("unbound", &["--kept", "5"]);
    assert!(ends(&output, 2).contains("give `--rows`"));
}

#[test]
fn a_run_that_keeps_next_to_nothing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let text = json!({"text": "This text is flagged, whatever it says."}).to_string();
    let source = folder.path().join("flagged.jsonl");
    std::fs::write(&source, format!("{text}\n").repeat(12)).unwrap();
    let (teacher, out) = (OddTeacher::start(Manner::Mixed), folder.path().join("out"));
    let more = ["--rows", "12", "--source", source.to_str().unwrap()];
    let text = ends(&generate("smol-rewrite", &teacher, &out, &more), 4);
    assert!(
        text.contains("less than a tenth of the rows is kept, 0 of 12; 12 are dropped as `teacher_refused`"),
        "{text}"
    );
}

#[test]
fn exported_prompts_are_the_built_in_ones() {
    let folder = tempfile::tempdir().unwrap();
    let prompts = folder.path().join("mine");
    let export =
        || program("smoltalk").args(["prompts", "export", "smol-rewrite"]).arg(&prompts).output().unwrap();
    assert!(export().status.success());
    assert!(text_of(&export()).contains("may have been changed"), "they are not written over");
    let source = write_source(folder.path(), 12);
    let teacher = OddTeacher::start(Manner::ChatOnly);
    let more = ["--rows", "12", "--source", source.to_str().unwrap()];
    let (out, built_in) = (folder.path().join("out"), folder.path().join("built-in"));
    ends(
        &generate(
            "smol-rewrite",
            &teacher,
            &out,
            &[&more[..], &["--prompts", prompts.to_str().unwrap()]].concat(),
        ),
        0,
    );
    ends(&generate("smol-rewrite", &teacher, &built_in, &more), 0);
    assert_eq!(content(&out), content(&built_in));
}

/// The three that come with the project.
#[test]
fn tasks_of_text_files_alone_are_made_from_their_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, prompts) = (write_source(folder.path(), 12), folder.path().join("prompts.jsonl"));
    let prompt = |index: usize| {
        json!({"messages": [{"role": "user", "content": format!("Name {index} rivers.")}]}).to_string()
    };
    std::fs::write(&prompts, (0..12).map(prompt).collect::<Vec<_>>().join("\n")).unwrap();
    let teacher = OddTeacher::start(Manner::ChatOnly);
    for (name, source, columns) in [
        ("evol-instruct", Some(&prompts), vec!["operation"]),
        ("backtranslation", Some(&texts), vec![]),
        ("personas", None, vec!["field", "kind", "persona"]),
    ] {
        let recipe = of_project(&format!("generate/recipes/{name}/recipe.toml"));
        let out = folder.path().join(name);
        let mut command = program("smoltalk");
        command
            .args(["gen", "--rows", "12", "--teacher", &teacher.name, "--out"])
            .arg(&out)
            .arg("--recipe")
            .arg(recipe);
        if let Some(source) = source {
            command.arg("--source").arg(source);
        }
        let output = command.output().unwrap();
        ends(&output, 0);
        every_row_has_its_reason(&out, name, 12);
        let rows = rows(&out);
        assert!(rows.len() > 2, "{name}: {}", run_json(&out)["configs"]);
        for row in rows {
            let roles: Vec<&str> =
                row["messages"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
            assert_eq!(roles, ["user", "assistant"], "{row}");
            assert!(columns.iter().all(|column| row[column].is_string()) && row["id"].is_string(), "{row}");
        }
    }
}

#[test]
fn an_estimate_names_the_yield_and_the_price_of_a_kept_row() {
    let folder = tempfile::tempdir().unwrap();
    let source = write_source(folder.path(), 100);
    let prices = folder.path().join("prices.toml");
    std::fs::write(&prices, "[odd]\nprompt = 10.0\ncompletion = 100.0\n").unwrap();
    let teacher = OddTeacher::start(Manner::Mixed);
    let mut command = program("smoltalk");
    command.args(["estimate", "smol-rewrite", "--teacher", &teacher.name, "--rows", "100", "--source"]);
    command.arg(&source).arg("--prices").arg(&prices).arg("--out").arg(folder.path().join("out"));
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    assert!(text.contains("15 of 16 rows kept (94%), $0.0") && text.contains(" per kept row"), "{text}");
}
