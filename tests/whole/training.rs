use crate::programs::{
    in_shell, killed_and_resumed, metric, metric_lines, posttrain, program, read_json, refused, succeeds,
    text_of,
};
use checkpoint::{ChatTemplate, Checkpoint};
use engine::{CacheFormat, Engine, KvCache, NativeEngine, Options, Request, WeightFormat};
use posttrain::examples::{Kind, Rules, example};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::{golden, shared_data};

/// The real checkpoint that tests train: 260k parameters, 512 positions, no template.
fn stories260k() -> Option<PathBuf> {
    Some(shared_data()?.join("models/stories260k"))
}

pub(crate) fn write_rows(path: &Path, rows: &[Value]) {
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(path, text.join("\n")).unwrap();
}

/// The ten steps of a run equal TRL's to 1e-4; prints how near they are.
#[track_caller]
fn assert_steps_near(out: &Path, run: &Value, names: &[&str]) {
    let steps = run["steps"].as_array().unwrap();
    for name in names {
        let (found, mut largest) = (metric(out, name), 0.0f64);
        assert_eq!((found.len(), steps.len()), (10, 10), "{name}");
        for (found, step) in found.iter().zip(steps) {
            let expected = step[name].as_f64().unwrap();
            largest = largest.max((found - expected).abs() / expected.abs());
        }
        println!("{name}: within {largest:.1e} of TRL");
        assert!(largest <= 1e-4, "{name}: relative {largest:.2e}");
    }
}

/// What `make_trl_goldens.py` trained on: the rows, made from the shared data as it made them.
struct Golden {
    value: Value,
    data: PathBuf,
}

impl Golden {
    fn read(name: &str) -> Option<Self> {
        let data = shared_data()?;
        Some(Self { value: read_json(&golden("training").join(name)), data })
    }

    fn template(&self) -> &str {
        self.value["chat_template"].as_str().unwrap()
    }

    fn sft_rows(&self) -> Vec<Value> {
        let row = |row: &Value| {
            let mut messages = Vec::new();
            if row["system"] == true {
                messages.push(json!({"role": "system", "content": "Answer in one short paragraph."}));
            }
            for turn in row["turns"].as_array().unwrap() {
                let file = self.data.join("instruct/llamafactory").join(turn[0].as_str().unwrap());
                let source = &read_json(&file)[turn[1].as_u64().unwrap() as usize];
                let parts = [&source["instruction"], &source["input"]].map(|part| part.as_str().unwrap());
                let question: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                messages.push(json!({"role": "user", "content": question.join("\n\n")}));
                messages.push(json!({"role": "assistant", "content": source["output"]}));
            }
            json!({"messages": messages})
        };
        self.value["rows"].as_array().unwrap().iter().map(row).collect()
    }

    fn pairs(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.data.join("preference/train_clean.jsonl")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let pair =
            |pair: &Value| serde_json::from_str(lines[pair["row"].as_u64().unwrap() as usize]).unwrap();
        self.value["pairs"].as_array().unwrap().iter().map(pair).collect()
    }

    /// The sequences and masks that our code makes of a row.
    fn sequences(&self, row: &Value, kind: Kind) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("row.jsonl");
        write_rows(&path, std::slice::from_ref(row));
        let row = datasets::read(&path).unwrap().next().unwrap().unwrap().row;
        let checkpoint = Checkpoint::open(stories260k().unwrap().to_str().unwrap(), None).unwrap();
        let template = ChatTemplate::new(self.template(), "<s>", "</s>").unwrap();
        let rules = Rules::new(&template, &checkpoint.tokenizer, 512);
        let sequences = example(&row, kind, &rules).unwrap().sequences;
        let mask =
            |trained: &[bool]| trained.iter().map(|trained| if *trained { '1' } else { '0' }).collect();
        sequences.iter().map(|sequence| (hash(&sequence.ids), mask(&sequence.trained))).collect()
    }
}

fn hash(ids: &[u32]) -> String {
    let text: Vec<String> = ids.iter().map(u32::to_string).collect();
    Sha256::digest(text.join(",")).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The settings of `make_trl_goldens.py`, micro-batches of another size than TRL's.
fn golden_flags(command: &mut Command, rate: &str, micro_batch_tokens: &str) {
    command.args(["--learning-rate", rate, "--micro-batch-tokens", micro_batch_tokens, "--batch-size", "4"]);
    command.args(["--shuffle=false", "--precision", "f32", "--max-length", "512", "--warmup-ratio", "0.1"]);
}

#[test]
fn ten_sft_steps_equal_trls() {
    let Some(golden) = Golden::read("trl_sft.json") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, template, out) =
        (folder.path().join("rows.jsonl"), folder.path().join("chat.jinja"), folder.path().join("out"));
    let rows = golden.sft_rows();
    for (row, expected) in rows.iter().zip(golden.value["rows"].as_array().unwrap()) {
        let found = &golden.sequences(row, Kind::Sft)[0];
        assert_eq!(
            (&*found.0, &*found.1),
            (expected["ids"].as_str().unwrap(), expected["trained"].as_str().unwrap())
        );
    }
    write_rows(&data, &rows);
    std::fs::write(&template, golden.template()).unwrap();
    let mut command = posttrain(folder.path());
    command
        .arg("sft")
        .arg("--model")
        .arg(stories260k().unwrap())
        .arg("--data")
        .arg(&data)
        .arg("--out")
        .arg(&out);
    command.arg("--chat-template").arg(&template).arg("--packing=false");
    golden_flags(&mut command, "1e-3", "500");
    succeeds(&mut command);
    let run = &golden.value["runs"][0];
    assert_steps_near(&out, run, &["loss", "grad_norm"]);
    let checkpoint = Checkpoint::open(out.to_str().unwrap(), None).unwrap();
    for (name, expected) in run["weights_after"].as_object().unwrap() {
        let norm = |values: Vec<f32>| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        // Wrong groups of weight decay would show here: they move a norm by about 5e-5.
        let (found, expected) = (norm(checkpoint.weights.tensor(name)), expected["norm"].as_f64().unwrap());
        assert!((found - expected).abs() <= 1e-6 * expected, "{name}: norm {found}, TRL {expected}");
    }
}

