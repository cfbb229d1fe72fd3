//! `smoltalk mix` end to end: how many rows of each source, in which order, and what it refuses.

use crate::local_http::{hub_file, serve};
use crate::programs::{loads_with_datasets, program, read_json};
use axum::extract::Path as Segments;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use datasets::Row;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A folder with sources and recipes.
struct Kitchen {
    folder: tempfile::TempDir,
}

impl Kitchen {
    /// Sources a (90 conversations of 1 to 3 turns), b (40) and c (6).
    fn new() -> Self {
        let kitchen = Self { folder: tempfile::tempdir().unwrap() };
        for (name, rows) in [("a", 90), ("b", 40), ("c", 6)] {
            kitchen.write(&format!("{name}.jsonl"), &rows_of(name, rows));
        }
        kitchen
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn run(&self, recipe: &str, arguments: &[&str]) -> Output {
        self.write("recipe.toml", &format!("name = \"Soup\"\n{recipe}"));
        let mut command = program("smoltalk");
        command.current_dir(self.folder.path()).env("HF_HOME", self.path("cache")).env_remove("HF_TOKEN");
        command.args(["mix", "recipe.toml"]).args(arguments).output().unwrap()
    }

    /// The rows of a mix that succeeds.
    fn mixed(&self, recipe: &str, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(recipe, &[arguments, &["--out", "out"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        rows(&self.path("out"))
    }

    #[track_caller]
    fn refused(&self, recipe: &str, arguments: &[&str], expected: &str) {
        let output = self.run(recipe, &[arguments, &["--out", "refused"]].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        let last = error.lines().last().unwrap_or_default();
        assert!(last.starts_with("smoltalk: ") && last.contains(expected), "{error}");
        assert!(!self.path("refused/mix.json").exists());
    }
}

fn rows_of(name: &str, count: usize) -> String {
    let turn = |index: usize, turn: usize| {
        let user = json!({"role": "user", "content": format!("{name} {index} {turn}")});
        [user, json!({"role": "assistant", "content": "yes ".repeat(index % 10 + 1)})]
    };
    let row = |index: usize| {
        let messages: Vec<Value> = (0..=index % 3).flat_map(|number| turn(index, number)).collect();
        json!({"messages": messages, "source": if index.is_multiple_of(2) { "even" } else { "odd" }})
    };
    (0..count).map(|index| format!("{}\n", row(index))).collect()
}

fn rows(folder: &Path) -> Vec<Value> {
    let rows = datasets::read(folder).unwrap().map(|row| row.unwrap().row);
    rows.map(|row| serde_json::to_value(row).unwrap()).collect()
}

fn counts(rows: &[Value]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(row["source"].as_str().unwrap()).or_default() += 1);
    counts
}

fn source(name: &str, more: &str) -> String {
    format!("[[source]]\nname = \"{name}\"\ndata = \"{name}.jsonl\"\n{more}\n")
}

/// Every file of a mix, by its bytes.
fn bytes(folder: &Path) -> Vec<Vec<u8>> {
    let files = ["README.md", "mix.json", "data/default/train-00000-of-00001.parquet"];
    files.map(|name| std::fs::read(folder.join(name)).unwrap()).into()
}

#[test]
fn counts_are_exact_rows_differ_and_the_order_is_mixed() {
    let kitchen = Kitchen::new();
    let recipe = [source("a", "count = 30"), source("b", "count = 20"), source("c", "")].concat();
    let rows = kitchen.mixed(&recipe, &[]);
    assert_eq!(counts(&rows), BTreeMap::from([("a", 30), ("b", 20), ("c", 6)]));
    let mut texts: Vec<String> = rows.iter().map(|row| row["messages"].to_string()).collect();
    let order: Vec<&str> = rows.iter().map(|row| row["source"].as_str().unwrap()).collect();
    assert!(order.windows(2).filter(|pair| pair[0] != pair[1]).count() > 10, "{order:?}");
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 56, "no row twice");
    let card = std::fs::read_to_string(kitchen.path("out/README.md")).unwrap();
    assert!(card.contains("| a | a.jsonl | 30 | 90 | 30 |  |"), "{card}");
    assert!(!kitchen.path("out/.shuffle").exists());
    loads_with_datasets(&kitchen.path("out"), 1);
}

#[test]
fn other_forms_have_the_same_rows_in_the_same_order() {
    let kitchen = Kitchen::new();
    let recipe = [source("a", "count = 30"), source("c", "")].concat();
    let parquet = kitchen.mixed(&recipe, &[]);
    for format in ["jsonl", "sharegpt", "alpaca"] {
        assert_eq!(kitchen.mixed(&recipe, &["--format", format]), parquet, "{format}");
        if format == "jsonl" {
            loads_with_datasets(&kitchen.path("out"), 1);
        }
    }
    let shard = kitchen.path("out/data/default/train-00000-of-00001.json");
    let first = &read_json(&shard)[0];
    assert!(first["instruction"].is_string() && first["output"].is_string(), "{first}");
    // The files of another form are gone, and what is left is whole.
    assert!(!kitchen.path("out/data/default/train-00000-of-00001.parquet").exists());
    let verified = program("smoltalk").arg("verify").arg(kitchen.path("out")).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// A source that is taken whole is read once, one with a count twice: the same rows in the same order, and the same bytes on
/// any number of cores.
#[test]
fn one_pass_and_two_and_any_number_of_threads_give_the_same_rows() {
    let kitchen = Kitchen::new();
    let whole = [source("a", ""), source("b", "")].concat();
    let mut files = Vec::new();
    for threads in ["1", "2", "5"] {
        kitchen.write("recipe.toml", &format!("name = \"Soup\"\n{whole}"));
        let mut command = program("smoltalk");
        command.current_dir(kitchen.folder.path()).env("RAYON_NUM_THREADS", threads);
        let output = command.args(["mix", "recipe.toml", "--out", "out"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        files.push(bytes(&kitchen.path("out")));
    }
    assert!(files.iter().all(|file| *file == files[0]), "the same bytes");
    let counted = [source("a", "count = 90"), source("b", "count = 40")].concat();
    kitchen.mixed(&counted, &[]);
    assert!(bytes(&kitchen.path("out"))[2] == files[0][2], "the same shard");
}

/// SHA-256 of the first messages of the shuffled rows below, each followed by a comma. The order was this one before rows
/// were spilled, packed or read without a tree of values.
const ORDER: &str = "f1f49f8fff77763ff4a24f6fbd823da71a50daaba1e60997072b3afa24b134df";

/// 24 MB of rows: they are spilled where the shuffle has 16 MiB. Some rows are read one way and some the other.
#[test]
fn any_memory_and_any_number_of_threads_give_the_order_of_the_seed() {
    let kitchen = Kitchen::new();
    let row = |index: usize| {
        let reply = json!({"role": "assistant", "content": "text ".repeat(1600 + index % 7)});
        let mut row =
            json!({"messages": [{"role": "user", "content": index.to_string()}, reply], "n": index});
        if index.is_multiple_of(5) {
            row["messages"][0]["name"] = "x".into();
        }
        format!("{row}\n")
    };
    kitchen.write("large.jsonl", &(0..3000).map(row).collect::<String>());
    kitchen.write("recipe.toml", &format!("name = \"Soup\"\n{}", source("large", "")));
    let mix = |out: &str, threads: &str, more: &[&str]| {
        let mut command = program("smoltalk");
        command.current_dir(kitchen.folder.path()).env("RAYON_NUM_THREADS", threads);
        let output = command.args(["mix", "recipe.toml", "--out", out]).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let mut files = Vec::new();
    for (threads, memory) in [("1", "16"), ("2", "16"), ("5", "16"), ("2", "64")] {
        mix("out", threads, &["--memory", memory]);
        files.push(bytes(&kitchen.path("out")));
    }
    assert!(files.iter().all(|file| *file == files[0]), "the same bytes");
    let order = |folder: &str| -> String {
        let text = |row: &Value| format!("{},", row["messages"][0]["content"].as_str().unwrap());
        files::hash::sha256(rows(&kitchen.path(folder)).iter().map(text).collect::<String>())
    };
    assert_eq!(order("out"), ORDER);
    // The rows of Parquet files are read by columns: their order is another source's, and the same by lines.
    for (data, out) in [("out", "columns"), ("lines", "by_lines")] {
        if data == "lines" {
            mix("lines", "2", &["--format", "jsonl"]);
        }
        let data = format!("[[source]]\nname = \"again\"\ndata = \"{data}\"\n");
        kitchen.write("recipe.toml", &format!("name = \"Soup\"\n{data}"));
        mix(out, "2", &["--memory", "16"]);
        kitchen.write("recipe.toml", &format!("name = \"Soup\"\n{}", source("large", "")));
    }
    assert_eq!(order("columns"), order("by_lines"));
    let shard = "data/default/train-00000-of-00001.parquet";
    let shard = |folder: &str| std::fs::read(kitchen.path(folder).join(shard)).unwrap();
    assert!(shard("columns") == shard("by_lines"), "the same bytes from Parquet as from lines");
}

#[test]
fn reasons_of_invalid_rows_name_no_place_of_this_machine() {
    let kitchen = Kitchen::new();
    let good = rows_of("a", 3);
    kitchen.write("deep/down/rows.jsonl", &format!("{good}[1]\n{good}"));
    let data = kitchen.path("deep/down");
    let recipe =
        format!("[[source]]\nname = \"a\"\ndata = {:?}\nskip_invalid = true\n", data.display().to_string());
    assert_eq!(kitchen.mixed(&recipe, &[]).len(), 6);
    let reasons = &read_json(&kitchen.path("out/mix.json"))["sources"][0]["invalid"];
    assert_eq!(reasons[0], "down/rows.jsonl, line 4: expected a JSON object, found an array");
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_other_rows() {
    let kitchen = Kitchen::new();
    let recipe = [source("a", "count = 30"), source("b", "count = 20")].concat();
    let first = kitchen.mixed(&recipe, &["--seed", "7"]);
    let before = bytes(&kitchen.path("out"));
    assert_eq!(kitchen.mixed(&recipe, &["--seed", "7"]), first);
    assert!(bytes(&kitchen.path("out")) == before, "the same bytes");
    let other = kitchen.mixed(&recipe, &["--seed", "8"]);
    let of = |rows: &[Value]| {
        let mut texts: Vec<String> = rows.iter().map(|row| row["messages"][0].to_string()).collect();
        texts.sort();
        texts
    };
    assert_ne!(of(&first), of(&other), "another choice, not only another order");
    // A source added does not change which rows are taken of the others.
    let more = kitchen.mixed(&[recipe, source("c", "")].concat(), &["--seed", "7"]);
    let kept: Vec<Value> = more.into_iter().filter(|row| row["source"] != "c").collect();
    assert_eq!(kept, first);
}

#[test]
fn weights_and_rows_share_out_a_total() {
    let kitchen = Kitchen::new();
    let weights =
        [source("a", "weight = 0.6"), source("b", "weight = 0.3"), source("c", "weight = 0.1")].concat();
    assert_eq!(
        counts(&kitchen.mixed(&weights, &["--rows", "41"])),
        BTreeMap::from([("a", 25), ("b", 12), ("c", 4)])
    );
    let total = format!("rows = 20\n{weights}");
    assert_eq!(counts(&kitchen.mixed(&total, &[])), BTreeMap::from([("a", 12), ("b", 6), ("c", 2)]));
    let scaled = [source("a", "count = 60"), source("b", "count = 20")].concat();
    assert_eq!(counts(&kitchen.mixed(&scaled, &["--rows", "8"])), BTreeMap::from([("a", 6), ("b", 2)]));
    kitchen.refused(&weights, &[], "weights need a total number of rows");
}

#[test]
fn too_few_rows_are_refused_repeated_or_taken_as_they_are() {
    let kitchen = Kitchen::new();
    let recipe = [source("a", "count = 10"), source("c", "count = 20")].concat();
    kitchen.refused(&recipe, &[], "c asks for 20 rows, c.jsonl has 6 that pass; set `repeat = true`");
    let repeated = [source("a", "count = 10"), source("c", "count = 20\nrepeat = true")].concat();
    let rows = kitchen.mixed(&repeated, &[]);
    assert_eq!(counts(&rows), BTreeMap::from([("a", 10), ("c", 20)]));
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["source"] == "c") {
        *times.entry(row["messages"].to_string()).or_default() += 1;
    }
    assert_eq!(times.len(), 6);
    assert!(times.values().all(|times| [3, 4].contains(times)), "as evenly as can be: {times:?}");
    let output = kitchen.run(&recipe, &["--allow-fewer", "--out", "fewer"]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("warning: c asks for 20 rows"));
    assert!(String::from_utf8(output.stdout).unwrap().contains("c: 6 rows, 20 requested\n16 rows written"));
    let card = std::fs::read_to_string(kitchen.path("fewer/README.md")).unwrap();
    assert!(
        card.contains("Fewer rows than the recipe asks for: c asks for 20 rows, c.jsonl has 6 that pass."),
        "{card}"
    );
}

#[test]
fn filters_leave_rows_out_and_count_them() {
    let kitchen = Kitchen::new();
    let rows =
        kitchen.mixed(&source("a", "maximum_turns = 2\nmaximum_words = 12\ndrop_sources = [\"odd\"]"), &[]);
    for row in &rows {
        let messages = row["messages"].as_array().unwrap();
        let words: usize =
            messages.iter().map(|one| one["content"].as_str().unwrap().split_whitespace().count()).sum();
        assert!(messages.len() <= 4 && words <= 12, "{row}");
        let index: usize =
            messages[0]["content"].as_str().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        assert!(index.is_multiple_of(2));
    }
    let manifest = read_json(&kitchen.path("out/mix.json"));
    let found = &manifest["sources"][0];
    let filtered = found["filtered"].as_object().unwrap();
    assert_eq!((&filtered["drop_sources"], &filtered["maximum_turns"]), (&json!(45), &json!(15)));
    let sum: u64 = filtered.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(sum + rows.len() as u64, 90);
    let tokens = format!("tokenizer = \"nowhere\"\n{}", source("a", "maximum_tokens = 12"));
    kitchen.refused(&tokens, &[], "there is no checkpoint `nowhere`");
    kitchen.refused(
        &source("a", "maximum_wrods = 3"),
        &[],
        "recipe.toml, line 5: unknown field `maximum_wrods`",
    );
}

#[test]
fn configurations_tools_and_kinds() {
    let kitchen = Kitchen::new();
    let card = "---\nconfigs:\n- config_name: one\n  data_files:\n  - split: train\n    path: one.jsonl\n- config_name: two\n  data_files:\n  - split: train\n    path: two.jsonl\n---\n";
    kitchen.write("set/README.md", card);
    kitchen.write("set/one.jsonl", &rows_of("one", 3));
    let call = json!({"type": "function", "function": {"name": "f", "arguments": {"x": 1}}});
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let user = json!({"role": "user", "content": "Call.", "weight": 0});
    let row = json!({"messages": [user, {"role": "assistant", "content": null, "tool_calls": [call]}], "tools": tools.to_string()});
    kitchen.write("set/two.jsonl", &row.to_string());
    let set =
        |config: &str| format!("[[source]]\nname = \"{config}\"\ndata = \"set\"\nconfig = \"{config}\"\n");
    let output = kitchen.run(&[set("one"), set("two")].concat(), &["--out", "out"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("two: 1 rows available (weight of 1 rows is not written)"), "{told}");
    let rows = rows(&kitchen.path("out"));
    assert_eq!(counts(&rows), BTreeMap::from([("one", 3), ("two", 1)]));
    let two = rows.iter().find(|row| row["source"] == "two").unwrap();
    assert!(
        two["messages"][0]["content"].as_str().unwrap().contains("<tools>[{\"type\": \"function\""),
        "{two}"
    );
    let called = "<tool_call>[{\"name\": \"f\", \"arguments\": {\"x\": 1}}]</tool_call>";
    assert_eq!(two["messages"][2]["content"], called);
    kitchen.refused(&set("three"), &[], "has no configuration `three`; it has one, two");
    let pair = json!({"prompt": "p", "chosen": "c", "rejected": "r"});
    kitchen.write("pairs.jsonl", &pair.to_string());
    kitchen.refused(
        &[source("a", ""), source("pairs", "")].concat(),
        &[],
        "a has conversations, pairs has preference pairs",
    );
    kitchen.mixed(&source("pairs", ""), &[]);
    let Row::Preference(pair) = datasets::read(&kitchen.path("out")).unwrap().next().unwrap().unwrap().row
    else {
        panic!("it is no pair")
    };
    assert_eq!((pair.prompt[0].content.as_str(), pair.chosen[0].content.as_str()), ("p", "c"));
    kitchen.write("other/store.sqlite", "");
    let output = kitchen.run(&source("a", ""), &["--out", "other"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("which `smoltalk mix` did not write"));
}

/// A hub of one dataset: its list of files, and the files.
fn start_hub(files: BTreeMap<&'static str, String>) -> String {
    let names: Vec<Value> = files.keys().map(|name| json!({"rfilename": name})).collect();
    let file = async move |Segments(name): Segments<String>| match files.get(name.as_str()) {
        Some(text) => hub_file(&name, text.clone().into_bytes()),
        None => StatusCode::NOT_FOUND.into_response(),
    };
    let information = json!({"sha": "c0ffee", "siblings": names});
    let app = Router::new()
        .route("/datasets/someone/chats/resolve/c0ffee/{*name}", get(file))
        .route("/api/datasets/someone/chats/revision/main", get(async move || Json(information.clone())));
    serve(app)
}

#[test]
fn a_hub_id_gives_the_files_its_card_assigns_and_check_says_what_is_missing() {
    let kitchen = Kitchen::new();
    let card = "---\nconfigs:\n- config_name: short\n  data_files:\n  - split: train\n    path: data/short/train-*\n  - split: test\n    path: data/short/test-*\n---\n";
    // What is not asked for is not there: fetching it would fail.
    let hub = start_hub(BTreeMap::from([
        ("README.md", card.to_owned()),
        ("data/short/train-0.jsonl", rows_of("train", 5)),
        ("data/short/test-0.jsonl", rows_of("test", 2)),
    ]));
    let recipe = |split: &str| {
        format!(
            "[[source]]\nname = \"hub\"\ndata = \"someone/chats\"\nconfig = \"short\"\nsplit = \"{split}\"\ncount = 5\n"
        )
    };
    let run = |recipe: &str, endpoint: &str, arguments: &[&str]| {
        kitchen.write("recipe.toml", &format!("name = \"Soup\"\n{recipe}"));
        let mut command = program("smoltalk");
        command
            .current_dir(kitchen.folder.path())
            .env("HF_HOME", kitchen.path("cache"))
            .env_remove("HF_TOKEN");
        command.env("HF_ENDPOINT", endpoint).args(["mix", "recipe.toml"]).args(arguments);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let both = [recipe("train+test"), source("c", "count = 9")].concat();
    let (code, told, _) = run(&both, &hub, &["--check"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("found    hub: someone/chats: 2 files on the hub"), "{told}");
    assert!(told.contains("missing  c: c.jsonl: 6 rows, 9 requested\n1 of 2 sources found"), "{told}");
    let (code, _, error) = run(&recipe("train+test"), &hub, &["--out", "both"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("hub: 7 rows available"), "{error}");
    let (code, _, error) = run(&recipe("train"), &hub, &["--out", "train"]);
    assert_eq!(code, Some(0), "{error}");
    let rows = rows(&kitchen.path("train"));
    assert!(rows.len() == 5 && rows.iter().all(|row| row["messages"].to_string().contains("train")));
    let offline = "http://127.0.0.1:9";
    let (code, told, error) = run(&recipe("train"), offline, &["--check"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(error.contains("using commit c0ffee of someone/chats from the cache"), "{error}");
    let other = recipe("train").replace("someone/chats", "someone/other");
    let (code, told, _) = run(&other, offline, &["--check"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("missing  hub: someone/other: cannot get someone/other from the hub"), "{told}");
}

#[test]
fn training_reads_the_train_split_of_a_hub_id() {
    let Some(shared) = tests::shared_data() else { return };
    let kitchen = Kitchen::new();
    let hub = start_hub(BTreeMap::from([
        ("data/train-00000-of-00001.jsonl", rows_of("train", 5)),
        ("data/test-00000-of-00001.jsonl", rows_of("test", 2)),
    ]));
    let inspect = |endpoint: &str, id: &str| {
        let mut command = program("posttrain");
        command.env("HF_HOME", kitchen.path("cache")).env("HF_ENDPOINT", endpoint).env_remove("HF_TOKEN");
        command.args(["inspect", id, "--counts", "--model"]).arg(shared.join("models/stories260k"));
        let output = command.output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
    };
    let told = inspect(&hub, "someone/chats");
    assert!(told.contains("5 rows: 5 sequences"), "{told}");
    // Once it is there, nobody is asked for it.
    let told = inspect("http://127.0.0.1:9", "someone/chats");
    assert!(told.contains("5 rows: 5 sequences"), "{told}");
    let told = inspect(&hub, "no such place");
    assert!(told.contains("no file, no folder and no Hugging Face id (owner/name)"), "{told}");
}

#[test]
fn every_command_reads_a_hub_id() {
    let kitchen = Kitchen::new();
    let hub = start_hub(BTreeMap::from([("data/train-00000-of-00001.jsonl", rows_of("train", 5))]));
    let run = |arguments: &[&str]| {
        let mut command = program("smoltalk");
        command.current_dir(kitchen.folder.path()).env("HF_HOME", kitchen.path("cache"));
        let output =
            command.env("HF_ENDPOINT", &hub).env_remove("HF_TOKEN").args(arguments).output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
    };
    let told = run(&["clean", "someone/chats", "--out", "clean"]);
    assert!(told.contains("of 5 rows kept"), "{told}");
    let cleaned = std::fs::read_to_string(kitchen.path("clean/clean.json")).unwrap();
    assert!(cleaned.contains("\"input\": \"someone/chats\"") && !cleaned.contains("cache"), "{cleaned}");
    assert!(run(&["show", "someone/chats", "--n", "2"]).contains("train"));
    // The source is read whole before the teacher is asked.
    let told =
        run(&["gen", "smol-rewrite", "--source", "someone/chats", "--teacher", "nowhere", "--out", "run"]);
    assert!(told.contains("source: 5 texts from someone/chats"), "{told}");
    assert!(
        run(&["clean", "no/such/place", "--out", "other"])
            .contains("no file, no folder and no Hugging Face id")
    );
}
