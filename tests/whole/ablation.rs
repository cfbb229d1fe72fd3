//! `posttrain ablate` in made-up worlds: of several kinds of documents, the held-out ones have two, and the proposal names
//! them and is better than what was tried; arms that were trained under other conditions are not compared.

use crate::programs::{posttrain, read_json, refused, succeeds, text_of};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Set to try ten worlds instead of one.
const ALL: &str = "SMOL_ALL_WORLDS";
/// Documents of a source.
const DOCUMENTS: usize = 400;

/// A document of a kind.
fn document(kind: usize, number: u64) -> String {
    let draw = |place: u64, of: &[&'static str]| of[random::mix(number, place) as usize % of.len()];
    let names = ["cat", "dog", "bird", "horse", "fish"];
    match kind {
        0 => format!("The {} sat on the {} and slept.", draw(0, &names), draw(1, &["mat", "roof", "stone"])),
        1 => format!("We add {} to {} : {}", number % 7, number % 5, number % 7 + number % 5),
        2 => format!("let {} = {}() ;", draw(0, &names), draw(1, &["open", "read", "close"])),
        _ => (0..8).map(|place| char::from(b'a' + (random::mix(number, place) % 26) as u8)).collect(),
    }
}

/// A world in which the held-out documents are of the kinds `much` (two of three) and `some`. Worlds of other numbers have
/// other documents.
fn world(number: u64, much: usize, some: usize) -> TempDir {
    let offset = number * 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, document: &dyn Fn(u64) -> String| {
        let lines: Vec<String> =
            (0..DOCUMENTS as u64).map(|number| json!({"text": document(number)}).to_string()).collect();
        std::fs::write(folder.path().join(name), lines.join("\n")).unwrap();
    };
    for kind in 0..4 {
        write(&format!("kind{kind}.jsonl"), &|number| document(kind, offset + number));
    }
    let wanted = |number: u64| if number.is_multiple_of(3) { some } else { much };
    write("wanted.jsonl", &|number| document(wanted(number), offset + 10_000 + number));
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "vocab_size": 288, "attention_bias": false, "mlp_bias": false,
        "initializer_range": 0.1, "bos_token_id": 0, "eos_token_id": 0,
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut tokenizer = posttrain(folder.path());
    tokenizer.arg("tokenizer").arg("--data");
    tokenizer.args((0..4).map(|kind| folder.path().join(format!("kind{kind}.jsonl"))));
    succeeds(tokenizer.arg("--out").arg(folder.path().join("tokenizer")).args(["--vocab-size", "288"]));
    let source = |name: &str, file: &str, held_out: f64| {
        format!("[[sources]]\nname = \"{name}\"\npaths = [\"{file}\"]\nheld_out = {held_out}\n")
    };
    let kinds: String =
        (0..4).map(|kind| source(&format!("kind{kind}"), &format!("kind{kind}.jsonl"), 0.1)).collect();
    let recipe = format!(
        "init = \"config.json\"\ntokenizer = \"tokenizer\"\nprecision = \"f32\"\nsave_precision = \"f32\"\n\
         batch_tokens = 256\nsequence_length = 64\nlearning_rate = 1e-2\neval_steps = 60\nsave_total_limit = 1\n\
         {kinds}{}[[stages]]\nname = \"all\"\ntokens = 15360\nphase = \"decay\"\nmixture = {{ kind0 = 1 }}\n",
        source("wanted", "wanted.jsonl", 0.9)
    );
    std::fs::write(folder.path().join("base.toml"), recipe).unwrap();
    folder
}

fn ablate(folder: &Path, plan: &str, more: &[&str]) -> Command {
    std::fs::write(folder.join("plan.toml"), format!("recipe = \"base.toml\"\n{plan}")).unwrap();
    let mut command = posttrain(folder);
    command.current_dir(folder).args(["ablate", "plan.toml", "--out", "out"]).args(more);
    command
}

const SWARM: &str =
    "targets = { wanted = 1 }\n[swarm]\ndomains = [\"kind0\", \"kind1\", \"kind2\", \"kind3\"]\nruns = 12\n";

/// The two kinds that the held-out documents of a world have.
fn planted(number: u64) -> (usize, usize) {
    let much = number as usize % 3;
    (much, (much + 1 + number as usize / 3 % 2) % 3)
}

#[test]
fn the_planted_mixture_is_proposed() {
    let worlds = if std::env::var_os(ALL).is_some() { 10 } else { 1 };
    let mut named = 0;
    for number in 0..worlds {
        let (much, some) = planted(number);
        let folder = world(number, much, some);
        succeeds(&mut ablate(folder.path(), SWARM, &["--propose"]));
        let summary = read_json(&folder.path().join("out/ablation.json"));
        let proposal = &summary["proposal"]["mixture"];
        let weight = |kind: usize| proposal[format!("kind{kind}")].as_f64().unwrap();
        let is_named = weight(much) + weight(some) > 0.8 && weight(much).min(weight(some)) > 0.2;
        let arms = summary["comparison"]["figures"][0]["arms"].as_array().unwrap();
        let lowest = arms.iter().map(|arm| arm["mean"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
        // Trained like the arms, the proposal is at least as good as the best of them.
        let plan = format!(
            "targets = {{ wanted = 1 }}\n[[arm]]\nname = \"proposal\"\nvalue = {}\n[[arm]]\nname = \"noise\"\n\
             value = {{ kind3 = 1 }}\n",
            toml_of(proposal)
        );
        succeeds(ablate(folder.path(), &plan, &[]).args(["--out", "confirmed"]));
        let confirmed = read_json(&folder.path().join("confirmed/ablation.json"));
        let reached = confirmed["comparison"]["figures"][0]["arms"][0]["mean"].as_f64().unwrap();
        println!(
            "world {number}: {much} and {some} are planted; {proposal}: loss {reached:.3}, best arm {lowest:.3}"
        );
        named += u64::from(is_named && reached < lowest + 0.02);
    }
    assert!(10 * named >= 9 * worlds, "{named} of {worlds}");
}

/// A mixture as a TOML table.
fn toml_of(mixture: &Value) -> String {
    let weights = mixture.as_object().unwrap().iter();
    let entries = weights.map(|(name, weight)| format!("{name} = {:.4}", weight.as_f64().unwrap()));
    format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
}

const ARMS: &str = "seeds = [1, 2]\ntargets = { kind0 = 1 }\n[[arm]]\nname = \"sentences\"\nvalue = { kind0 = 1 }\n\
    [[arm]]\nname = \"noise\"\nvalue = { kind3 = 1 }\n";

#[test]
fn arms_are_compared_pair_by_pair_and_only_under_equal_conditions() {
    let folder = world(0, 0, 1);
    let output = ablate(folder.path(), ARMS, &[]).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    let summary = read_json(&folder.path().join("out/ablation.json"));
    let objective = &summary["comparison"]["figures"][0];
    let noise = &objective["arms"][1];
    assert_eq!((&objective["name"], &noise["arm"]), (&json!("objective"), &json!("noise")));
    // Noise teaches nothing about sentences, with both seeds.
    let (difference, error) =
        (noise["difference"].as_f64().unwrap(), noise["error_over_seeds"].as_f64().unwrap());
    assert!(difference > 1.0 && difference > 2.0 * error, "{noise}");
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("Ablation of the mixture") && page.contains("eval_loss/kind0"));
    // Both arms began with the same weights and have the same data, and each run is repeated by its recipe.
    let weights = |name: &str| {
        read_json(&folder.path().join("out/runs").join(name).join("run.json"))["configuration"]["weights"]
            .clone()
    };
    assert_eq!(weights("sentences-seed1"), weights("noise-seed1"));
    let mut again = posttrain(folder.path());
    again.current_dir(folder.path()).args(["pretrain", "--recipe", "out/recipes/noise-seed2.toml"]);
    succeeds(again.args(["--out", "again"]));
    let model = |folder: &Path| std::fs::read(folder.join("model.safetensors")).unwrap();
    assert!(model(&folder.path().join("again")) == model(&folder.path().join("out/runs/noise-seed2")));
    // Nothing is trained twice.
    let before = model(&folder.path().join("out/runs/noise-seed1"));
    let output = ablate(folder.path(), ARMS, &[]).output().unwrap();
    assert!(text_of(&output).contains("is finished") || output.status.success(), "{}", text_of(&output));
    assert!(model(&folder.path().join("out/runs/noise-seed1")) == before);

    // One arm's data changes before it runs again.
    std::fs::remove_dir_all(folder.path().join("out/runs/noise-seed1")).unwrap();
    let text = std::fs::read_to_string(folder.path().join("kind3.jsonl")).unwrap();
    std::fs::write(folder.path().join("kind3.jsonl"), text.replace("\"text\":\"a", "\"text\":\"b")).unwrap();
    refused(&mut ablate(folder.path(), ARMS, &[]), "shards");
}

#[test]
fn a_plan_is_checked_before_the_first_run() {
    let folder = world(0, 0, 1);
    for (plan, words) in [
        (ARMS.replace("kind3", "kind9"), "kind9"),
        (ARMS.replace("seeds", "seed"), "unknown field `seed`"),
        (
            format!("vary = \"learning_rat\"\n{}", ARMS.replace("targets = { kind0 = 1 }\n", "")),
            "learning_rat",
        ),
    ] {
        refused(&mut ablate(folder.path(), &plan, &[]), words);
        assert!(!folder.path().join("out/runs/sentences-seed1").exists(), "{plan}");
    }
    refused(&mut ablate(folder.path(), ARMS, &["--propose"]), "needs at least 4 arms for 2 domains");
}

/// The value of a setting is what differs, and benchmark tasks are compared document by document.
#[test]
fn a_setting_may_vary_and_tasks_are_compared() {
    let folder = world(0, 0, 1);
    let rows = (0..12).map(|index| {
        let choices = json!({"text": ["mat", "let"], "label": ["A", "B"]});
        json!({"question": format!("The cat {index} sat on the"), "choices": choices, "answerKey": "A"})
    });
    let tasks = folder.path().join("tasks/ai2_arc/ARC-Easy");
    std::fs::create_dir_all(&tasks).unwrap();
    let text: Vec<String> = rows.map(|row: Value| row.to_string()).collect();
    std::fs::write(tasks.join("test.jsonl"), text.join("\n")).unwrap();
    let plan = "vary = \"learning_rate\"\ntasks = [\"arc_easy\"]\ntasks_data = \"tasks\"\nlimit = 12\n\
        [[arm]]\nname = \"low\"\nvalue = 1e-5\n[[arm]]\nname = \"high\"\nvalue = 1e-2\n";
    succeeds(&mut ablate(folder.path(), plan, &[]));
    let summary = read_json(&folder.path().join("out/ablation.json"));
    let figures = summary["comparison"]["figures"].as_array().unwrap();
    let task = figures.iter().find(|figure| figure["name"] == "arc_easy acc").unwrap();
    let high = &task["arms"][1];
    assert!(high["mean"].as_f64().unwrap() >= task["arms"][0]["mean"].as_f64().unwrap(), "{task}");
    assert!(high["error_over_documents"].is_number() && high["error_over_seeds"].is_null(), "{high}");
    let loss = figures.iter().find(|figure| figure["name"] == "loss of kind0").unwrap();
    assert!(loss["arms"][1]["difference"].as_f64().unwrap() < -0.5, "{loss}");
}