#[test]
fn ten_dpo_steps_equal_trls() {
    let Some(golden) = Golden::read("trl_dpo.json") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, template) = (folder.path().join("rows.jsonl"), folder.path().join("chat.jinja"));
    let pairs = golden.pairs();
    write_rows(&data, &pairs);
    std::fs::write(&template, golden.template()).unwrap();
    for (index, run) in golden.value["runs"].as_array().unwrap().iter().enumerate() {
        let out = folder.path().join(format!("out{index}"));
        let list = |name: &str| {
            let values = run[name].as_array().unwrap().iter();
            values
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(",")
        };
        let mut command = posttrain(folder.path());
        command
            .arg("dpo")
            .arg("--model")
            .arg(stories260k().unwrap())
            .arg("--data")
            .arg(&data)
            .arg("--out")
            .arg(&out);
        command.arg("--chat-template").arg(&template).args([
            "--beta",
            "0.1",
            "--loss-type",
            &list("loss_type"),
        ]);
        command.args(["--loss-weights", &list("loss_weights")]);
        // TRL trains on pairs of equal replies.
        command.args(["--drop-ties", "false"]);
        golden_flags(&mut command, "1e-4", "700");
        succeeds(&mut command);
        let steps = run["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 10);
        assert_steps_near(&out, run, &["loss", "grad_norm", "logps/chosen", "logps/rejected"]);
        // Differences of large sums: their last bits are f32's.
        for name in ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"] {
            for (step, found) in metric(&out, name).iter().enumerate() {
                let expected = steps[step][name].as_f64().unwrap();
                assert!((found - expected).abs() < 2e-4, "step {step}, {name}: {found}, TRL {expected}");
            }
        }
    }
}

/// Rows that any checkpoint can be trained on.
fn chats(count: usize) -> Vec<Value> {
    let chat = |index: usize| {
        let reply = format!("The {} cat sat on mat {}.", ["red", "old", "big"][index % 3], index * 31 % 97);
        json!({"messages": [
            {"role": "user", "content": format!("Tell me about cat {index}.")},
            {"role": "assistant", "content": reply},
        ]})
    };
    (0..count).map(chat).collect()
}

fn weights_of(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("model.safetensors")).unwrap()
}

#[track_caller]
pub(crate) fn assert_equal_runs(whole: &Path, torn: &Path, names: &[&str]) {
    assert!(weights_of(whole) == weights_of(torn), "resumed weights differ");
    for name in names {
        assert!(!metric(whole, name).is_empty(), "{name} was logged");
        assert_eq!(metric(whole, name), metric(torn, name), "{name}");
    }
}

#[test]
fn a_killed_sft_ends_with_the_same_bits() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("rows.jsonl");
    write_rows(&data, &chats(60));
    let command = |out: &str, precision: &str| {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&data);
        command.arg("--out").arg(folder.path().join(out)).args(["--precision", precision]);
        command.args(["--steps", "160", "--batch-size", "3", "--max-length", "200", "--save-steps", "7"]);
        command.args(["--eval-split", "0.1", "--learning-rate", "1e-3", "--save-precision", "f32"]);
        command.args(["--logging-steps", "5"]);
        command
    };
    for precision in ["f32", "bf16"] {
        let (whole, torn) = (format!("whole-{precision}"), format!("torn-{precision}"));
        succeeds(&mut command(&whole, precision));
        killed_and_resumed(|| command(&torn, precision), &folder.path().join(&torn), 6);
        let (whole, torn) = (folder.path().join(whole), folder.path().join(torn));
        assert_equal_runs(&whole, &torn, &["step", "loss", "eval_loss"]);
        assert_eq!(read_json(&torn.join("run.json"))["lineage"].as_array().unwrap().len(), 6);
    }
}

