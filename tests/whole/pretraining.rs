use crate::programs::{killed_and_resumed, metric, metric_lines, posttrain, read_json, refused, succeeds};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A tokenizer of bytes and two sources of made documents: all that pretraining needs.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        let words = ["sun", "rain", "wolf", "ship", "road", "song"];
        let document = |source: &str, index: usize| {
            let word = |place: usize| words[(index * 7 + place * place * 3) % words.len()];
            let text: Vec<&str> = (0..5 + index % 40).map(word).collect();
            json!({"text": format!("{source} {index}: {}.", text.join(" "))}).to_string()
        };
        for source in ["web", "code"] {
            let documents: Vec<String> = (0..120).map(|index| document(source, index)).collect();
            std::fs::write(world.path(&format!("{source}.jsonl")), documents.join("\n")).unwrap();
        }
        let mut tokenizer = world.posttrain();
        tokenizer
            .arg("tokenizer")
            .arg("--data")
            .arg(world.path("web.jsonl"))
            .arg("--out")
            .arg(world.path("tokenizer"));
        succeeds(tokenizer.args(["--vocab-size", "300"]));
        let config = checkpoint::ModelConfig {
            hidden_size: 24,
            intermediate_size: 40,
            layers: 2,
            heads: 3,
            kv_heads: 1,
            head_dim: 8,
            vocab_size: 300,
            max_positions: 64,
            ..checkpoint::ModelConfig::smollm2_135m()
        };
        std::fs::write(world.path("config.json"), config.to_json().to_string()).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn posttrain(&self) -> Command {
        posttrain(self.folder.path())
    }

    /// Writes a recipe whose first stage mixes the sources by these weights.
    fn recipe(&self, name: &str, web: f64, code: f64) -> PathBuf {
        let text = format!(
            r#"
            init = "{config}"
            tokenizer = "{tokenizer}"
            batch_tokens = 128
            sequence_length = 32
            learning_rate = 0.01
            warmup_steps = 4
            seed = 7

            [[sources]]
            name = "web"
            paths = ["{web_path}"]
            held_out = 0.1

            [[sources]]
            name = "code"
            paths = ["{code_path}"]
            held_out = 0.1

            [[stages]]
            name = "stable"
            tokens = 5120
            mixture = {{ web = {web}, code = {code} }}
            phase = "stable"

            [[stages]]
            name = "longer"
            tokens = 2560
            mixture = {{ web = 1 }}
            phase = "decay"
            sequence_length = 64
            rope_theta = 50000
            "#,
            config = self.path("config.json").display(),
            tokenizer = self.path("tokenizer").display(),
            web_path = self.path("web.jsonl").display(),
            code_path = self.path("code.jsonl").display(),
        );
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn pretrain(&self, recipe: &Path, out: &str, more: &[&str]) -> Command {
        let mut command = self.posttrain();
        command.arg("pretrain").arg("--recipe").arg(recipe).arg("--out").arg(self.path(out)).args(more);
        command
    }
}

#[test]
fn stages_change_the_mixture_the_length_and_the_rotary_base() {
    let world = World::new();
    let recipe = world.recipe("recipe.toml", 3.0, 1.0);
    let text = succeeds(&mut world.pretrain(&recipe, "run", &[]));
    assert!(text.contains("stage longer: sequences of 64 tokens, RoPE base 50000"), "{text}");
    let out = world.path("run");
    let rates = metric(&out, "learning_rate");
    assert_eq!(rates.len(), 60);
    assert_eq!((rates[0], rates[4], rates[40], rates[50]), (0.0, 0.01, 0.01, 0.005));
    let losses = metric(&out, "loss");
    assert!(losses[59] < losses[0] - 1.0, "{} to {}", losses[0], losses[59]);
    // Shares are exact to one sequence: 160 sequences of 32 tokens in the first stage, a quarter of them code.
    let drawn = &read_json(&out.join("run.json"))["progress"]["drawn"]["tokens"];
    assert_eq!(drawn, &json!({"web": 120 * 32 + 40 * 64, "code": 40 * 32}));
    let last = metric_lines(&out).into_iter().rfind(|line| line.get("eval_loss").is_some()).unwrap();
    assert!(last["eval_loss/web"].is_f64() && last["eval_loss/code"].is_f64(), "{last}");
    let config = read_json(&out.join("config.json"));
    assert_eq!((&config["rope_theta"], &config["max_position_embeddings"]), (&json!(50000.0), &json!(64)));
    checkpoint::Checkpoint::open(out.to_str().unwrap(), None).unwrap();
}

