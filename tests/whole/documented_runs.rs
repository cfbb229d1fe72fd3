//! The commands of the front page and of the guides, run in their order as a reader would, in a folder with small inputs:
//! the models that come with the project stand for those of the pages, and counts are small.

use crate::clients::Served;
use crate::documents::{Line, PROGRAMS, block_lines, commands};
use crate::programs::{of_project, program, succeeds, text_of};
use crate::scripted_teacher::ScriptedTeacher;
use crate::task_teacher::Teacher;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What stands in place of a page's own values.
#[derive(Default)]
struct Reader {
    folder: Option<tempfile::TempDir>,
    /// Whole words, or what follows `NAME=`, and what is given instead.
    swaps: Vec<(&'static str, String)>,
    /// Values of flags that decide how long a command takes.
    sizes: Vec<(&'static str, &'static str)>,
    /// Flags and values that commands that begin so are given besides, where the page does not.
    added: Vec<(&'static str, Vec<String>)>,
    /// Parts of the files that a page shows, and what is written instead.
    edits: Vec<(&'static str, &'static str)>,
    /// Commands that are not run here, and why.
    not_run: Vec<(&'static str, &'static str)>,
}

impl Reader {
    fn new() -> Self {
        let reader = Self { folder: Some(tempfile::tempdir().unwrap()), ..Self::default() };
        std::fs::create_dir_all(reader.path("config/smoltalk")).unwrap();
        let prices: String =
            ["stories", "model"].map(|name| format!("[\"{name}\"]\nprompt = 1\ncompletion = 1\n")).concat();
        std::fs::write(reader.path("config/smoltalk/prices.toml"), prices).unwrap();
        reader
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().unwrap().path().join(name)
    }

    fn swap(mut self, from: &'static str, to: impl AsRef<Path>) -> Self {
        self.swaps.push((from, to.as_ref().to_str().unwrap().to_owned()));
        self
    }

    /// Texts of a kind, one in each line of a file.
    fn texts(self, name: &str, text: impl Fn(usize) -> String) -> Self {
        self.rows(name, 120, |index| json!({"text": text(index).repeat(4)}))
    }

    fn rows(self, name: &str, count: usize, row: impl Fn(usize) -> Value) -> Self {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let rows: Vec<String> = (0..count).map(|index| row(index).to_string()).collect();
        std::fs::write(path, rows.join("\n")).unwrap();
        self
    }

    /// Conversations, and replies with a mark.
    fn chats(self) -> Self {
        let turn = |role: &str, content: String| json!({"role": role, "content": content});
        let chat = |index: usize| {
            vec![turn("user", format!("Count {index}.")), turn("assistant", format!("It is {}.", index * 3))]
        };
        self.rows("chats.jsonl", 32, |index| json!({"messages": chat(index)})).rows(
            "marked.jsonl",
            16,
            |index| json!({"messages": chat(index), "label": index % 2 == 0}),
        )
    }

    /// A few questions of the tasks that pages score.
    fn benchmarks(self) -> Self {
        self.rows("BENCHMARKS/allenai/ai2_arc/ARC-Easy/test.jsonl", 4, |index| {
            let choices = json!({"text": [format!("{index}"), "no"], "label": ["A", "B"]});
            json!({"id": index.to_string(), "question": format!("Count {index}."), "choices": choices, "answerKey": "A"})
        })
        .rows("BENCHMARKS/baber/piqa/plain_text/validation.jsonl", 4, |index| {
            json!({"goal": format!("Count {index}"), "sol1": "say it", "sol2": "eat it", "label": 0})
        })
        .rows("BENCHMARKS/Rowan/hellaswag/validation.jsonl", 4, |index| {
            json!({"ind": index, "activity_label": "Counting", "ctx_a": "A man counts.", "ctx_b": "he", "ctx": "A man counts. he",
                "endings": ["says one.", "eats.", "sleeps.", "flies."], "label": "0", "split": "val", "source_id": "a"})
        })
        .rows("BENCHMARKS/google/IFEval/train.jsonl", 2, |index| {
            json!({"key": index, "prompt": "Name a fruit in lowercase.",
                "instruction_id_list": ["change_case:english_lowercase"], "kwargs": [{}]})
        })
    }

    /// The files that a page shows: fences with a language and a name.
    fn write_files(&self, text: &str) {
        for fence in text.split("\n```").skip(1).step_by(2) {
            let (head, content) = fence.split_once('\n').unwrap();
            let Some((_, name)) = head.split_once(' ') else { continue };
            let edit = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
            std::fs::write(self.path(name), self.edits.iter().fold(content.to_owned(), edit)).unwrap();
        }
    }

    fn swapped(&self, word: &str) -> String {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (format!("{name}="), value),
            None => (String::new(), word),
        };
        let to = |value: &str| self.swaps.iter().find(|(from, _)| *from == value).map(|(_, to)| to.clone());
        to(word).unwrap_or_else(|| format!("{name}{}", to(value).unwrap_or_else(|| value.to_owned())))
    }

    /// The arguments that a page's command has here.
    fn arguments(&self, words: &[String]) -> Vec<String> {
        let mut words: Vec<String> = words.iter().map(|word| self.swapped(word)).collect();
        for (flag, value) in &self.sizes {
            let place = words.iter().position(|word| word == flag);
            if let Some(place) = place {
                words[place + 1] = (*value).to_owned();
            }
        }
        let text = words.join(" ");
        for (_, more) in self.added.iter().filter(|(begin, _)| text.starts_with(begin)) {
            for pair in more.chunks(2) {
                if !words.contains(&pair[0]) {
                    words.extend(pair.iter().cloned());
                }
            }
        }
        if words[0] == "smolserve" && !words.iter().any(|word| word == "--check") {
            words.push("--check".to_owned());
        }
        words
    }

    fn run(&self, page: &str, line: &Line, words: &[String]) {
        let words = self.arguments(words);
        let mut command = program(&words[0]);
        command.args(&words[1..]).current_dir(self.path(""));
        command.env("XDG_CACHE_HOME", self.path("cache")).env("XDG_CONFIG_HOME", self.path("config"));
        command.env("HF_HOME", self.path("cache")).env("HF_HUB_OFFLINE", "1").env("KEY", "secret");
        let output = command.output().unwrap();
        let place = format!("{page}:{}: {}", line.number, words.join(" "));
        assert!(
            output.status.success(),
            "{place}\nexit code {:?}\n{}",
            output.status.code(),
            text_of(&output)
        );
        assert!(!output.stdout.is_empty() || !output.stderr.is_empty(), "{place}: it says nothing");
        let shown = shape(&format!("{}{}", String::from_utf8_lossy(&output.stdout), text_of(&output)));
        for expected in line.output.iter().filter(|expected| *expected != "...") {
            assert!(
                shown.contains(&shape(expected)),
                "{place}: it does not print `{expected}`, but\n{shown}"
            );
        }
        if let Some(out) = words.iter().position(|word| word == "--out") {
            assert!(self.path(&words[out + 1]).exists(), "{place}: {} is not there", words[out + 1]);
        }
    }

    /// Runs the commands of a page; returns how many.
    #[track_caller]
    fn follows(&self, page: &str) -> usize {
        let text = std::fs::read_to_string(of_project(page)).unwrap();
        self.write_files(&text);
        let (mut count, mut left_out) = (0, Vec::new());
        for line in block_lines(&text).unwrap() {
            for words in commands(&line.text).unwrap() {
                if !PROGRAMS.contains(&words[0].as_str()) {
                    continue;
                }
                match self.not_run.iter().position(|(begin, _)| words.join(" ").starts_with(begin)) {
                    Some(place) => left_out.push(place),
                    None => {
                        self.run(page, &line, &words);
                        count += 1;
                    }
                }
            }
        }
        for (place, (begin, reason)) in self.not_run.iter().enumerate() {
            println!("{page}: not run: {begin} ...: {reason}");
            assert!(left_out.contains(&place), "{page} has no command `{begin}` any more");
        }
        count
    }
}

/// A text in which every number is `#`: transcripts are of other models and machines.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for letter in text.chars() {
        match letter {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            // Separators within a number.
            ',' | '.' if shape.ends_with('#') => shape.push(letter),
            _ => shape.push(letter),
        }
    }
    shape.replace("#,#", "#").replace("#.#", "#")
}