#[test]
fn a_killed_dpo_ends_with_the_same_bits() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("pairs.jsonl");
    let pair = |index: usize| json!({"prompt": format!("Say {index}."), "chosen": format!("It is {index}."), "rejected": "No, no."});
    write_rows(&data, &(0..20).map(pair).collect::<Vec<_>>());
    let command = |out: &str| {
        let mut command = posttrain(folder.path());
        command.arg("dpo").arg("--model").arg(&model).arg("--data").arg(&data);
        command.arg("--out").arg(folder.path().join(out)).args([
            "--learning-rate",
            "1e-4",
            "--batch-size",
            "3",
        ]);
        // aot couples the pairs of a step, so that its micro-batches are computed twice.
        command.args([
            "--loss-type",
            "sigmoid,aot",
            "--loss-weights",
            "1,0.5",
            "--micro-batch-tokens",
            "100",
        ]);
        command.args([
            "--steps",
            "80",
            "--save-steps",
            "5",
            "--max-length",
            "200",
            "--save-precision",
            "f32",
        ]);
        command
    };
    succeeds(&mut command("whole"));
    killed_and_resumed(|| command("torn"), &folder.path().join("torn"), 4);
    let (whole, torn) = (folder.path().join("whole"), folder.path().join("torn"));
    assert_equal_runs(&whole, &torn, &["step", "loss", "rewards/margins"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_same_command_goes_on() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    write_rows(&data, &chats(60));
    let mut command = posttrain(folder.path());
    command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&data).arg("--out").arg(&out);
    command.args(["--steps", "2000", "--batch-size", "4", "--max-length", "200"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    while metric_lines(&out).len() < 3 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = command.output().unwrap();
    assert!(text_of(&second).contains("in use by another run"), "{}", text_of(&second));
    succeeds(Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let run = read_json(&out.join("run.json"));
    assert_eq!(run["state"], "interrupted");
    let step = run["progress"]["step"].as_u64().unwrap();
    assert!(out.join(format!("checkpoints/step-{step}/model.safetensors")).is_file());
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("interrupted"));
    // Other settings are another run: refused by name, or accepted and kept.
    command.args(["--learning-rate", "1e-3"]);
    refused(&mut command, "learning_rate was 0.00002, is 0.001");
    let mut child = command.arg("--accept-changes").stderr(Stdio::null()).spawn().unwrap();
    while metric_lines(&out).len() < step as usize + 3 {
        std::thread::sleep(Duration::from_millis(20));
    }
    succeeds(Command::new("kill").args(["-TERM", &child.id().to_string()]));
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let lineage = &read_json(&out.join("run.json"))["lineage"][0];
    assert_eq!(
        (&lineage["resumed_after_step"], &lineage["changes"][0]["field"]),
        (&json!(step), &json!("learning_rate"))
    );
}

/// What schedulers send before they end a job, and what a closed terminal sends: both save.
#[test]
fn a_hang_up_and_a_schedulers_warning_save() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("rows.jsonl");
    write_rows(&data, &chats(60));
    for (signal, code) in [("-HUP", 129), ("-USR1", 138)] {
        let out = folder.path().join(signal);
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&data).arg("--out").arg(&out);
        command.args(["--steps", "2000", "--batch-size", "4", "--max-length", "200"]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        while metric_lines(&out).len() < 3 {
            std::thread::sleep(Duration::from_millis(20));
        }
        succeeds(Command::new("kill").args([signal, &child.id().to_string()]));
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let step = read_json(&out.join("run.json"))["progress"]["step"].as_u64().unwrap();
        assert!(out.join(format!("checkpoints/step-{step}/model.safetensors")).is_file(), "{signal}");
    }
}

#[test]
fn a_half_written_checkpoint_is_passed_over() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    write_rows(&data, &chats(20));
    let command = |steps: &str, more: &[&str]| {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&data).arg("--out").arg(&out);
        command.args(["--steps", steps, "--save-steps", "4", "--max-length", "200", "--batch-size", "2"]);
        command.args(more);
        command
    };
    succeeds(&mut command("8", &[]));
    assert!(succeeds(&mut command("8", &[])).contains("this run has finished"));
    let state = out.join("checkpoints/step-8/training_state.safetensors");
    let bytes = std::fs::read(&state).unwrap();
    std::fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    let text = succeeds(&mut command("9", &["--accept-changes"]));
    assert!(text.contains("step-8 cannot be read") && text.contains("resumed after step 4"), "{text}");
    assert_eq!(metric(&out, "step"), (1..=9).map(f64::from).collect::<Vec<_>>());
    // The broken one was put aside and its place taken by a whole one, whose record of the run is a little longer.
    assert!(std::fs::metadata(&state).unwrap().len() >= bytes.len() as u64 * 99 / 100);
    assert!(out.join("checkpoints/unreadable-step-8").is_dir());
}

