//! The project's own programs, built once for all tests.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// A command of the program of that name.
pub(crate) fn program(name: &str) -> Command {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    Command::new(FOLDER.get_or_init(build).join(name))
}

/// A path of the project, from its root.
pub(crate) fn of_project(path: &str) -> PathBuf {
    // Tests run in their package's folder; what was compiled in may name another clone with the same build folder.
    std::env::current_dir().unwrap().join("..").join(path).canonicalize().unwrap()
}

/// `posttrain` with a folder for all it keeps.
pub(crate) fn posttrain(folder: &Path) -> Command {
    let mut command = program("posttrain");
    command.env("XDG_CACHE_HOME", folder.join("cache")).env("SMOL_PEAK_TFLOPS", "0.2");
    command
}

/// A command in a shell that prepares it, for example by a limit.
pub(crate) fn in_shell(prepare: &str, command: &Command) -> Command {
    let mut shell = Command::new("bash");
    shell
        .arg("-c")
        .arg(format!("{prepare}; exec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// What a program said on its standard error.
pub(crate) fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Exit code 0; returns what was said.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    text_of(&output)
}

/// Hugging Face `datasets` loads what was written, that many configurations, where SMOL_PYTHON names a Python that has
/// it.
#[track_caller]
pub(crate) fn loads_with_datasets(out: &Path, configurations: usize) {
    let Ok(python) = std::env::var("SMOL_PYTHON") else {
        assert!(std::env::var("SMOL_REQUIRE_PYTHON").is_err(), "SMOL_PYTHON is not set");
        eprintln!("SMOL_PYTHON is not set: load_dataset is not tried");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("load_dataset.py");
    let output = Command::new(python).arg(script).arg(out).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), configurations);
}

/// Exit code 2 and a last line that names the thing.
#[track_caller]
pub(crate) fn refused(command: &mut Command, expected: &str) {
    let output = command.output().unwrap();
    let text = text_of(&output);
    let last = text.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(last.starts_with("posttrain: ") && last.contains(expected), "{text}");
}

/// Kills the command again and again, each time when one more checkpoint stands, and starts it again until it ends by
/// itself.
pub(crate) fn killed_and_resumed(mut command: impl FnMut() -> Command, out: &Path, kills: u64) {
    let newest = || posttrain::checkpoints::steps(&out.join("checkpoints")).pop();
    for kill in 0..kills {
        let before = newest();
        let mut child = command().stderr(Stdio::null()).spawn().unwrap();
        while newest() == before {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        // At another moment of the steps that follow.
        std::thread::sleep(Duration::from_millis(kill * 7 % 23));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let text = succeeds(&mut command());
    assert!(text.contains("resumed after step"), "{text}");
}

/// The lines of a run's metrics.jsonl.
pub(crate) fn metric_lines(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    // A run that goes on may be in the middle of its last line.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The numbers of one name, in order.
pub(crate) fn metric(out: &Path, name: &str) -> Vec<f64> {
    metric_lines(out).iter().filter_map(|line| line[name].as_f64()).collect()
}

pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Builds all programs; the folder they lie in. The whole workspace's selection keeps the features, and so the
/// build, of the test command.
fn build() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or("cargo".to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut build = Command::new(cargo);
    build.args(["build", "--locked", "--quiet", "--workspace", "--bins", "--tests"]).current_dir(root);
    // What cargo tells this test about itself would make the build scripts of some crates run again.
    let told = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_") && name != "CARGO_HOME" && name != "CARGO_TARGET_DIR"
    });
    for name in told.chain(["LD_LIBRARY_PATH".into()]) {
        build.env_remove(name);
    }
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success());
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().to_owned()
}