fn model(name: &str) -> PathBuf {
    of_project("models").join(name)
}

/// What a teacher of the pocket world needs.
fn pocket_prompts() -> Vec<String> {
    vec!["--prompts".to_owned(), of_project("pocket/prompts").display().to_string()]
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_front_page_runs() {
    let served = Served::start(&model("pocket-instruct"), &[]);
    let teacher = format!("{}/v1#stories", served.address);
    let mut reader =
        Reader::new().benchmarks().texts("texts.jsonl", |index| format!("Cat {index} sat on the mat. "));
    let reader_path = reader.path("");
    succeeds(
        program("smolpocket")
            .args(["texts", "--rows", "30", "--seed", "1", "--out"])
            .arg(reader_path.join("letters")),
    );
    succeeds(program("smolpocket").args(["web", "--out"]).arg(reader_path.join("web-in")));
    let mut train = program("smoltalk");
    train.args(["curate", "train-classifier", "web-in/languages.jsonl", "--label", "en", "--out", "lid"]);
    succeeds(train.current_dir(&reader_path));
    reader = reader.rows(
        "questions.jsonl",
        2,
        |index| json!({"question": format!("How many are {index} apples?"), "answer": "2", "prompt": "Name two."}),
    );
    reader =
        reader.swap("$T", &teacher).swap("TEACHER", &teacher).swap("PATH_TO_TEXTS", "letters/stories.jsonl");
    reader = reader
        .swap("HuggingFaceTB/SmolLM2-135M", model("pocket-base"))
        .swap("CHECKPOINT", model("pocket-base"));
    reader =
        reader.swap("PREFERENCE_PAIRS", "pairs").swap("PATH", "questions.jsonl").swap("TEXTS", "texts.jsonl");
    reader = reader
        .swap("ARCHIVES", "web-in/archives")
        .swap("lid.176.bin", "lid/model.bin")
        .swap("smollm2-135m", "config.json");
    std::fs::write(reader.path("config.json"), small_config(49152)).unwrap();
    reader.sizes = vec![("--rows", "12"), ("--limit", "2"), ("--n", "1")];
    reader.added = vec![
        ("smoltalk gen --teacher", [words("--rows 12"), pocket_prompts()].concat()),
        ("smoltalk gen preferences", pocket_prompts()),
        ("smoltalk gen magpie-ultra", pocket_prompts()),
        ("smoltalk preview", pocket_prompts()),
        ("smoltalk estimate", pocket_prompts()),
        ("smoleval score --model sft --model dpo --tasks arc_easy", words("--max-reply-tokens 8")),
        ("posttrain pretrain", words("--tokens 512 --batch-tokens 128 --sequence-length 32")),
    ];
    reader.not_run = vec![
        ("smoleval score --model sft --model dpo --tasks smollm2-instruct", "all data of all tasks"),
        ("smoltalk mix datasets/recipes/smoltalk.toml", "reads the hub; the guides mix"),
        ("posttrain ablate", "hours; tests/whole/ablation.rs"),
        ("posttrain intervene", "needs a run that is stopped; tests/whole/pretraining.rs"),
    ];
    assert!(reader.follows("README.md") >= 20);
}

/// A tiny model's config.json.
fn small_config(vocabulary: usize) -> String {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "vocab_size": vocabulary, "attention_bias": false, "mlp_bias": false,
        "initializer_range": 0.1, "bos_token_id": 0, "eos_token_id": 0,
    })
    .to_string()
}