#[test]
fn a_killed_run_ends_with_the_same_bits() {
    let world = World::new();
    // Weights that a careless reader of JSON would not give back to the bit.
    let recipe = world.recipe("recipe.toml", 12.4, 51.6);
    let flags = ["--save-steps", "3", "--save-precision", "f32"];
    succeeds(&mut world.pretrain(&recipe, "whole", &flags));
    killed_and_resumed(|| world.pretrain(&recipe, "torn", &flags), &world.path("torn"), 6);
    let (whole, torn) = (world.path("whole"), world.path("torn"));
    let weights = |out: &Path| std::fs::read(out.join("model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&torn), "resumed weights differ");
    assert_eq!(metric(&whole, "loss"), metric(&torn, "loss"));
    assert_eq!(metric(&whole, "eval_loss/code"), metric(&torn, "eval_loss/code"));
}

/// A run that is stopped, changed by `intervene` and resumed has the bits of one whose recipe says the same from the start.
#[cfg(unix)]
#[test]
fn an_intervention_is_as_if_the_recipe_had_said_it() {
    let world = World::new();
    let out = world.path("run");
    let recipe = world.recipe("recipe.toml", 3.0, 1.0);
    let long = std::fs::read_to_string(&recipe).unwrap().replace("tokens = 5120", "tokens = 64000");
    std::fs::write(&recipe, &long).unwrap();
    let flags = ["--save-precision", "f32"];
    let mut child = world.pretrain(&recipe, "run", &flags).stderr(Stdio::null()).spawn().unwrap();
    while !out.join("metrics.jsonl").is_file() || metric(&out, "loss").len() < 5 {
        std::thread::sleep(Duration::from_millis(10));
    }
    succeeds(Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let done = read_json(&out.join("run.json"))["progress"]["step"].as_u64().unwrap();

    std::fs::write(world.path("other.toml"), "mixture = { forum = 1 }").unwrap();
    std::fs::write(world.path("code.toml"), "mixture = { code = 2, web = 1 }").unwrap();
    let intervene = |file: &str, at: u64| {
        let mut command = world.posttrain();
        command.arg("intervene").arg(&out).arg("--mixture").arg(world.path(file));
        command.args(["--at", &at.to_string()]);
        command
    };
    refused(
        &mut intervene("other.toml", done + 9),
        "the run has no source `forum`; its sources are web, code",
    );
    refused(&mut intervene("code.toml", done - 1), "lies behind the run's last checkpoint");
    succeeds(&mut intervene("code.toml", done + 9));
    succeeds(&mut world.pretrain(&recipe, "run", &flags));
    refused(&mut intervene("code.toml", done + 19), "has finished");
    let run = read_json(&out.join("run.json"));
    assert_eq!(run["interventions"][0]["step"], json!(done + 9));
    assert_eq!(run["lineage"][0]["resumed_after_step"], json!(done));
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    let line = format!("<title>intervention: from step {} on the mixture is code 2, web 1", done + 9);
    assert!(report.contains(&line), "{line}");

    let (before, after) = ((done + 9) * 128, 64000 - (done + 9) * 128);
    let parted = long.replace("tokens = 64000", &format!("tokens = {before}")).replacen(
        "[[stages]]\n            name = \"longer\"",
        &format!(
            "[[stages]]\nname = \"more code\"\ntokens = {after}\nmixture = {{ code = 2, web = 1 }}\nphase = \"stable\"\n\n\
             [[stages]]\n            name = \"longer\""
        ),
        1,
    );
    std::fs::write(world.path("parted.toml"), parted).unwrap();
    succeeds(&mut world.pretrain(&world.path("parted.toml"), "parted", &flags));
    let weights = |name: &str| std::fs::read(world.path(name).join("model.safetensors")).unwrap();
    assert!(weights("run") == weights("parted"), "the weights differ");
}

#[cfg(unix)]
#[test]
fn a_mixture_changed_under_way_is_kept_in_the_lineage() {
    let world = World::new();
    let out = world.path("run");
    let recipe = world.recipe("recipe.toml", 3.0, 1.0);
    // Long enough to be stopped under way.
    let long = std::fs::read_to_string(&recipe).unwrap().replace("tokens = 5120", "tokens = 512000");
    std::fs::write(&recipe, &long).unwrap();
    let mut child = world.pretrain(&recipe, "run", &[]).stderr(Stdio::null()).spawn().unwrap();
    while !out.join("metrics.jsonl").is_file() || metric(&out, "loss").len() < 5 {
        std::thread::sleep(Duration::from_millis(10));
    }
    succeeds(Command::new("kill").args(["-INT", &child.id().to_string()]));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let stopped = read_json(&out.join("run.json"))["progress"].clone();
    let step = stopped["step"].as_u64().unwrap();

    let tokens = (step + 20) * 128;
    let changed = long
        .replace("tokens = 512000", &format!("tokens = {tokens}"))
        .replace("web = 3, code = 1", "code = 1");
    std::fs::write(&recipe, changed).unwrap();
    refused(
        &mut world.pretrain(&recipe, "run", &[]),
        "give `--accept-changes` to resume with the new settings",
    );
    succeeds(&mut world.pretrain(&recipe, "run", &["--accept-changes"]));
    let run = read_json(&out.join("run.json"));
    let lineage = &run["lineage"][0];
    assert_eq!(lineage["resumed_after_step"], json!(step));
    assert_eq!(lineage["changes"][0]["field"], "stages");
    // The twenty steps that were left of the first stage drew code alone.
    let code = |value: &Value| value["drawn"]["tokens"]["code"].as_u64().unwrap_or(0);
    assert_eq!(code(&run["progress"]) - code(&stopped), 20 * 128);
}

#[test]
fn repetition_is_warned_of_and_bad_recipes_are_refused() {
    let world = World::new();
    let config = world.path("config.json");
    let tokenizer = world.path("tokenizer");
    let from = |more: &[&str]| {
        let mut command = world.posttrain();
        command.arg("pretrain").arg("--init").arg(&config).arg("--tokenizer").arg(&tokenizer);
        command.arg("--data").arg(world.path("code.jsonl")).arg("--out").arg(world.path("flags"));
        command.args(["--batch-tokens", "512", "--sequence-length", "64"]).args(more);
        command
    };
    let text = succeeds(&mut from(&["--tokens", "60000", "--precision", "f32"]));
    assert_eq!(text.matches("source code was repeated for more than 4 epochs").count(), 1, "{text}");
    refused(
        &mut from(&["--tokens", "60000", "--batch-tokens", "32"]),
        "`batch_tokens` is 32, less than one sequence of 64",
    );
    refused(&mut from(&["--init", "smollm3"]), "is neither a preset");
    refused(&mut from(&["--data", "a/train.txt", "b/train.txt"]), "two sources are named `train`");
    refused(
        &mut from(&["--batch-tokens", "100"]),
        "`batch_tokens` is 100, not a multiple of the sequence length 64",
    );
    let recipe = world.recipe("recipe.toml", 3.0, 1.0);
    let odd = std::fs::read_to_string(&recipe).unwrap().replace("code = 1", "books = 1");
    std::fs::write(&recipe, odd).unwrap();
    refused(
        &mut world.pretrain(&recipe, "odd", &[]),
        "there is no source `books`; known sources are web, code",
    );
}