/// pad == eos, no generation marks, and a base whose end of sequence is not the template's: the stop token is
/// trained, saved, and generation ends with it.
#[test]
fn the_stop_token_is_trained_and_generation_ends_with_it() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    let base = folder.path().join("base");
    std::fs::create_dir(&base).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(model.join(name), base.join(name)).unwrap();
    }
    let settings =
        json!({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"});
    std::fs::write(base.join("tokenizer_config.json"), settings.to_string()).unwrap();
    write_rows(&data, &chats(3));
    let mut command = posttrain(folder.path());
    command.arg("sft").arg("--model").arg(&base).arg("--data").arg(&data).arg("--out").arg(&out);
    command.args(["--steps", "150", "--learning-rate", "3e-3", "--max-length", "256", "--precision", "f32"]);
    let text = succeeds(&mut command);
    assert!(text.contains("the embedding grew from 512 to 514 rows"), "{text}");
    assert!(
        text.contains("a message ends with <|im_end|>, but the checkpoint's end of sequence was </s>"),
        "{text}"
    );
    let last = *metric(&out, "loss").last().unwrap();
    assert!(last < 0.05, "loss {last}");

    let generation = read_json(&out.join("generation_config.json"));
    let settings = read_json(&out.join("tokenizer_config.json"));
    let checkpoint = Checkpoint::open(out.to_str().unwrap(), None).unwrap();
    let stop = checkpoint.tokenizer.id("<|im_end|>").unwrap();
    assert_eq!(
        (&generation["eos_token_id"][0], &settings["eos_token"]),
        (&json!(stop), &json!("<|im_end|>"))
    );
    assert!(checkpoint.warnings.is_empty(), "{:?}", checkpoint.warnings);
    let engine = NativeEngine::start(&checkpoint, Options::default()).unwrap();
    for row in chats(3) {
        let said = row["messages"][0]["content"].as_str().unwrap();
        let prompt = [checkpoint::Message::new("user", said)];
        let ids = checkpoint::chat::render_prompt(&checkpoint.template, &checkpoint.tokenizer, &prompt, None)
            .unwrap();
        let stop_ids = checkpoint.stop_ids.clone();
        let request = Request { prompt: ids, max_tokens: 120, stop_ids, ..Request::default() };
        let answer = engine.submit(request).unwrap().collect_blocking();
        assert_eq!(answer.text.trim(), row["messages"][1]["content"].as_str().unwrap());
        assert!(answer.ids.len() < 120, "it ended by itself");
    }
}

#[test]
fn eight_rows_are_learnt_by_heart() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (rows, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    let identity = read_json(&data.join("instruct/llamafactory/identity.json"));
    write_rows(&rows, &identity.as_array().unwrap()[..8]);
    let mut command = posttrain(folder.path());
    command.arg("sft").arg("--model").arg(data.join("models/stories260k")).arg("--data").arg(&rows);
    command.arg("--out").arg(&out).args(["--steps", "120", "--learning-rate", "3e-3", "--max-length", "512"]);
    succeeds(&mut command);
    let last = *metric(&out, "loss").last().unwrap();
    assert!(last < 0.1, "loss {last}");
}

/// The first 64 pairs of `preference/train_clean.jsonl` that fit 512 positions.
fn short_pairs(data: &Path) -> Vec<Value> {
    let checkpoint = Checkpoint::open(data.join("models/stories260k").to_str().unwrap(), None).unwrap();
    let text = std::fs::read_to_string(data.join("preference/train_clean.jsonl")).unwrap();
    let tokens = |text: &Value| checkpoint.tokenizer.encode(text.as_str().unwrap()).unwrap().ids.len();
    let fits =
        |pair: &Value| tokens(&pair["prompt"]) + tokens(&pair["chosen"]).max(tokens(&pair["rejected"])) < 480;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).filter(fits).take(64).collect()
}

#[test]
fn simpo_learns_without_a_reference() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (rows, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    write_rows(&rows, &short_pairs(&data));
    let mut command = posttrain(folder.path());
    command.arg("dpo").arg("--model").arg(data.join("models/stories260k")).arg("--data").arg(&rows);
    command.arg("--out").arg(&out).args(["--loss-type", "simpo", "--beta", "2", "--simpo-gamma", "1"]);
    command.args(["--steps", "20", "--batch-size", "16", "--learning-rate", "5e-4", "--max-length", "512"]);
    succeeds(command.args(["--too-long", "drop"]));
    let losses = metric(&out, "loss");
    assert!(losses.last().unwrap() + 0.1 < losses[0], "{losses:?}");
    let is_reference = |entry: &std::fs::DirEntry| entry.file_name() == "reference";
    let caches = walk(folder.path());
    assert!(!caches.iter().any(is_reference), "no reference was computed");
}

/// Every entry below a folder.
fn walk(folder: &Path) -> Vec<std::fs::DirEntry> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        }
        found.push(entry);
    }
    found
}

/// Preferences are learned; flipped, unlearned.
#[test]
fn preferences_are_learned_either_way_round() {
    let Some(data) = shared_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let pairs = short_pairs(&data);
    let flipped: Vec<Value> = pairs
        .iter()
        .map(|pair| json!({"prompt": pair["prompt"], "chosen": pair["rejected"], "rejected": pair["chosen"]}))
        .collect();
    for (name, pairs, learned) in [("true", &pairs, true), ("flipped", &flipped, false)] {
        let (rows, out) = (folder.path().join(format!("{name}.jsonl")), folder.path().join(name));
        let truth = folder.path().join("truth.jsonl");
        write_rows(&rows, pairs);
        if learned {
            write_rows(&truth, pairs);
        }
        let mut command = posttrain(folder.path());
        command.arg("dpo").arg("--model").arg(data.join("models/stories260k")).arg("--data").arg(&rows);
        command.arg("--out").arg(&out).arg("--eval-data").arg(&truth).args([
            "--steps",
            "60",
            "--eval-steps",
            "60",
        ]);
        command.args(["--learning-rate", "5e-4", "--batch-size", "16", "--max-length", "512"]);
        command.args(["--too-long", "drop", "--micro-batch-tokens", "8192"]);
        succeeds(&mut command);
        let accuracy = *metric(&out, "eval_rewards/accuracies").last().unwrap();
        let margin = *metric(&out, "eval_rewards/margins").last().unwrap();
        if learned {
            assert!(accuracy > 0.95 && margin > 1.0, "accuracy {accuracy}, margin {margin}");
        } else {
            assert!(accuracy < 0.05, "accuracy on the true order {accuracy}");
        }
    }
}