#[test]
fn the_guide_to_a_dataset_with_an_api_runs() {
    let teacher = Teacher::start("model");
    let mut reader = Reader::new().swap("https://api.example.com/v1#model", &teacher.name);
    reader.sizes = vec![("--rows", "20"), ("--n", "1")];
    assert!(reader.follows("docs/guides/dataset-with-an-api.md") >= 9);
}

#[test]
fn the_guide_to_a_dataset_with_a_local_model_runs() {
    let served = Served::start(&model("pocket-instruct"), &[]);
    let mut reader = Reader::new();
    succeeds(
        program("smolpocket")
            .args(["texts", "--rows", "30", "--seed", "1", "--out"])
            .arg(reader.path("texts")),
    );
    reader = reader.swap("HuggingFaceTB/SmolLM2-1.7B-Instruct", model("pocket-instruct"));
    reader =
        reader.swap("letters.jsonl", "texts/letters.jsonl").swap("my-prompts", of_project("pocket/prompts"));
    reader = reader.swap("http://localhost:8000/v1#teacher", format!("{}/v1#stories", served.address));
    reader.sizes = vec![("--rows", "20")];
    reader.added = ["chats", "rewrites", "chats-served"]
        .map(|out| match out {
            "rewrites" => ("smoltalk gen smol-rewrite", pocket_prompts()),
            "chats" => ("smoltalk gen magpie-ultra --rows 20 --teacher /", pocket_prompts()),
            _ => ("smoltalk gen magpie-ultra --rows 20 --teacher http", pocket_prompts()),
        })
        .into();
    reader.not_run = vec![(
        "smoltalk prompts export",
        "the pocket teacher has prompts of its own; the guide to an API exports",
    )];
    assert!(reader.follows("docs/guides/dataset-with-a-local-model.md") >= 8);
}

