//! The newer tasks end to end, over HTTP, against a scripted teacher whose bad replies must be dropped.

use crate::programs::{program, read_json};
use crate::task_teacher::{GUIDE, Teacher};
use datasets::Row;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

fn generate(task: &str, teacher: &Teacher, rows: usize, out: &Path, more: &[&str]) -> Output {
    let mut command = program("smoltalk");
    command.args(["gen", task, "--teacher", &teacher.name, "--rows", &rows.to_string()]);
    command.args(["--out", out.to_str().unwrap()]).args(more).output().unwrap()
}

/// The rows kept, and the configuration's part of run.json.
fn made(task: &str, teacher: &Teacher, rows: usize, out: &Path, more: &[&str]) -> (Vec<Row>, Value) {
    let output = generate(task, teacher, rows, out, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = read_json(&out.join("run.json"));
    let config = run["configs"][task].clone();
    let kept: Vec<Row> = datasets::read(out).unwrap().map(|row| row.unwrap().row).collect();
    let dropped: u64 =
        config["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(kept.len() as u64, config["rows"]);
    assert_eq!(kept.len() as u64 + dropped, rows as u64, "every row is kept or dropped: {config}");
    assert!(run["configs"].get("all").is_none(), "one task has no mixture");
    (kept, config)
}

fn reasons(config: &Value) -> BTreeSet<String> {
    config["dropped"].as_object().unwrap().keys().cloned().collect()
}

fn json(row: &Row) -> Value {
    serde_json::to_value(row).unwrap()
}

#[test]
fn everyday_conversations_begin_with_a_greeting_and_are_short() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = Teacher::start("everyday");
    let out = folder.path().join("out");
    let (rows, config) = made("everyday-conversations", &teacher, 60, &out, &[]);
    assert!(rows.len() > 20, "{config}");
    assert!(reasons(&config).contains("no_greeting"), "{config}");
    let mut turns = BTreeSet::new();
    for row in rows.iter().map(json) {
        let messages = row["messages"].as_array().unwrap();
        assert_eq!(messages[0], json!({"role": "user", "content": "Good morning!"}));
        assert_eq!(messages.len() as u64, 2 * row["turns"].as_u64().unwrap());
        assert!(messages.iter().all(|message| message["role"] != "system"));
        assert!(row["topic"].is_string() && row["subtopic"].is_string());
        turns.insert(row["turns"].as_u64().unwrap());
    }
    assert_eq!(turns, BTreeSet::from([3, 4]));
    // The same command again asks nothing.
    let asked = teacher.asked();
    let (again, _) = made("everyday-conversations", &teacher, 60, &out, &[]);
    assert_eq!((again, teacher.asked()), (rows, asked));
}

#[test]
fn system_chats_keep_to_their_system_prompt_or_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = Teacher::start("system");
    let (rows, config) = made("system-chats", &teacher, 40, folder.path(), &[]);
    assert!(rows.len() > 10 && config["dropped"]["broke_system_prompt"].as_u64().unwrap() > 3, "{config}");
    for row in rows.iter().map(json) {
        let messages = row["messages"].as_array().unwrap();
        assert_eq!(messages[0]["role"], "system");
        let rule = row["rules"][0].as_str().unwrap();
        assert!(messages[0]["content"].as_str().unwrap().ends_with(&format!("{rule}.")), "{rule}");
        assert!(messages.iter().all(|message| message["content"] != "No."));
        assert_eq!(row["adherence"], 5);
    }
    let dropped = std::fs::read_to_string(folder.path().join("dropped.jsonl")).unwrap();
    assert!(dropped.contains("2 of 5: It never says please."), "{dropped}");
}

/// Texts with flaws that small teachers make are asked for again; rows whose teacher makes them every time are dropped.
#[test]
fn placeholders_repeated_prompts_and_cut_texts_are_in_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = Teacher::start("flawed");
    let (rows, config) = made("system-chats", &teacher, 120, folder.path(), &[]);
    assert!(rows.len() > 20, "{config}");
    for reason in ["placeholder", "repeats_system_prompt", "cut_by_schema"] {
        assert!(reasons(&config).contains(reason), "no {reason} in {config}");
    }
    for row in rows.iter().map(json) {
        let messages = row["messages"].as_array().unwrap();
        let system = messages[0]["content"].as_str().unwrap();
        assert!(!system.contains("[company_name]") && system.ends_with('.'), "{system}");
        assert!(messages[1..].iter().all(|message| !message["content"].as_str().unwrap().contains(GUIDE)));
    }
}

#[test]
fn calls_that_do_not_fit_their_tools_are_dropped_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = Teacher::start("calls");
    let (rows, config) = made("function-calling", &teacher, 240, folder.path(), &[]);
    let expected = [
        "call_without_tool",
        "missing_argument",
        "no_call",
        "other_number_of_calls",
        "tool_fits",
        "unknown_argument",
        "unknown_tool",
        "unusable_calls",
        "wrong_argument",
    ];
    let found = reasons(&config);
    for reason in expected {
        assert!(found.contains(reason), "no {reason} in {config}");
    }
    let mut needs = BTreeSet::new();
    for row in rows.iter().map(json) {
        let messages = row["messages"].as_array().unwrap();
        let tools: Value = serde_json::from_str(row["tools"].as_str().unwrap()).unwrap();
        let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["system", "user", "assistant"]);
        assert!(messages[0]["content"].as_str().unwrap().contains("<tools>[{\"type\": \"function\""));
        let answer = messages[2]["content"].as_str().unwrap();
        let need = row["need"].as_str().unwrap().to_owned();
        match answer.strip_prefix("<tool_call>").and_then(|text| text.strip_suffix("</tool_call>")) {
            None => assert_eq!((need.as_str(), answer), ("none", "I cannot do that with what I have.")),
            Some(text) => {
                let calls: Vec<Value> = serde_json::from_str(text).unwrap();
                assert_eq!(calls.len(), if need == "one" { 1 } else { 2 });
                for call in &calls {
                    let tools = tools.as_array().unwrap();
                    let named = |tool: &&Value| tool["function"]["name"] == call["name"];
                    let tool = tools.iter().find(named).expect("the tool is there");
                    assert!(jsonschema::is_valid(&tool["function"]["parameters"], &call["arguments"]));
                    assert!(call["arguments"].get("most").is_none_or(|most| !most.is_null()));
                }
            }
        }
        needs.insert(need);
    }
    assert_eq!(needs.into_iter().collect::<Vec<_>>(), ["none", "one", "several"], "{config}");
}