#[test]
fn inspect_spells_out_what_a_terminal_would_obey() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    // The name of a file is from outside, too.
    std::fs::create_dir(folder.path().join("rows")).unwrap();
    let rows = folder.path().join("rows/a\u{1b}]0;title\u{7}\u{1b}[2Jb.jsonl");
    let messages = json!([
        {"role": "user", "content": "Hi\u{1b}[2J"}, {"role": "assistant", "content": "\u{202e}olleH\u{1b}]0;x\u{7}"}
    ]);
    write_rows(&rows, &[json!({"messages": messages})]);
    let rows = folder.path().join("rows");
    for more in [&[][..], &["--ids"], &["--color", "always"]] {
        let mut inspect = posttrain(folder.path());
        let output =
            inspect.arg("inspect").arg(&rows).arg("--model").arg(&model).args(more).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let colors = text.replace("\u{1b}[32m", "").replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
        assert!(output.status.success() && !colors.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
        assert!(text.contains("olleH") || more == ["--ids"], "{text:?}");
    }
}

/// What `--skip-invalid` leaves out takes no place among the rows that are printed, in `inspect` and in `show`.
#[test]
fn rows_that_are_left_out_are_not_among_those_printed() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    let good = |text: &str| json!({"prompt": text, "completion": "yes"}).to_string();
    let lines =
        ["[1]".to_owned(), "{\"prompt\": 3}".to_owned(), good("first"), "x".to_owned(), good("second")];
    std::fs::write(&rows, lines.join("\n")).unwrap();
    let mut inspect = posttrain(folder.path());
    inspect.arg("inspect").arg(&rows).arg("--model").arg(&model).args(["--skip-invalid", "--n", "2"]);
    let output = inspect.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("row at 3") && text.contains("row at 5"), "{text}");
    assert!(text.contains("5 rows: 2 sequences") && text.contains("3 invalid dropped"), "{text}");
    let mut show = program("smoltalk");
    let output = show.arg("show").arg(&rows).args(["--skip-invalid", "--n", "2"]).output().unwrap();
    let (text, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && text.contains("first") && text.contains("second"), "{text}{error}");
    assert!(error.contains("line 2") && error.contains("line 4"), "{error}");
}

#[test]
fn bad_input_is_one_clear_line() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let sft = |data: &str, more: &[&str]| {
        let mut command = posttrain(folder.path());
        command
            .arg("sft")
            .arg("--model")
            .arg(&model)
            .arg("--data")
            .arg(place(data))
            .arg("--out")
            .arg(place("out"));
        command.args(["--max-length", "200"]).args(more);
        command
    };
    refused(&mut sft("none.jsonl", &[]), "none.jsonl");
    std::fs::write(place("empty.jsonl"), "").unwrap();
    refused(&mut sft("empty.jsonl", &[]), "nothing to train on (0 rows");
    let unanswered = json!({"messages": [{"role": "user", "content": "Well?"}]});
    write_rows(&place("unanswered.jsonl"), &[unanswered]);
    refused(&mut sft("unanswered.jsonl", &[]), "1 no_trained_token dropped");
    std::fs::write(place("broken.jsonl"), "{\"text\": \"a\"}\n{\"text\": ").unwrap();
    refused(&mut sft("broken.jsonl", &[]), "broken.jsonl, line 2");
    write_rows(&place("rows.jsonl"), &chats(4));
    refused(
        &mut sft("rows.jsonl", &["--max-length", "4096"]),
        "`max_length` is 4096, but the model has 512 positions",
    );
    refused(&mut sft("rows.jsonl", &["--warmup-ratio", "2"]), "`warmup_ratio` is 2; expected 0 to 1");
    refused(
        &mut sft("rows.jsonl", &["--warmup-steps", "1000", "--steps", "4"]),
        "`warmup_steps` is 1000, but the run has 4 steps",
    );
    refused(&mut sft("rows.jsonl", &["--eval-steps", "1"]), "`--eval-steps` is 1, but nothing is evaluated");
    refused(&mut sft("rows.jsonl", &["--epochs", "0"]), "`epochs` is 0; expected a number above 0");
    refused(&mut sft("rows.jsonl", &["--cache", "/proc/none"]), "give a folder for it with `--cache`");
    std::fs::create_dir(place("runs")).unwrap();
    let mut typo = sft("rows.jsonl", &["--model", "runs/typo"]);
    refused(
        typo.current_dir(folder.path()),
        "there is no folder runs/typo, and it is not asked from the hub",
    );
    let mut typo = posttrain(folder.path());
    typo.args(["sft", "--data", "runs/typo", "--out", "runs/out", "--model"]).arg(&model);
    refused(typo.current_dir(folder.path()), "there is no folder runs/typo");
    refused(&mut sft("rows.jsonl", &["--eval-split", "0.9"]), "eval_split");
    std::fs::write(place("odd.toml"), "learning_rat = 1\n").unwrap();
    refused(
        &mut sft("rows.jsonl", &["--recipe", place("odd.toml").to_str().unwrap()]),
        "unknown key `learning_rat`",
    );
    refused(&mut sft("rows.jsonl", &["--learning-rate", "1e30", "--steps", "20"]), "lower `learning_rate`");
    let mut dpo = posttrain(folder.path());
    dpo.arg("dpo")
        .arg("--model")
        .arg(&model)
        .arg("--data")
        .arg(place("rows.jsonl"))
        .arg("--out")
        .arg(place("dpo"));
    refused(dpo.args(["--max-length", "200"]), "4 not_a_pair dropped");
    refused(dpo.args(["--loss-type", "exo_pair"]), "exo_pair");
}