#[test]
fn the_page_on_many_processes_runs() {
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    let mut reader = Reader::new().swap("http://localhost:8000/v1#teacher", &teacher.name);
    // The folders of job files that are printed and not run.
    reader = reader.swap("/scratch/set", "together").swap("/data/set", "together");
    reader.sizes = vec![("--rows", "24")];
    assert!(reader.follows("docs/scale.md") >= 8);
    let hashes = |out: &str| {
        let folder = reader.path(out).join("data/magpie-ultra");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.map(|file| files::hash::sha256_of_file(&file).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(hashes("alone"), hashes("together"));
}

#[test]
fn the_guide_to_sft_runs() {
    let mut reader = Reader::new().chats().swap("HuggingFaceTB/SmolLM2-135M", model("pocket-base"));
    reader.sizes = vec![("--epochs", "1"), ("--eval-split", "0.2")];
    assert!(reader.follows("docs/guides/sft.md") >= 4);
}

#[test]
fn the_guide_to_dpo_runs() {
    let mut reader =
        Reader::new().chats().swap("HuggingFaceTB/SmolLM2-1.7B-Instruct", model("pocket-instruct"));
    reader = reader.swap("sft", model("pocket-instruct"));
    reader.sizes = vec![("--rows", "24")];
    reader.added = vec![
        ("smoltalk gen preferences", pocket_prompts()),
        ("posttrain kto", words("--steps 2 --batch-size 4")),
    ];
    assert!(reader.follows("docs/guides/dpo.md") >= 6);
}

#[test]
fn the_guide_to_pretraining_runs() {
    let mut reader = Reader::new()
        .texts("web.jsonl", |index| format!("The cat number {index} sat on the mat and slept. "))
        .texts("code.jsonl", |index| format!("fn f{index}() -> u32 {{ {index} + 1 }} "))
        .texts("math.jsonl", |index| format!("We add {index} and one: {}. ", index + 1))
        .texts("best.jsonl", |index| format!("A lesson: {index} plus one is {}. ", index + 1))
        .texts("held-out.jsonl", |index| format!("The cat number {index} sat and slept. "));
    reader.edits = vec![
        ("0_000_000", "024"),
        ("16_384", "512"),
        ("\"hidden_size\": 192", "\"hidden_size\": 48"),
        ("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 1"),
        ("\"head_dim\": 32", "\"head_dim\": 8"),
        ("sequence_length = 512", "sequence_length = 64"),
        ("warmup_steps = 100", "warmup_steps = 2"),
        ("= 200", "= 4"),
        ("0.02", "0.2"),
    ];
    reader.sizes = vec![("--limit", "4")];
    reader.not_run = vec![("posttrain intervene", "needs a run that is stopped; tests/whole/pretraining.rs")];
    assert!(reader.follows("docs/guides/pretrain.md") >= 4);
}

#[test]
fn the_guide_to_evaluation_runs() {
    let mut reader =
        Reader::new().benchmarks().chats().swap("HuggingFaceTB/SmolLM2-135M", model("pocket-base"));
    reader = reader.texts("held-out.jsonl", |index| format!("The cat number {index} sat. "));
    // The run that the guide reports.
    let mut train = program("posttrain");
    train
        .arg("sft")
        .arg("--model")
        .arg(model("pocket-base"))
        .args(words("--data chats.jsonl --out sft --steps 2"));
    succeeds(train.current_dir(reader.path("")).env("XDG_CACHE_HOME", reader.path("cache")));
    let mut generate = program("smoltalk");
    generate.args(words("gen magpie-ultra --rows 12 --out chats --teacher")).arg(model("pocket-instruct"));
    succeeds(generate.args(pocket_prompts()).current_dir(reader.path("")));
    let served = Served::start(&reader.path("sft"), &[]);
    reader = reader.swap("http://localhost:8000/v1", format!("{}/v1", served.address));
    reader.sizes = vec![("--limit", "2"), ("--endpoint-model", "stories")];
    let few = words("--max-reply-tokens 8");
    reader.added = vec![
        ("smoleval score --model sft --tasks ifeval", few.clone()),
        ("smoleval score --model served", few),
        ("smoleval score --model sft --tasks perplexity", words("--limit 4")),
    ];
    assert!(reader.follows("docs/guides/evaluate.md") >= 7);
}

#[test]
fn the_pages_on_adapters_and_distillation_run() {
    let mut reader =
        Reader::new().swap("HuggingFaceTB/SmolLM2-135M-Instruct", model("pocket-instruct")).chats();
    std::fs::copy(reader.path("chats.jsonl"), reader.path("rows.jsonl")).unwrap();
    reader = reader.swap("runs/other", "runs/adapter");
    reader = reader.swap("student", model("pocket-base")).swap("teacher", model("pocket-instruct"));
    reader.added = vec![("posttrain sft", words("--steps 2 --batch-size 4"))];
    assert!(reader.follows("docs/lora.md") >= 3);
    reader.not_run = vec![
        ("smoltalk gen", "tests/whole/stored_logprobs.rs"),
        ("posttrain sft --stored-logprobs", "tests/whole/stored_logprobs.rs"),
    ];
    assert!(reader.follows("docs/distillation.md") >= 1);
}

#[test]
fn the_pages_on_the_pocket_world_serving_and_evaluation_run() {
    let mut reader =
        Reader::new().benchmarks().swap("CHECKPOINT", model("pocket-base")).swap("FOLDER", "BENCHMARKS");
    reader = reader
        .swap("models/pocket-instruct", model("pocket-instruct"))
        .swap("pocket/prompts", of_project("pocket/prompts"));
    reader = reader
        .swap("HuggingFaceTB/SmolLM2-135M-Instruct", model("pocket-instruct"))
        .swap("runs/sft/final", "runs/sft");
    std::fs::create_dir(reader.path("runs")).unwrap();
    std::os::unix::fs::symlink(model("pocket-instruct"), reader.path("runs/sft")).unwrap();
    reader.sizes = vec![("--limit", "2")];
    reader.added = vec![("smolpocket score", words("--limit 2"))];
    assert!(reader.follows("pocket/README.md") >= 5);
    assert!(reader.follows("docs/serving.md") >= 2);
    std::fs::remove_dir_all(reader.path("scores")).unwrap();
    assert!(reader.follows("docs/evaluation.md") >= 3);
}
