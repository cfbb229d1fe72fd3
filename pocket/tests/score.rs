//! `smolpocket score`, and `smoleval report` on its results, with tiny checkpoints: one whose weights are zeros, so
//! that every probability is known, and one with random weights.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use checkpoint::Inherited;
use checkpoint::folder::CheckpointWriter;
use checkpoint::weights::{Precision, expected_tensors};
use checkpoint::{ChatTemplate, ModelConfig, Tokenizer};
use clap::Parser;
use pocket::{Draw, Kind, Question, Request, Split};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

/// 256 bytes and three special tokens.
const VOCABULARY: usize = 259;

/// A byte-level tokenizer without merges: one token per byte.
fn tokenizer() -> Tokenizer {
    let mut vocabulary = serde_json::Map::new();
    let is_printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut replacement = 256;
    for byte in 0..256_u32 {
        // GPT-2's alphabet: bytes that are not printable become characters from 256 on.
        let code = if is_printable(byte) { byte } else { replacement };
        replacement += u32::from(!is_printable(byte));
        vocabulary.insert(char::from_u32(code).unwrap().to_string(), json!(byte));
    }
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].iter().enumerate().map(|(index, content)| {
        json!({"id": 256 + index, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    });
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": special.collect::<Vec<_>>(), "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                  "vocab": vocabulary, "merges": []},
    });
    Tokenizer::from_json(&tokenizer.to_string()).unwrap()
}

/// Writes a checkpoint whose weights come from `weight`.
fn checkpoint(folder: &Path, template: Option<&ChatTemplate>, mut weight: impl FnMut() -> f32) {
    std::fs::create_dir_all(folder).unwrap();
    let config = ModelConfig {
        hidden_size: 32,
        intermediate_size: 48,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        vocab_size: VOCABULARY,
        max_positions: 1536,
        bos_token_id: None,
        eos_token_ids: vec![256],
        ..ModelConfig::smollm2_135m()
    };
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = expected_tensors(&config)
        .into_iter()
        .map(|(name, shape)| {
            let mut values: Vec<f32> = (0..shape.iter().product()).map(|_| weight()).collect();
            // A model whose other weights are zeros says the same, and one with an embedding of zeros is refused.
            if name == "model.embed_tokens.weight" && values[0] == 0.0 {
                values.fill(1.0);
            }
            (name, shape, values)
        })
        .collect();
    let (tokenizer, settings) = (tokenizer(), serde_json::Map::new());
    let outgoing = CheckpointWriter {
        config: &config,
        tokenizer: &tokenizer,
        tokenizer_config: &settings,
        generation_config: &settings,
        inherited: &Inherited::default(),
        template,
        adapter: None,
    };
    outgoing.write(folder, &tensors, Precision::F32).unwrap();
}

fn rows(path: &Path, rows: impl IntoIterator<Item = Value>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let lines: String = rows.into_iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(path, lines).unwrap();
}

/// Writes four questions of every kind, six requests, four pairs (in three of them the shorter reply is the chosen one)
/// and documents of two sources.
fn world(folder: &Path) {
    let mut draw = Draw::new(5, "test");
    let questions = Kind::ALL.into_iter().flat_map(|kind| (0..4).map(move |index| (kind, index)));
    let questions = questions.map(|(kind, index)| {
        let question = Question::new(kind, &mut draw, Split::Test);
        json!({"id": format!("{}-{index}", kind.name()), "kind": kind.name(), "answer": question.answer,
               "messages": [{"role": "user", "content": question.user}]})
    });
    rows(&folder.join("questions/test.jsonl"), questions);
    let examples = Kind::ALL.into_iter().flat_map(|kind| [kind; 5]).map(|kind| {
        let question = Question::new(kind, &mut draw, Split::Train);
        json!({"kind": kind.name(), "messages": [{"role": "user", "content": question.user},
                                         {"role": "assistant", "content": question.reply}]})
    });
    rows(&folder.join("questions/examples.jsonl"), examples.collect::<Vec<_>>());
    let mut draw = Draw::new(6, "test");
    let requests = (0..6).map(|index| {
        let request = Request::new(&mut draw, Split::Test);
        let (ids, kwargs): (Vec<&str>, Vec<Value>) = request.conditions.into_iter().unzip();
        json!({"id": format!("request-{index}"), "messages": [{"role": "user", "content": request.user}],
               "instruction_id_list": ids, "kwargs": kwargs})
    });
    rows(&folder.join("requests/test.jsonl"), requests);
    let messages = |role: &str, content: &str| json!([{"role": role, "content": content}]);
    let pairs =
        [("Yes.", "No, never."), ("A", "An apple."), ("Here", "Not over there"), ("a long one", "short")];
    let pairs = pairs.map(|(chosen, rejected)| {
        json!({"prompt": messages("user", "Well?"), "chosen": messages("assistant", chosen),
               "rejected": messages("assistant", rejected)})
    });
    rows(&folder.join("pairs/test.jsonl"), pairs);
    for (source, text) in [("web", "Mara is in the barn."), ("math", "2 + 2 = 4")] {
        let documents = (1..4).map(|times| json!({"text": vec![text; times].join(" ")}));
        rows(&folder.join("held-out").join(source).join("documents.jsonl"), documents);
    }
}