/// A tokenizer of another vocabulary, and an output folder that is somebody's checkpoint.
#[test]
fn another_models_tokenizer_and_folder_are_refused() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    write_rows(&place("rows.jsonl"), &chats(4));
    let other = place("other");
    std::fs::create_dir(&other).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(model.join(name), other.join(name)).unwrap();
    }
    let tokenizer = shared_data().unwrap().join("models/smollm2-tokenizer/tokenizer.json");
    std::fs::copy(tokenizer, other.join("tokenizer.json")).unwrap();
    let mut command = posttrain(folder.path());
    command
        .arg("sft")
        .arg("--model")
        .arg(&other)
        .arg("--data")
        .arg(place("rows.jsonl"))
        .arg("--out")
        .arg(place("o"));
    refused(&mut command, "this tokenizer belongs to another model");
    let mut command = posttrain(folder.path());
    command
        .arg("sft")
        .arg("--model")
        .arg(&model)
        .arg("--data")
        .arg(place("rows.jsonl"))
        .arg("--out")
        .arg(&other);
    refused(command.args(["--max-length", "200"]), "contains a checkpoint that does not belong to a run");
}

/// What is dropped is counted by its reason, in run.json and on the screen.
#[test]
fn every_row_is_trained_or_counted() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    let mut rows = chats(5);
    rows.push(json!({"messages": [{"role": "user", "content": "Well?"}]}));
    rows.push(json!({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "word ".repeat(500)}]}));
    write_rows(&data, &rows);
    let mut command = posttrain(folder.path());
    command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&data).arg("--out").arg(&out);
    command.args(["--steps", "1", "--max-length", "200", "--too-long", "drop"]);
    let text = succeeds(&mut command);
    assert!(
        text.contains("7 rows: 5 sequences") && text.contains("1 no_trained_token, 1 too_long dropped"),
        "{text}"
    );
    let counted = &read_json(&out.join("run.json"))["rows"]["dropped"];
    assert_eq!(counted, &json!({"no_trained_token": 1, "too_long": 1}));
    let mut inspect = posttrain(folder.path());
    inspect.arg("inspect").arg(&data).arg("--model").arg(&model).args(["--n", "1", "--max-length", "200"]);
    let shown = inspect.output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("assistant\n⟦The red cat sat on mat 0.<|im_end|>⟧"), "{shown}");
    assert!(shown.contains("7 rows: 6 sequences") && shown.contains("1 cut"), "{shown}");
}

#[test]
fn a_full_disk_costs_no_work() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    write_rows(&data, &chats(20));
    let command = || {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&data).arg("--out").arg(&out);
        command.args(["--steps", "30", "--save-steps", "10", "--max-length", "200", "--batch-size", "2"]);
        command
    };
    // A limit on file size stands for a full disk: a model fits, a checkpoint's moments do not. Nothing is lost: the run goes
    // on, and its result is written.
    let limited = in_shell("ulimit -f 2000", &command()).output().unwrap();
    let text = text_of(&limited);
    assert!(limited.status.success(), "{text}");
    for step in [10, 20, 30] {
        let warning = format!("checkpoints/step-{step}; earlier ones are kept");
        assert!(text.lines().any(|line| line.contains("warning") && line.contains(&warning)), "{text}");
    }
    assert_eq!(std::fs::read_dir(out.join("checkpoints")).unwrap().count(), 0);
    Checkpoint::open(out.to_str().unwrap(), None).unwrap();
    // One that must stop saves its weights alone, and says so.
    let stopped = folder.path().join("stopped");
    let mut command = command();
    command.arg("--out").arg(&stopped).args(["--steps", "1000000", "--save-steps", "1000000"]);
    let limited = in_shell("ulimit -f 2000", command.args(["--time-limit", "1s"])).output().unwrap();
    let text = text_of(&limited);
    assert_eq!(limited.status.code(), Some(2), "{text}");
    assert!(text.contains(" alone are in ") && text.contains("there is no checkpoint to resume"), "{text}");
    let left: Vec<PathBuf> =
        std::fs::read_dir(stopped.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].display().to_string().contains("checkpoints/weights-step-"), "{left:?}");
    Checkpoint::open(left[0].to_str().unwrap(), None).unwrap();
}