#[test]
fn pairs_are_what_dpo_reads_and_ties_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (teacher, poor) = (Teacher::start("good"), Teacher::start("poor"));
    let writers = ["--completion-teacher", &teacher.name, "--completion-teacher", &poor.name];
    let (rows, config) = made("preferences", &teacher, 50, folder.path(), &writers);
    let asked = teacher.asked() + poor.asked();
    // With one teacher that writes nothing better than the others, some prompts give ties.
    let alone = folder.path().join("alone");
    let (_, without) = made("preferences", &teacher, 50, &alone, &[]);
    assert!(rows.len() > 20 && config["dropped"].get("tie").is_none(), "{config}");
    assert!(without["dropped"]["tie"].as_u64().unwrap() > 5, "{without}");
    let mut texts = 0;
    for row in &rows {
        let Row::Preference(pair) = row else { panic!("{row:?}") };
        assert_eq!((pair.prompt.len(), pair.prompt[0].role.as_str()), (1, "user"));
        let (chosen, rejected) = (&pair.chosen[0], &pair.rejected[0]);
        assert_eq!((chosen.role.as_str(), rejected.role.as_str()), ("assistant", "assistant"));
        assert!(rejected.content.starts_with("Bad answer"), "{}", rejected.content);
        let number = |name: &str| pair.metadata[name].as_f64().unwrap();
        assert_eq!(number("margin"), number("chosen_score") - number("rejected_score"));
        assert!(number("margin") >= 0.5);
        assert_eq!(
            (&pair.metadata["chosen_model"], &pair.metadata["rejected_model"]),
            (&json!("good"), &json!("poor"))
        );
        let ratings: Vec<Value> = serde_json::from_str(pair.metadata["ratings"].as_str().unwrap()).unwrap();
        assert_eq!(ratings.len(), 4);
        texts += ratings.iter().map(|one| one["text"].as_str()).collect::<BTreeSet<_>>().len();
        let best = ratings.iter().map(|one| one["score"].as_f64().unwrap()).fold(0.0, f64::max);
        assert_eq!(best, number("chosen_score"));
        let mean = |one: &Value| {
            let ratings = one["ratings"].as_object().unwrap();
            assert!(ratings.values().all(|rating| rating["reason"] == "It is so."));
            ratings.values().map(|rating| rating["rating"].as_f64().unwrap()).sum::<f64>() / 4.0
        };
        assert!(ratings.iter().all(|one| mean(one) == one["score"]));
    }
    // A prompt, four completions, and a rating of each text there is: completions that are the same share one.
    let (kept, wanted) = (rows.len(), 50);
    assert!(texts < 4 * kept, "{texts} texts of {kept} rows: none said the same twice");
    assert!(
        asked <= wanted * 5 + texts + (wanted - kept) * 4,
        "{asked} calls for {texts} texts of {kept} rows"
    );
    // Where all four are the same, nobody needs to rate them.
    let steady = Teacher::start("steady");
    let output = generate("preferences", &steady, 20, &folder.path().join("steady"), &[]);
    assert_eq!((output.status.code(), steady.asked()), (Some(4), 20 * 5));
    let dropped = std::fs::read_to_string(folder.path().join("steady/dropped.jsonl")).unwrap();
    assert_eq!(dropped.matches("all 4 completions are the same").count(), 20, "{dropped}");
    // Other writers are another dataset.
    let output = generate("preferences", &teacher, 50, folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("completion_teachers was [\"good\",\"poor\"], is null")
    );
}

#[test]
fn prompts_of_preferences_come_from_a_source_where_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.jsonl");
    let row = |index: usize| {
        let user =
            json!({"role": "user", "content": format!("Question {index} about {} things?", index * 31)});
        json!({"messages": [user, {"role": "assistant", "content": "Old."}]}).to_string()
    };
    std::fs::write(&source, (0..30).map(row).collect::<Vec<_>>().join("\n")).unwrap();
    let teacher = Teacher::start("good");
    let poor = Teacher::start("poor");
    let more = [
        "--source",
        source.to_str().unwrap(),
        "--completion-teacher",
        &teacher.name,
        "--completion-teacher",
        &poor.name,
    ];
    let (rows, _) = made("preferences", &teacher, 30, &folder.path().join("out"), &more);
    assert!(rows.len() > 5);
    for row in rows.iter().map(json) {
        assert!(row["prompt"][0]["content"].as_str().unwrap().starts_with("Question "), "{row}");
        assert!(row["request"].is_null());
    }
    let show = program("smoltalk")
        .args(["show", folder.path().join("out").to_str().unwrap(), "--n", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8(show.stdout).unwrap();
    assert!(
        text.contains("[user] Question ") && text.contains("[chosen] ") && text.contains("[rejected] "),
        "{text}"
    );
}