fn smolpocket(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smolpocket")).args(arguments).current_dir(folder).output().unwrap()
}

/// Runs the program, which must succeed; returns its standard output and standard error.
fn succeeds(arguments: &[&str], folder: &Path) -> (String, String) {
    let output = smolpocket(arguments, folder);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// Runs the program, which must fail; returns its error.
fn refused(arguments: &[&str], folder: &Path) -> String {
    let output = smolpocket(arguments, folder);
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

/// Runs `smoleval report` with paths in a folder.
fn report(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: evaluate::report::Options,
    }
    let in_folder = |argument: &&str| match argument.starts_with("--") {
        true => (*argument).to_owned(),
        false => folder.join(argument).display().to_string(),
    };
    let line = std::iter::once("smoleval".to_owned()).chain(arguments.iter().map(in_folder));
    evaluate::report::run(&Line::parse_from(line).options).map_err(|error| format!("{error:#}"))
}

fn result(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn assert_near(value: &Value, expected: f64) {
    assert!((value.as_f64().unwrap() - expected).abs() < 1e-5, "{value} is not {expected}");
}

const SCORE: [&str; 9] =
    ["score", "--model", "zero", "--model", "random", "--data", "world", "--out", "scores"];

#[test]
fn two_models_are_scored_once_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    world(&path.join("world"));
    checkpoint(&path.join("zero"), None, || 0.0);
    let mut draw = Draw::new(1, "weights");
    checkpoint(&path.join("random"), Some(&ChatTemplate::chatml()), || {
        draw.between(0, 2000) as f32 / 1e4 - 0.1
    });

    let few = [&SCORE[..], &["--max-tokens", "12"]].concat();
    let (table, _) = succeeds(&few, path);
    for part in
        ["zero (chat)", "zero (5-shot)", "backwards", "random over zero, questions", "web: bits per byte"]
    {
        assert!(table.contains(part), "{part} in\n{table}");
    }
    let zero = result(&path.join("scores/zero.json"));
    let figures = &zero["figures"];
    // All 259 tokens are always equally likely, so the log-probability of a reply only depends on its length.
    assert_eq!(figures["preferences"]["pairs"], 4);
    assert_near(&figures["preferences"]["preferred"]["value"], 0.75);
    assert_near(&figures["preferences"]["shorter"], 0.75);
    assert_near(&figures["documents"][0]["nats_per_token"]["value"], 259_f64.ln());
    assert_near(&figures["documents"][1]["bits_per_byte"]["value"], 259_f64.log2());
    assert_near(&figures["documents"][1]["bits_per_byte"]["standard_error"], 0.0);
    // 20 bytes, then 41 and 62 with the spaces between; the first of each is not predicted.
    assert_eq!(figures["documents"][1]["bytes"], 19 + 40 + 61);
    assert_eq!(figures["questions"].as_array().unwrap().len(), 2);
    assert_eq!(figures["questions"][0]["kinds"].as_array().unwrap().len(), 13);
    assert_eq!(figures["conditions"]["requests"], 6);
    let random = result(&path.join("scores/random.json"));
    assert_eq!(random["figures"]["questions"].as_array().unwrap().len(), 1);
    assert_ne!(random["model"]["sha256"], zero["model"]["sha256"]);

    let replies = std::fs::read_to_string(path.join("scores/zero.replies.jsonl")).unwrap();
    assert_eq!(replies.lines().count(), 2 * 52 + 6 + 4 + 6);
    let pair: Value = replies
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|reply| reply["part"] == "pair")
        .unwrap();
    // "Yes." and the stop token.
    assert_near(&pair["chosen"]["log_probability"], -5.0 * 259_f64.ln());

    let before = std::fs::read(path.join("scores/zero.json")).unwrap();
    let (second_table, notes) = succeeds(&few, path);
    assert!(
        notes.contains("zero is already scored") && notes.contains("random is already scored"),
        "{notes}"
    );
    assert_eq!((second_table, std::fs::read(path.join("scores/zero.json")).unwrap()), (table, before));
    // Replies whose hash is not the manifest's are not used.
    std::fs::write(path.join("scores/random.replies.jsonl"), "").unwrap();
    let (_, notes) = succeeds(&few, path);
    assert!(
        notes.contains("zero is already scored") && !notes.contains("random is already scored"),
        "{notes}"
    );
    let (_, notes) =
        succeeds(&[&few[..], &["--kinds", "place,sum", "--shots", "0", "--per-kind", "3"]].concat(), path);
    assert!(notes.contains("zero was scored with other inputs (kinds, modes, per_kind)"), "{notes}");
    assert_eq!(result(&path.join("scores/zero.json"))["figures"]["questions"][0]["kinds"][1]["count"], 3);

    report(path, &["scores", "--out", "page/report.html"]).unwrap();
    let page = std::fs::read_to_string(path.join("page/report.html")).unwrap();
    for part in [
        "zero, random, side by side",
        "Preferred pairs",
        "random over zero",
        "bits per byte",
        "id=\"search\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn errors_name_the_file_and_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    checkpoint(&path.join("zero"), None, || 0.0);
    let score = ["score", "--model", "zero", "--data", "world", "--out", "scores"];
    let assert_names = |text: String, parts: &[&str]| {
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text}");
    };
    assert_names(refused(&score, path), &["world", "questions/test.jsonl, requests/test.jsonl"]);
    world(&path.join("world"));
    let twice = [&score[..], &["--model", "a/zero"]].concat();
    assert_names(refused(&twice, path), &["two models have the name `zero`", "NAME=DIR"]);
    assert_names(
        refused(&["score", "--model", "../x y", "--data", "world", "--out", "o"], path),
        &["\"x y\""],
    );
    assert_names(refused(&[&score[..], &["--kinds", "places"]].concat(), path), &["places", "backwards"]);
    assert_names(report(path, &["scores", "--out", "r.html"]).unwrap_err(), &["scores", "`smoleval score"]);

    let questions = path.join("world/questions/test.jsonl");
    let text = std::fs::read_to_string(&questions).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    std::fs::write(&questions, format!("{}\n{{\"id\": \n{}\n", lines[0], lines[1])).unwrap();
    assert_names(refused(&score, path), &["world/questions/test.jsonl, line 2"]);
    let mut row: Value = serde_json::from_str(lines[0]).unwrap();
    row["answer"] = json!("nowhere");
    std::fs::write(&questions, format!("{}\n{row}\n", lines[1])).unwrap();
    assert_names(refused(&score, path), &["world/questions/test.jsonl, line 2", "nowhere", "place-0"]);
    std::fs::write(&questions, format!("{0}\n{0}\n", lines[0])).unwrap();
    assert_names(refused(&score, path), &["two questions have the id place-0"]);
    std::fs::write(&questions, &text).unwrap();
    let requests = path.join("world/requests/test.jsonl");
    let row = json!({"id": "r", "messages": [{"role": "user", "content": "Write."}],
                     "instruction_id_list": ["length_constraints:words"], "kwargs": [{}]});
    std::fs::write(&requests, format!("{row}\n")).unwrap();
    assert_names(refused(&score, path), &["world/requests/test.jsonl, line 1", "length_constraints:words"]);
    std::fs::remove_dir_all(path.join("world/pairs")).unwrap();
    let pairs = [&score[..], &["--parts", "pairs"]].concat();
    assert_names(refused(&pairs, path), &["world/pairs/test.jsonl", "`--parts`"]);
}