/// What transformers is to find in a checkpoint, written beside it.
pub(crate) fn write_expected(out: &Path, messages: Option<&Value>) {
    let checkpoint = Checkpoint::open(out.to_str().unwrap(), None).unwrap();
    let model = engine::Model::load(&checkpoint, WeightFormat::F32, CacheFormat::F32);
    let ids: Vec<u32> = (1..40).map(|index| index * 37 % checkpoint.config.vocab_size as u32).collect();
    let mut cache = KvCache::new();
    let logits = model.forward(&mut [engine::Chunk {
        ids: &ids,
        cache: &mut cache,
        logits: engine::LogitPositions::Last,
        hidden_sum: None,
        adapter: None,
    }]);
    let rendered = messages.map(|messages| {
        let messages: Vec<checkpoint::Message> = serde_json::from_value(messages.clone()).unwrap();
        checkpoint::chat::render(&checkpoint.template, &checkpoint.tokenizer, &messages, None).unwrap().ids
    });
    let stops = &checkpoint.config.eos_token_ids;
    let expected =
        json!({"ids": ids, "logits": logits, "messages": messages, "rendered": rendered, "stops": stops});
    std::fs::write(out.join("expected.json"), expected.to_string()).unwrap();
}

/// Tied and untied, f32 and bf16, with added tokens and without: transformers finds what our engine finds.
#[test]
fn transformers_loads_every_checkpoint() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("rows.jsonl");
    let rows = chats(12);
    write_rows(&data, &rows);
    let texts = folder.path().join("texts.jsonl");
    write_rows(&texts, &[json!({"text": "Once there was a sun."}), json!({"text": "It rained on it."})]);
    let untied = folder.path().join("untied-model");
    std::fs::create_dir(&untied).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(model.join(name), untied.join(name)).unwrap();
    }
    let mut config = checkpoint::ModelConfig::read(&model.join("config.json")).unwrap();
    config.tie_word_embeddings = false;
    std::fs::write(untied.join("config.json"), config.to_json().to_string()).unwrap();
    tests::write_hashed_weights(&untied, &config);
    let mut made = Vec::new();
    for (name, model, data, precision, chat) in [
        ("chat-f32", &model, &data, "f32", true),
        ("chat-bf16", &model, &data, "bf16", true),
        ("untied", &untied, &data, "f32", true),
        ("texts", &model, &texts, "bf16", false),
    ] {
        let out = folder.path().join(name);
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(model).arg("--data").arg(data).arg("--out").arg(&out);
        succeeds(command.args(["--steps", "3", "--max-length", "200", "--precision", precision]));
        write_expected(&out, chat.then_some(&rows[0]["messages"]));
        made.extend([out]);
    }
    let last = made[0].join("checkpoints/step-3");
    write_expected(&last, Some(&rows[1]["messages"]));
    made.push(last);
    loads_with_transformers(&made);
}

/// transformers finds what `write_expected` wrote, where SMOL_PYTHON names a Python that has it.
#[track_caller]
pub(crate) fn loads_with_transformers(made: &[PathBuf]) {
    let Ok(python) = std::env::var("SMOL_PYTHON") else {
        assert!(std::env::var("SMOL_REQUIRE_PYTHON").is_err(), "SMOL_PYTHON is not set");
        eprintln!("SMOL_PYTHON is not set: transformers is not tried");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load_checkpoint.py");
    let output = Command::new(python).arg(script).args(made).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{told}");
    assert_eq!(told.lines().count(), made.len());
}

/// Documents end with the token that generation then stops at, and no template is claimed that nobody trained.
#[test]
fn texts_train_their_end_and_no_template() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out, base) =
        (folder.path().join("texts.jsonl"), folder.path().join("out"), folder.path().join("base"));
    write_rows(&data, &[json!({"text": "Once there was a sun."}), json!({"text": ""})]);
    std::fs::create_dir(&base).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json", "model.safetensors"] {
        std::fs::copy(model.join(name), base.join(name)).unwrap();
    }
    // A checkpoint that names another end than the one documents get, as SmolLM2-Instruct does.
    let mut config = read_json(&model.join("config.json"));
    config["eos_token_id"] = json!(5);
    std::fs::write(base.join("config.json"), config.to_string()).unwrap();
    let text = std::fs::read_to_string(base.join("tokenizer.json")).unwrap().replace("</s>", "<|endoftext|>");
    std::fs::write(base.join("tokenizer.json"), text).unwrap();
    let mut command = posttrain(folder.path());
    command.arg("sft").arg("--model").arg(&base).arg("--data").arg(&data).arg("--out").arg(&out);
    let said = succeeds(command.args(["--steps", "1", "--max-length", "200"]));
    assert!(
        said.contains("1 empty_text dropped") && said.contains("dropped rows and their reasons: "),
        "{said}"
    );
    assert!(said.contains("a document ends with <|endoftext|>") && !said.contains("ChatML"), "{said}");
    assert_eq!(read_json(&out.join("generation_config.json"))["eos_token_id"], json!([2, 5]));
    assert!(!out.join("chat_template.jinja").exists());
}

