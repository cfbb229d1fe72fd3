use crate::programs::{killed_and_resumed, metric, posttrain, read_json, refused, succeeds, text_of};
use crate::workshop::Workshop;
use checkpoint::Checkpoint;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::shared_data;

/// A folder with rows, and the real checkpoint that tests train.
struct Runs {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Runs {
    fn new() -> Option<Self> {
        let model = shared_data()?.join("models/stories260k");
        let runs = Self { model, folder: tempfile::tempdir().unwrap() };
        let chat = |index: usize, words: &str| {
            json!({"messages": [
                {"role": "user", "content": format!("Tell me about cat {index}.")},
                {"role": "assistant", "content": format!("{words} {}.", index * 31 % 97)},
            ]})
        };
        runs.write("rows", (0..12).map(|index| chat(index, "The cat sat on mat")));
        runs.write("held-out", (0..6).map(|index| chat(index, "A dog ran to the old tree")));
        let labeled = |index: usize| {
            let completion =
                if index.is_multiple_of(2) { format!("It is {index}.") } else { "No.".to_owned() };
            json!({"prompt": format!("Say {index}."), "completion": completion, "label": index.is_multiple_of(2)})
        };
        runs.write("labeled", (0..40).map(labeled));
        Some(runs)
    }

    fn write(&self, name: &str, rows: impl Iterator<Item = Value>) {
        let text: Vec<String> = rows.map(|row| row.to_string()).collect();
        std::fs::write(self.path(&format!("{name}.jsonl")), text.join("\n")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Learns a few rows by heart, so that the held-out ones get worse.
    fn sft(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = posttrain(self.folder.path());
        command.arg("sft").arg("--model").arg(&self.model).arg("--data").arg(self.path("rows.jsonl"));
        command.arg("--out").arg(self.path(out)).args(["--max-length", "200", "--batch-size", "4"]);
        command.args(["--packing=false", "--learning-rate", "5e-3", "--precision", "f32"]);
        command.args(flags);
        command
    }

    fn evaluated(&self, out: &str, flags: &[&str]) -> Command {
        let mut command = self.sft(out, flags);
        command.args(["--eval-steps", "3", "--eval-data"]).arg(self.path("held-out.jsonl"));
        command
    }
}

fn weights(folder: &Path) -> Vec<f32> {
    let checkpoint = Checkpoint::open(folder.to_str().unwrap(), None).unwrap();
    checkpoint.weights.tensor("model.layers.0.mlp.down_proj.weight")
}

#[test]
fn the_best_evaluation_is_the_result_and_patience_ends_the_run() {
    let Some(runs) = Runs::new() else { return };
    let flags = ["--steps", "60", "--keep", "best", "--patience", "3", "--save-steps", "2"];
    let text = succeeds(&mut runs.evaluated("best", &flags));
    assert!(text.contains("the last 3 evaluations were no better"), "{text}");
    let out = runs.path("best");
    let run = read_json(&out.join("run.json"));
    let (best, steps) =
        (run["progress"]["best"][0].as_u64().unwrap(), run["progress"]["step"].as_u64().unwrap());
    assert!(best > 0 && steps == best + 9, "best at {best}, ended at {steps}");
    assert_eq!(run["state"], "finished");
    assert_eq!(weights(&out), weights(&out.join(format!("checkpoints/step-{best}"))));
    let losses = metric(&out, "eval_loss");
    assert_eq!(losses.len() as u64, steps / 3);
    // Killed and resumed, it ends at the same step with the same bits.
    killed_and_resumed(|| runs.evaluated("torn", &flags), &runs.path("torn"), 2);
    assert_eq!(metric(&runs.path("torn"), "eval_loss"), losses);
    assert_eq!(weights(&runs.path("torn")), weights(&out));
    for (flags, expected) in [
        (["--keep", "best"], "`keep` is `best`, but nothing is evaluated"),
        (["--patience", "2"], "`patience` is 2, but nothing is evaluated"),
    ] {
        refused(&mut runs.sft("none", &flags), expected);
    }
}

#[test]
fn a_time_limit_saves_and_the_same_command_resumes() {
    let Some(runs) = Runs::new() else { return };
    let flags = ["--steps", "40", "--save-steps", "100", "--save-precision", "f32"];
    succeeds(&mut runs.sft("whole", &flags));
    let limited = |limit: &str| {
        let mut command = runs.sft("limited", &flags);
        command.args(["--time-limit", limit]);
        command
    };
    let output = limited("0.001s").output().unwrap();
    assert_eq!(output.status.code(), Some(124), "{}", text_of(&output));
    assert!(text_of(&output).contains("saved a checkpoint; run the same command to resume"));
    assert_eq!(read_json(&runs.path("limited").join("run.json"))["state"], "interrupted");
    // The limit is no part of the run's identity.
    succeeds(&mut limited("none"));
    assert_eq!(weights(&runs.path("limited")), weights(&runs.path("whole")));
    let error = text_of(&limited("soon").output().unwrap());
    assert!(error.contains("`soon` is not a time; expected a number with a unit"), "{error}");
}

#[test]
fn checkpoints_are_averaged() {
    let Some(runs) = Runs::new() else { return };
    succeeds(&mut runs.sft("run", &["--steps", "4", "--save-steps", "2", "--save-precision", "f32"]));
    let [two, four] = ["step-2", "step-4"].map(|step| runs.path("run/checkpoints").join(step));
    let average = |out: &str, flags: &[&str]| {
        let mut command = posttrain(runs.folder.path());
        command.arg("average").args([&two, &four]).arg("--out").arg(runs.path(out)).args(flags);
        command
    };
    succeeds(&mut average("mean", &["--weights", "1,3"]));
    let mean = weights(&runs.path("mean"));
    for ((mean, two), four) in mean.iter().zip(weights(&two)).zip(weights(&four)) {
        assert!((mean - (0.25 * two + 0.75 * four)).abs() < 1e-6);
    }
    assert!(runs.path("mean/tokenizer.json").is_file());
    refused(&mut average("mean", &[]), "is not empty");
    refused(&mut average("other", &["--weights", "1"]), "`--weights` has 1 values for 2 checkpoints");
}

/// Good replies gain, bad ones lose, also over a frozen base; a kill changes no bit.
#[test]
fn kto_learns_from_single_replies() {
    let Some(runs) = Runs::new() else { return };
    let kto = |out: &str, flags: &[&str]| {
        let mut command = posttrain(runs.folder.path());
        command.arg("kto").arg("--model").arg(&runs.model).arg("--data").arg(runs.path("labeled.jsonl"));
        command.arg("--out").arg(runs.path(out)).args(["--max-length", "200", "--batch-size", "8"]);
        command.args(["--steps", "40", "--learning-rate", "1e-3", "--save-steps", "5"]).args(flags);
        command
    };
    for (out, flags) in [("kto", &[][..]), ("apo", &["--loss-type", "apo_zero_unpaired"])] {
        succeeds(&mut kto(out, flags));
        let margins = metric(&runs.path(out), "rewards/margins");
        assert!(margins[margins.len() - 1] > 0.5, "{out}: {margins:?}");
        let losses = metric(&runs.path(out), "loss");
        assert!((losses[0] - 0.5).abs() < 1e-2 && losses[losses.len() - 1] < 0.45, "{out}: {losses:?}");
    }
    assert!(metric(&runs.path("kto"), "kl").iter().any(|kl| *kl > 0.0));
    assert!(metric(&runs.path("apo"), "kl").iter().all(|kl| *kl == 0.0));
    killed_and_resumed(|| kto("torn", &[]), &runs.path("torn"), 2);
    assert_eq!(metric(&runs.path("torn"), "loss"), metric(&runs.path("kto"), "loss"));
    assert_eq!(weights(&runs.path("torn")), weights(&runs.path("kto")));
    let run = read_json(&runs.path("kto").join("run.json"));
    assert_eq!((run["rows"]["rows"].as_u64(), run["rows"]["dropped"].clone()), (Some(40), json!({})));
    runs.write(
        "labeled",
        (0..4).map(|index| json!({"prompt": format!("Say {index}."), "completion": "No.", "label": false})),
    );
    refused(&mut kto("one-sided", &[]), "nothing to train on");
}

/// The zones' days differ at every moment: a run that goes on after midnight is the same run, with the day on which it began.
#[test]
fn a_template_that_prints_the_date_keeps_the_day_of_the_runs_start() {
    let Some(runs) = Runs::new() else { return };
    let template = "Today is {{ strftime_now('%d %B %Y') }}.\n{% for message in messages %}<{{ message.role }}>\n{{ message.content }}</s>\n{% endfor %}";
    std::fs::write(runs.path("dated.jinja"), template).unwrap();
    let run = |zone: &str, steps: &str| {
        let mut command = runs.sft("dated", &["--steps", steps, "--save-steps", "2", "--accept-changes"]);
        command.arg("--chat-template").arg(runs.path("dated.jinja")).env("TZ", zone);
        let said = succeeds(&mut command);
        (said, read_json(&runs.path("dated/run.json"))["day"].clone())
    };
    let (_, day) = run("Pacific/Pago_Pago", "2");
    assert!(day.is_string());
    let (said, later) = run("Pacific/Kiritimati", "2");
    assert!(said.contains("has finished"), "{said}");
    let (said, longer) = run("Pacific/Kiritimati", "4");
    assert!(said.contains("resumed after step 2"), "{said}");
    assert_eq!((&later, &longer), (&day, &day));
}

/// Batches of another size go on with the rows that were not trained yet, and the run says so.
#[test]
fn another_batch_size_goes_on_where_the_run_was() {
    let workshop = Workshop::new();
    let run = |more: &[&str]| {
        let mut command = workshop.tune("sft", "chats.jsonl", "sft");
        command.args(["--shuffle=false", "--accept-changes"]).args(more);
        succeeds(&mut command)
    };
    // 24 rows: ten in steps of two, the others in steps of four.
    run(&["--steps", "5"]);
    let text = run(&["--steps", "0", "--epochs", "1", "--batch-size", "4"]);
    assert!(text.contains("after step 5 the run goes on where it was, at row 11 of 24 in epoch 1"), "{text}");
    assert!(text.contains("finished 9 steps"), "{text}");
    let epochs = metric(&workshop.path("sft/run"), "epoch");
    assert_eq!(epochs.last(), Some(&1.0), "{epochs:?}");
    // Every later process knows it, too.
    let text = run(&["--steps", "0", "--epochs", "2", "--batch-size", "4"]);
    assert!(text.contains("finished 15 steps") && !text.contains("goes on where it was, at row"), "{text}");
}

/// A model of 32 bits that is saved in 16 is another one: the run says so, and how to keep it.
#[test]
fn bits_that_are_not_saved_are_noted() {
    let workshop = Workshop::new();
    const NOTE: &str = "the checkpoint's weights have more bits than bf16";
    let run = |out: &str, precision: &str| {
        let mut command = workshop.tune("sft", "chats.jsonl", out);
        succeeds(command.args(["--steps", "2", "--save-precision", precision]))
    };
    assert!(run("bf16", "bf16").contains(NOTE));
    assert!(!run("f32", "f32").contains(NOTE));
}
