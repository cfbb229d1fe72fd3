use crate::programs::{in_shell, metric, metric_lines, read_json, refused, succeeds, text_of};
use crate::workshop::Workshop;
use files::manifest::{Depth, FILE_NAME, Manifest};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A finished `posttrain sft` below `sft`.
fn finished() -> (Workshop, PathBuf) {
    let workshop = Workshop::new();
    succeeds(&mut sft(&workshop));
    let out = workshop.path("sft/run");
    (workshop, out)
}

fn sft(workshop: &Workshop) -> Command {
    workshop.tune("sft", "chats.jsonl", "sft")
}

/// The same training into another folder, with the same cache.
fn sft_again(workshop: &Workshop) -> Command {
    let mut command = sft(workshop);
    command.arg("--out").arg(workshop.path("sft/again"));
    command
}

fn model_of(out: &Path) -> Vec<u8> {
    std::fs::read(out.join("model.safetensors")).unwrap()
}

fn zeros(path: &Path) {
    std::fs::write(path, vec![0; std::fs::read(path).unwrap().len()]).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    std::fs::write(path, bytes).unwrap();
}

fn empty(path: &Path) {
    std::fs::write(path, "").unwrap();
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

const DAMAGES: [fn(&Path); 4] = [zeros, flip, empty, remove];

/// The only folder or file in a folder that is named by a hash (64 digits).
fn only(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = entries.filter(|path| path.file_name().unwrap().len() == 64).collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.pop().unwrap()
}

/// What a run is that was killed after its last checkpoint.
fn unfinish(out: &Path) {
    let text = std::fs::read_to_string(out.join("run.json")).unwrap();
    std::fs::write(out.join("run.json"), text.replace("\"finished\"", "\"running\"")).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_written_again() {
    let (workshop, out) = finished();
    let (model, checkpoint) = (model_of(&out), out.join("checkpoints/step-6"));
    for damage in DAMAGES {
        unfinish(&out);
        damage(&checkpoint.join("model.safetensors"));
        let text = succeeds(&mut sft(&workshop));
        assert!(
            text.contains("resumed after step 6") && text.contains("the checkpoint is written again"),
            "{text}"
        );
        assert!(model_of(&checkpoint) == model && model_of(&out) == model);
        let list = Manifest::read(&checkpoint.join(FILE_NAME)).unwrap().unwrap();
        list.check(&checkpoint, Depth::Checksums).unwrap();
    }
}

#[test]
fn a_finished_run_whose_model_is_damaged_writes_it_again() {
    let (workshop, out) = finished();
    let names = ["model.safetensors", "tokenizer.json", "config.json"];
    let whole = names.map(|name| std::fs::read(out.join(name)).unwrap());
    for (name, whole) in names.iter().zip(&whole) {
        for damage in DAMAGES {
            damage(&out.join(name));
            let text = succeeds(&mut sft(&workshop));
            assert!(
                text.contains("the model of the finished run is damaged") && text.contains(name),
                "{text}"
            );
            assert!(std::fs::read(out.join(name)).unwrap() == *whole, "{name}");
            assert!(succeeds(&mut sft(&workshop)).contains("this run has finished"));
        }
    }
    // Without a checkpoint to write it from, it is refused, and refused again.
    empty(&out.join("model.safetensors"));
    std::fs::rename(out.join("checkpoints"), out.join("elsewhere")).unwrap();
    for _ in 0..2 {
        refused(&mut sft(&workshop), "no checkpoint of it is left to resume from; give `--restart`");
    }
    succeeds(sft(&workshop).arg("--restart"));
    // Those before it hold the damaged files.
    let mut aside = (1..20).map(|number| out.join(format!("set-aside-{number}/metrics.jsonl")));
    assert!(model_of(&out) == whole[0] && aside.any(|path| path.is_file()));
}

#[test]
fn damaged_weights_are_not_trained_on() {
    let workshop = Workshop::new();
    flip(&workshop.path("base/run/model.safetensors"));
    refused(&mut sft(&workshop), "contains other bytes than checksums.json lists");
    remove(&workshop.path("base/run/checksums.json"));
    succeeds(&mut sft(&workshop));
}

#[test]
fn a_changed_letter_in_a_tokenizer_is_noticed() {
    let workshop = Workshop::new();
    for name in ["tokenizer.json", "config.json"] {
        let path = workshop.path("base/run").join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        let middle = changed.len() / 2;
        let letter = changed[middle..].iter().position(u8::is_ascii_lowercase).unwrap();
        changed[middle + letter].make_ascii_uppercase();
        std::fs::write(&path, changed).unwrap();
        refused(&mut sft(&workshop), &format!("{name} contains other bytes than were written"));
        std::fs::write(&path, whole).unwrap();
    }
    succeeds(&mut sft(&workshop));
}

#[test]
fn a_lost_run_json_is_restored_and_still_compared() {
    let (workshop, out) = finished();
    let model = model_of(&out);
    for damage in [zeros, empty, remove] {
        damage(&out.join("run.json"));
        refused(sft(&workshop).args(["--learning-rate", "0.5"]), "learning_rate was 0.01, is 0.5");
        let text = succeeds(&mut sft(&workshop));
        assert!(text.contains("restored from checkpoints/step-6"), "{text}");
        assert!(model_of(&out) == model && read_json(&out.join("run.json"))["state"] == "finished");
    }
    remove(&out.join("run.json"));
    std::fs::remove_dir_all(out.join("checkpoints")).unwrap();
    for _ in 0..2 {
        refused(&mut sft(&workshop), "contains a run, but its run.json is missing");
    }
    succeeds(sft(&workshop).arg("--restart"));
    assert!(model_of(&out) == model);
}

#[test]
fn a_report_that_cannot_be_written_ends_no_run() {
    let (workshop, out) = finished();
    remove(&out.join("report.html"));
    std::fs::create_dir_all(out.join("report.html/in-the-way")).unwrap();
    std::fs::remove_dir_all(out.join("tensorboard")).unwrap();
    std::fs::write(out.join("tensorboard"), "in the way").unwrap();
    let text = succeeds(sft(&workshop).args(["--accept-changes", "--steps", "8"]));
    assert!(text.contains("report.html") && text.contains("without TensorBoard events"), "{text}");
    assert!(!model_of(&out).is_empty());
}

#[test]
fn a_damaged_token_cache_is_made_again() {
    let (workshop, out) = finished();
    let store = only(&workshop.path("sft/cache"));
    for name in ["tokens.bin", "starts.bin", FILE_NAME] {
        for damage in DAMAGES {
            damage(&store.join(name));
            // Without its list a store is unfinished, which is no damage.
            let is_finished = store.join(FILE_NAME).is_file();
            let text = succeeds(sft_again(&workshop).arg("--restart"));
            assert_eq!(text.contains("tokenizing again"), is_finished, "{name}: {text}");
            assert!(model_of(&workshop.path("sft/again")) == model_of(&out), "{name}");
            let list = Manifest::read(&store.join(FILE_NAME)).unwrap().unwrap();
            list.check(&store, Depth::Checksums).unwrap();
        }
    }
}

/// A cleaner of caches empties the file that a run is reading: the run saves its steps and names the file.
#[test]
fn a_token_file_that_shrinks_under_a_run_saves_it() {
    let workshop = Workshop::new();
    let out = workshop.path("sft/run");
    let command = || {
        let mut command = sft(&workshop);
        command.args(["--steps", "4000", "--save-steps", "4000"]);
        command
    };
    let mut child = command().stderr(Stdio::piped()).spawn().unwrap();
    while metric_lines(&out).len() < 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    empty(&only(&workshop.path("sft/cache")).join("tokens.bin"));
    let output = child.wait_with_output().unwrap();
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("tokens.bin: it is shorter than") && text.contains(" is saved, run the same"),
        "{text}"
    );
    let text = succeeds(&mut command());
    assert!(text.contains("tokenizing again") && text.contains("resumed after step"), "{text}");
}

#[test]
fn damaged_reference_log_probabilities_are_computed_again() {
    let workshop = Workshop::new();
    let dpo = |out: &str| {
        let mut command = workshop.tune("dpo", "pairs.jsonl", "dpo");
        command.arg("--out").arg(workshop.path(out)).args(["--logging-steps", "1"]);
        command
    };
    succeeds(&mut dpo("dpo/run"));
    let model = model_of(&workshop.path("dpo/run"));
    let file = only(&workshop.path("dpo/cache/reference"));
    for damage in DAMAGES {
        damage(&file);
        // What a power loss leaves of a file that was being appended to.
        std::fs::write(file.with_extension("part"), [0; 512]).unwrap();
        succeeds(dpo("dpo/again").arg("--restart"));
        let out = workshop.path("dpo/again");
        assert!((metric(&out, "loss")[0] - f64::ln(2.0)).abs() < 1e-3);
        assert!(model_of(&out) == model && !file.with_extension("part").exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn standard_error_that_cannot_be_written_ends_no_run() {
    let workshop = Workshop::new();
    let status = in_shell("exec 2> /dev/full", &sft(&workshop)).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!model_of(&workshop.path("sft/run")).is_empty());
}

#[test]
fn a_strict_umask_holds_for_checkpoints() {
    let workshop = Workshop::new();
    assert!(in_shell("umask 077", &sft(&workshop)).status().unwrap().success());
    let mode =
        |name: &str| workshop.path("sft/run").join(name).metadata().unwrap().permissions().mode() & 0o777;
    for folder in ["", "checkpoints", "checkpoints/step-6"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
    for file in
        ["run.json", "model.safetensors", "checkpoints/step-6/training_state.safetensors", "metrics.jsonl"]
    {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}