#[test]
fn a_run_never_writes_over_what_it_begins_from() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    write_rows(&data, &chats(4));
    let command = |model: &Path, more: &[&str]| {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(model).arg("--data").arg(&data).arg("--out").arg(&out);
        command.args(["--steps", "2", "--max-length", "200"]).args(more);
        command
    };
    succeeds(&mut command(&model, &[]));
    refused(&mut command(&out, &["--restart"]), "contains the checkpoint to start from");
    refused(&mut command(&out.join("checkpoints/step-2"), &[]), "contains the checkpoint to start from");
    Checkpoint::open(out.to_str().unwrap(), None).unwrap();
}

/// The same bytes as another format, and the same template with other named tokens, are tokenized anew.
#[test]
fn the_cache_knows_all_that_decides_the_tokens() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let counts = |data: &Path, model: &Path, out: &str| {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(model).arg("--data").arg(data);
        command.arg("--out").arg(folder.path().join(out)).args(["--steps", "1", "--max-length", "200"]);
        succeeds(&mut command);
        read_json(&folder.path().join(out).join("run.json"))["rows"].clone()
    };
    let (lines, plain) = (folder.path().join("rows.jsonl"), folder.path().join("rows.txt"));
    write_rows(&lines, &[json!({"text": "One sun."}), json!({"text": "Two suns."})]);
    std::fs::copy(&lines, &plain).unwrap();
    assert_eq!(counts(&plain, &model, "plain")["rows"], 1);
    assert_eq!(counts(&lines, &model, "lines")["rows"], 2);
    // The extension of the compression is not that of the format.
    let (gz_lines, gz_plain) = (folder.path().join("rows.jsonl.gz"), folder.path().join("rows.txt.gz"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &std::fs::read(&lines).unwrap()).unwrap();
    std::fs::write(&gz_lines, encoder.finish().unwrap()).unwrap();
    std::fs::copy(&gz_lines, &gz_plain).unwrap();
    assert_eq!(counts(&gz_plain, &model, "gz-plain")["rows"], 1);
    assert_eq!(counts(&gz_lines, &model, "gz-lines")["rows"], 2);
    // What was said of the files is said again where their tokens come from the cache.
    let both = folder.path().join("both");
    std::fs::create_dir(&both).unwrap();
    std::fs::copy(&lines, both.join("train.jsonl")).unwrap();
    std::fs::copy(&lines, both.join("other.jsonl")).unwrap();
    for out in ["both-1", "both-2"] {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&both);
        command.arg("--out").arg(folder.path().join(out)).args(["--steps", "1", "--max-length", "200"]);
        let output = command.output().unwrap();
        assert!(text_of(&output).contains("other.jsonl is skipped"), "{out}: {}", text_of(&output));
    }

    let chat = folder.path().join("chat.jsonl");
    write_rows(&chat, &chats(2));
    for (name, eos) in [("stop-a", "</s>"), ("stop-b", "<unk>")] {
        let base = folder.path().join(name);
        std::fs::create_dir(&base).unwrap();
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::copy(model.join(name), base.join(name)).unwrap();
        }
        let settings = json!({"bos_token": "<s>", "eos_token": eos, "unk_token": "<unk>"});
        std::fs::write(base.join("tokenizer_config.json"), settings.to_string()).unwrap();
        let template = "{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}";
        std::fs::write(base.join("chat_template.jinja"), template).unwrap();
        counts(&chat, &base, &format!("out-{name}"));
    }
    let stores =
        |out: &str| read_json(&folder.path().join(out).join("run.json"))["configuration"]["data"].clone();
    assert_ne!(stores("out-stop-a"), stores("out-stop-b"));
}

/// What diverged is never kept as the newest checkpoint that resuming runs into.
#[test]
fn a_diverged_run_can_go_on_from_before() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    write_rows(&data, &chats(12));
    let command = |rate: &str, more: &[&str]| {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&data).arg("--out").arg(&out);
        command.args(["--steps", "4", "--save-steps", "1", "--max-length", "200", "--precision", "f32"]);
        command.args(["--batch-size", "2", "--learning-rate", rate]).args(more);
        command
    };
    refused(&mut command("1e29", &[]), "diverged-step-1");
    succeeds(&mut command("1e-3", &["--accept-changes"]));
    assert_eq!(metric(&out, "loss").len(), 4);
}

/// Flags that nothing would read are refused, not ignored.
#[test]
fn no_flag_is_silently_without_effect() {
    let Some(model) = stories260k() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("rows.jsonl");
    write_rows(&data, &chats(4));
    let sft = |more: &[&str]| {
        let mut command = posttrain(folder.path());
        command.arg("sft").arg("--model").arg(&model).arg("--data").arg(&data);
        command.arg("--out").arg(folder.path().join("out")).args(["--max-length", "200"]).args(more);
        command
    };
    refused(&mut sft(&["--decay-ratio", "0.2"]), "`--decay-ratio` only applies to `lr_scheduler_type` `wsd`");
    let eval = ["--eval-split", "0.5", "--eval-data", data.to_str().unwrap()];
    refused(&mut sft(&eval), "remove one of them");
    refused(&mut sft(&["--adam-beta1", "0.99999999999"]), "adam_beta1");
    refused(&mut sft(&["--device", "cuda"]), "was built without the feature `cuda`");
}
