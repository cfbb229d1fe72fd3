use crate::lora::{COMPUTE, OPTIMIZER};
use crate::programs::{killed_and_resumed, metric, posttrain, program, refused, succeeds, text_of};
use checkpoint::Checkpoint;
use checkpoint::adapter::{AdapterConfig, AdapterMatrices, LinearModule, WEIGHTS_FILE};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::shared_data;
use training::{
    AdapterSettings, Base, Batch, Learner, Optimizer, Sequence, TokenLoss, TrainingState, scorer_of_base,
};

/// Prints no special token that the tokenizer lacks: an adapter has no embedding.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ message['role'] + ': ' + message['content'] \
                        + eos_token }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

/// A folder with rows for every command, and the real checkpoint that tests train: 260k parameters, 512 positions.
pub(crate) struct Runs {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) model: PathBuf,
}

impl Runs {
    pub(crate) fn new() -> Option<Self> {
        let runs =
            Self { model: shared_data()?.join("models/stories260k"), folder: tempfile::tempdir().unwrap() };
        let chat = |index: usize| {
            let reply = format!("The cat sat on mat {}.", index * 31 % 97);
            json!({"messages": [
                {"role": "user", "content": format!("Tell me about cat {index}.")},
                {"role": "assistant", "content": reply},
            ]})
        };
        let pair = |index: usize| json!({"prompt": format!("Say {index}."), "chosen": format!("It is {index}."), "rejected": "No."});
        runs.write("sft", (0..40).map(chat));
        runs.write("dpo", (0..20).map(pair));
        runs.write("pretrain", (0..50).map(|_| json!({"text": "The sun rose again."})));
        std::fs::write(runs.path("template.jinja"), TEMPLATE).unwrap();
        Some(runs)
    }