#[test]
fn the_worlds_rows_are_benchmark_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    world(&path.join("world"));
    for source in ["code", "copybook"] {
        rows(
            &path.join(format!("world/held-out/{source}/documents.jsonl")),
            [json!({"text": "Mara has 3."})],
        );
    }
    checkpoint(&path.join("zero"), Some(&ChatTemplate::chatml()), || 0.0);
    let (list, _) = succeeds(&["tasks"], path);
    assert!(list.contains("pocket_questions") && list.contains("arc_easy"), "{list}");
    let score = ["score", "--model", "zero", "--data", "world", "--out", "scores", "--tasks", "pocket"];
    let (table, _) = succeeds(&[&score[..], &["--max-reply-tokens", "4"]].concat(), path);
    assert!(table.contains("pocket_documents_web"), "{table}");
    let results = result(&path.join("scores/zero/results.json"));
    let metric = |task: &str, index: usize| {
        let tasks = results["tasks"].as_array().unwrap();
        let task = tasks.iter().find(|one| one["task"] == task).unwrap();
        (task["documents"].clone(), task["metrics"][index].clone())
    };
    // All 259 tokens are always equally likely, and equally likely replies are shorter ones' gain: three of four pairs.
    assert_near(&metric("pocket_documents_web", 0).1["value"], 259_f64.ln());
    assert_near(&metric("pocket_pairs", 0).1["value"], 0.75);
    assert_eq!(
        metric("pocket_questions", 0),
        (json!(52), json!({"metric": "acc", "value": 0.0, "standard_error": 0.0}))
    );
    assert_eq!(metric("pocket_requests", 1).1["metric"], "inst_level_strict_acc");
    let (again, _) = succeeds(&["rescore", "scores"], path);
    let tasks = |text: &str| -> Vec<String> {
        let lines =
            text.lines().filter(|line| line.starts_with("pocket_") && !line.starts_with("pocket_documents "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!((tasks(&again), tasks(&again).len()), (tasks(&table), 12));

    let questions = path.join("world/questions/test.jsonl");
    let text = std::fs::read_to_string(&questions).unwrap();
    let mut row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    row["answer"] = json!("nowhere");
    std::fs::write(&questions, format!("{row}\n")).unwrap();
    let error = refused(&score, path);
    assert!(error.contains("questions/test.jsonl, row 1") && error.contains("nowhere"), "{error}");
}