    fn write(&self, name: &str, rows: impl Iterator<Item = Value>) {
        let text: Vec<String> = rows.map(|row| row.to_string()).collect();
        std::fs::write(self.path(&format!("{name}.jsonl")), text.join("\n")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `posttrain COMMAND` of the model into `out` of the folder.
    pub(crate) fn train(&self, command: &str, out: &str, flags: &[&str]) -> Command {
        self.train_from(&self.model, command, out, flags)
    }

    pub(crate) fn train_from(&self, model: &Path, command: &str, out: &str, flags: &[&str]) -> Command {
        let mut program = posttrain(self.folder.path());
        program.arg(command).arg("--model").arg(model);
        program.arg("--data").arg(self.path(&format!("{command}.jsonl"))).arg("--out").arg(self.path(out));
        if command != "pretrain" {
            program.arg("--chat-template").arg(self.path("template.jinja"));
            program.args(["--max-length", "200", "--batch-size", "3"]);
        }
        program.args(flags);
        program
    }

    /// The same bits of the adapter and of some metrics in both runs.
    #[track_caller]
    pub(crate) fn assert_equal(&self, whole: &str, torn: &str, names: &[&str]) {
        let (whole, torn) = (self.path(whole), self.path(torn));
        assert!(adapter_of(&whole) == adapter_of(&torn), "resumed adapters differ");
        for name in names {
            assert!(!metric(&whole, name).is_empty(), "{name} was logged");
            assert_eq!(metric(&whole, name), metric(&torn, name), "{name}");
        }
    }
}

fn adapter_of(out: &Path) -> Vec<u8> {
    std::fs::read(out.join(WEIGHTS_FILE)).unwrap()
}

/// Dropout is drawn again as it was, by step and micro-batch.
#[test]
fn a_killed_adapter_ends_with_the_same_bits() {
    let Some(runs) = Runs::new() else { return };
    for precision in ["f32", "bf16"] {
        let command = |out: &str| {
            let flags = ["--lora-rank", "4", "--lora-dropout", "0.1", "--steps", "120", "--save-steps", "7"];
            let mut command = runs.train("sft", out, &flags);
            command.args(["--learning-rate", "1e-2", "--eval-split", "0.1", "--micro-batch-tokens", "60"]);
            command.args(["--packing=false", "--logging-steps", "5", "--precision", precision]);
            command
        };
        let (whole, torn) = (format!("whole-{precision}"), format!("torn-{precision}"));
        succeeds(&mut command(&whole));
        killed_and_resumed(|| command(&torn), &runs.path(&torn), 3);
        runs.assert_equal(&whole, &torn, &["loss", "eval_loss"]);
        let losses = metric(&runs.path(&whole), "loss");
        assert!(losses[losses.len() - 1] < 0.8 * losses[0], "{losses:?}");
        assert!(!runs.path(&whole).join("model.safetensors").exists());
    }
}

#[test]
fn dpo_of_an_adapter_begins_at_its_base() {
    let Some(runs) = Runs::new() else { return };
    let command = |out: &str| {
        let flags =
            ["--lora-rank", "4", "--lora-modules", "q_proj,v_proj", "--steps", "60", "--save-steps", "5"];
        let mut command = runs.train("dpo", out, &flags);
        command.args(["--learning-rate", "1e-2", "--lora-dropout", "0.05"]);
        command
    };
    succeeds(&mut command("whole"));
    killed_and_resumed(|| command("torn"), &runs.path("torn"), 2);
    runs.assert_equal("whole", "torn", &["loss", "rewards/margins"]);
    let losses = metric(&runs.path("whole"), "loss");
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-3, "{losses:?}");
    assert!(losses[losses.len() - 1] < 0.6, "{losses:?}");
}

/// The log-probabilities of some ids by an adapter over its base, as it is trained.
fn unmerged(adapter: &Path, batch: &Batch) -> Vec<f32> {
    let config = AdapterConfig::read(adapter).unwrap();
    let base = Checkpoint::open(&config.base, None).unwrap();
    let matrices = AdapterMatrices::open(adapter, &config, &base.config).unwrap();
    let settings = AdapterSettings::new(&config, 1);
    let mut parameters = settings.start(&base.config);
    for tensor in &parameters.layout.tensors {
        parameters.values[tensor.range.clone()].copy_from_slice(matrices.tensor(&tensor.name).unwrap());
    }
    let state = TrainingState { optimizer: Optimizer::new(parameters.values.len()), parameters };
    let base = Base::from_weights(&base.config, &base.weights);
    let mut learner = Learner::of_adapter(base, state, settings, 512, &COMPUTE, OPTIMIZER).unwrap();
    log_probabilities(learner.losses(batch).unwrap())
}

fn log_probabilities(tokens: Vec<TokenLoss>) -> Vec<f32> {
    tokens.into_iter().map(|token| token.log_probability).collect()
}

fn by_checkpoint(folder: &Path, batch: &Batch) -> Vec<f32> {
    let checkpoint = Checkpoint::open(folder.to_str().unwrap(), None).unwrap();
    let base = Base::from_weights(&checkpoint.config, &checkpoint.weights);
    log_probabilities(scorer_of_base(&base, 512, &COMPUTE).unwrap().losses(batch).unwrap())
}

/// An adapter over its base, its folder opened as a model, and the merged checkpoint say the same; and PEFT, where it is
/// installed.
#[test]
fn merged_and_unmerged_answers_are_equal() {
    let Some(runs) = Runs::new() else { return };
    let flags = ["--lora-rank", "8", "--lora-rslora", "--steps", "40", "--learning-rate", "3e-3"];
    succeeds(runs.train("sft", "adapter", &flags).args(["--precision", "f32"]));
    let (adapter, merged) = (runs.path("adapter"), runs.path("merged"));
    let merge = |adapter: &Path, out: &Path| {
        let mut command = posttrain(runs.folder.path());
        command.arg("merge").arg(adapter).arg("--out").arg(out).args(["--save-precision", "f32"]);
        command
    };
    succeeds(&mut merge(&adapter, &merged));
    refused(&mut merge(&adapter, &merged), "is not empty");
    refused(&mut merge(&merged, &runs.path("other")), "is no adapter");
    for name in ["config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"] {
        assert!(merged.join(name).is_file(), "{name}");
    }
    let ids: Vec<u32> = (1..200).map(|index| index * 37 % 512).collect();
    let batch = Batch::new([Sequence { trained: vec![true; ids.len()].into(), ids: ids.clone().into() }]);
    let expected = unmerged(&adapter, &batch);
    // Relative to 1 nat and the size: these ids are not what the model expects, so some are at -20.
    let difference = |(one, other): (&f32, &f32)| (one - other).abs() / (1.0 + other.abs());
    let largest = |found: &[f32]| found.iter().zip(&expected).map(difference).fold(0.0, f32::max);
    assert!(largest(&by_checkpoint(&runs.model, &batch)) > 0.02, "the adapter changes nothing");
    // Every checkpoint of the run is an adapter, too.
    for folder in [&adapter, &merged, &adapter.join("checkpoints/step-40")] {
        let difference = largest(&by_checkpoint(folder, &batch));
        println!("{}: {difference:.1e}", folder.display());
        assert!(difference < 1e-5, "{}: {difference}", folder.display());
    }
    let mut check = program("smolserve");
    check.arg("--check").arg("--model").arg(format!("base={}", runs.model.display()));
    let output = check.arg("--adapter").arg(format!("tuned={}", adapter.display())).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(lines.contains("base: ok") && lines.contains("tuned: ok"), "{lines}{}", text_of(&output));
    let text = json!({"ids": ids, "log_probabilities": expected}).to_string();
    std::fs::write(runs.path("expected.json"), text).unwrap();
    let Ok(python) = std::env::var("SMOL_PYTHON") else {
        eprintln!("skipped: SMOL_PYTHON is not set, PEFT is not tried");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load_adapter.py");
    let mut command = Command::new(python);
    let output = command.arg(script).arg(&adapter).arg(runs.path("expected.json")).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    println!("{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn an_adapter_is_continued_where_it_was() {
    let Some(runs) = Runs::new() else { return };
    let flags = ["--lora-rank", "2", "--lora-alpha", "3", "--lora-modules", "down_proj", "--steps", "5"];
    succeeds(runs.train("sft", "first", &flags).args(["--learning-rate", "1e-2"]));
    let first = runs.path("first");
    for command in ["sft", "dpo", "pretrain"] {
        let out = format!("second-{command}");
        let mut again = runs.train(command, &out, &["--lora-init", first.to_str().unwrap()]);
        if command == "pretrain" {
            again.args(["--tokens", "200", "--batch-tokens", "100", "--sequence-length", "50"]);
        }
        succeeds(again.args(["--learning-rate", "0"]));
        assert!(adapter_of(&runs.path(&out)) == adapter_of(&first), "{command}");
        let config = AdapterConfig::read(&runs.path(&out)).unwrap();
        assert_eq!((config.rank, config.alpha, &config.modules[..]), (2, 3.0, &[LinearModule::Down][..]));
    }
}

#[test]
fn what_an_adapter_cannot_do_is_refused() {
    let Some(runs) = Runs::new() else { return };
    for (flags, expected) in [
        (&["--lora-alpha", "8"][..], "`--lora-alpha` has no effect without an adapter"),
        (&["--lora-rank", "8", "--lora-modules", "lm_head"], "`lora_modules` contains `lm_head`"),
        (&["--lora-rank", "8", "--lora-dropout", "1"], "`lora_dropout` is 1"),
        (&["--lora-rank", "8", "--device", "cuda"], "adapters (`--lora-rank`) are only trained on the CPU"),
        (&["--lora-rank", "8", "--special-tokens", "<|new|>"], "the vocabulary grows from 512"),
        (&["--lora-init", "nowhere"], "nowhere/adapter_config.json"),
    ] {
        refused(&mut runs.train("sft", "out", flags), expected);
    }
    let longer = ["--lora-rank", "2", "--sequence-length", "1024", "--batch-tokens", "1024"];
    refused(&mut runs.train("pretrain", "out", &longer), "keeps its 512 positions");
    let mut unborn = posttrain(runs.folder.path());
    unborn.args(["pretrain", "--lora-rank", "2", "--init", "smollm2-135m", "--tokenizer"]).arg(&runs.model);
    unborn.arg("--data").arg(runs.path("pretrain.jsonl")).arg("--out").arg(runs.path("out"));
    refused(&mut unborn, "an adapter needs a model to adapt");
    succeeds(&mut runs.train("sft", "first", &["--lora-rank", "2", "--steps", "1"]));
    let mut stacked = runs.train_from(&runs.path("first"), "sft", "out", &["--lora-rank", "2"]);
    refused(&mut stacked, "is an adapter; give its base model and `--lora-init");
}
