//! What `smoltalk` does to folders, terminals and hosts that are not its own: nothing of the user's is lost, an interrupted
//! command ends as an undisturbed one, and whoever answers a call does not decide who gets the next one.

use crate::local_http::serve;
use crate::programs::{in_shell, program, succeeds, text_of};
use crate::scripted_teacher::ScriptedTeacher;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const RECIPE: &str = "name = \"Soup\"\n[[source]]\nname = \"a\"\ndata = \"a.jsonl\"\ncount = COUNT\n";

/// 400 conversations in a.jsonl, and a recipe that takes 300 of them.
fn kitchen() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let row = |index: usize| {
        let text = format!("What is {index} times {}? Say it with {} words.", index * 7, index % 13);
        json!({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": format!("{index}")}]})
    };
    let rows: String = (0..400).map(|index| format!("{}\n", row(index))).collect();
    std::fs::write(folder.path().join("a.jsonl"), rows).unwrap();
    std::fs::write(folder.path().join("recipe.toml"), RECIPE.replace("COUNT", "300")).unwrap();
    folder
}

fn smoltalk(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program("smoltalk");
    command.current_dir(folder).args(arguments);
    command
}

/// Every file below a folder with its bytes; of the lock only the name, because it names the process.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_owned();
            let bytes = if name == Path::new(".lock") { Vec::new() } else { std::fs::read(&path).unwrap() };
            files.insert(name, bytes);
        }
    }
    files
}

const MIX: [&str; 4] = ["mix", "recipe.toml", "--out", "out"];
const CLEAN: [&str; 4] = ["clean", "a.jsonl", "--out", "out"];

#[test]
fn a_killed_mix_or_clean_ends_as_an_undisturbed_one() {
    for arguments in [MIX, CLEAN] {
        let undisturbed = kitchen();
        succeeds(&mut smoltalk(undisturbed.path(), &arguments));
        let expected = content(&undisturbed.path().join("out"));
        let killed = kitchen();
        let mut delay = Duration::from_millis(1);
        loop {
            let mut child =
                smoltalk(killed.path(), &arguments).stderr(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(delay);
            // A process that has ended cannot be killed; one that ended by itself succeeded.
            let _ = child.kill();
            let status = child.wait().unwrap();
            assert!(status.success() || status.code().is_none(), "{arguments:?} after {delay:?}: {status}");
            if status.success() {
                break;
            }
            delay += Duration::from_millis(4) + delay / 8;
        }
        assert_eq!(content(&killed.path().join("out")), expected, "{arguments:?}");
        // The result stays while the next one is written, and is replaced by the same bytes.
        let mut child = smoltalk(killed.path(), &arguments).spawn().unwrap();
        std::thread::sleep(delay / 3);
        let _ = child.kill();
        child.wait().unwrap();
        succeeds(&mut smoltalk(killed.path(), &arguments));
        assert_eq!(content(&killed.path().join("out")), expected, "{arguments:?}");
    }
}

#[test]
fn a_mix_needs_few_open_files_and_respects_the_umask() {
    let folder = kitchen();
    let output = in_shell("ulimit -n 32; umask 077", &smoltalk(folder.path(), &MIX)).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
    for name in content(&folder.path().join("out")).keys() {
        let mode = folder.path().join("out").join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", name.display());
    }
}

#[test]
fn a_full_disk_keeps_the_earlier_result_and_names_the_file() {
    for arguments in [MIX, CLEAN] {
        let folder = kitchen();
        succeeds(&mut smoltalk(folder.path(), &arguments));
        let before = content(&folder.path().join("out"));
        // A limit on file size stands for a full disk.
        let output = in_shell("ulimit -f 1", &smoltalk(folder.path(), &arguments)).output().unwrap();
        let error = text_of(&output);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.lines().last().unwrap().contains("out/.writing-"), "{error}");
        assert!(error.lines().last().unwrap().starts_with("smoltalk: cannot write "), "{error}");
        assert_eq!(content(&folder.path().join("out")), before, "{arguments:?}");
        succeeds(&mut smoltalk(folder.path(), &arguments));
        assert_eq!(content(&folder.path().join("out")), before);
    }
}

#[test]
fn results_that_cannot_be_printed_are_an_error_and_messages_are_none() {
    let folder = kitchen();
    let full = |name: &str| {
        in_shell(&format!("exec {name}> /dev/full"), &smoltalk(folder.path(), &MIX)).output().unwrap()
    };
    let output = full("1");
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    assert!(text_of(&output).contains("cannot write the results to standard output"), "{}", text_of(&output));
    assert!(folder.path().join("out/mix.json").is_file());
    assert_eq!(full("2").status.code(), Some(0));
}

#[test]
fn no_name_of_a_file_reaches_the_terminal_raw() {
    let folder = tempfile::tempdir().unwrap();
    let name = "a\u{1b}]0;title\u{7}\u{202e}\nsmoltalk: all is well.jsonl";
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data").join(name), "no json").unwrap();
    let output = smoltalk(folder.path(), &["clean", "data", "--out", "out"]).output().unwrap();
    let error = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(r"\u{1b}]0;title\u{7}\u{202e}"), "{error}");
    assert!(!error.contains('\u{1b}') && !error.contains('\u{202e}'), "{error}");
    assert!(!error.lines().any(|line| line.starts_with("smoltalk: all is well")), "{error}");
}

#[test]
fn a_bit_of_a_mix_is_noticed_by_its_readers_and_by_verify() {
    let folder = kitchen();
    succeeds(&mut smoltalk(folder.path(), &MIX));
    let verify = |code: i32, expected: &str| {
        let output = smoltalk(folder.path(), &["verify", "out"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(expected), "{text}");
    };
    verify(0, "nothing differs");
    let shard = folder.path().join("out/data/default/train-00000-of-00001.parquet");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    verify(1, "remedy: run the same `smoltalk mix` command again");
    let output = smoltalk(folder.path(), &["clean", "out", "--out", "cleaned"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text_of(&output).contains("contains other bytes than checksums.json lists"),
        "{}",
        text_of(&output)
    );
    succeeds(&mut smoltalk(folder.path(), &MIX));
    verify(0, "nothing differs");
}

#[test]
fn gen_refuses_a_folder_of_the_users_before_any_call() {
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    for name in ["README.md", "notes.txt", "data/train.jsonl", "calls-in-flight"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let theirs = folder.path().join("../theirs");
        if name == "calls-in-flight" {
            std::os::unix::fs::symlink(&theirs, &path).unwrap();
        } else {
            std::fs::write(&path, "mine").unwrap();
        }
        let arguments = ["gen", "magpie-ultra", "--rows", "3", "--teacher", &teacher.name, "--out", "."];
        let output = smoltalk(folder.path(), &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text_of(&output));
        let error = text_of(&output);
        assert!(error.contains("did not write") || error.contains("is a link"), "{error}");
        assert!(!theirs.exists() && !folder.path().join("store.sqlite").exists());
    }
    assert_eq!(teacher.requests().0, 0);
}

#[test]
fn gen_and_clean_respect_the_umask() {
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    let folder = kitchen();
    let generate = ["gen", "magpie-ultra", "--rows", "3", "--teacher", &teacher.name, "--out", "out"];
    let clean = ["clean", "a.jsonl", "--out", "cleaned"];
    for (arguments, out) in [(&generate[..], "out"), (&clean[..], "cleaned")] {
        let output = in_shell("umask 077", &smoltalk(folder.path(), arguments)).output().unwrap();
        assert!(output.status.success(), "{}", text_of(&output));
        for name in content(&folder.path().join(out)).keys() {
            let mode = folder.path().join(out).join(name).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{out}: {}", name.display());
        }
    }
}

/// A run over an earlier, larger dataset: what it made is replaced, and an edited card is kept.
#[test]
fn gen_again_replaces_only_its_own_files() {
    let teacher = ScriptedTeacher::start(Duration::ZERO, false);
    let folder = tempfile::tempdir().unwrap();
    let run = |rows: &str| {
        let arguments = ["gen", "magpie-ultra", "--rows", rows, "--teacher", &teacher.name, "--out", "out"];
        succeeds(&mut smoltalk(folder.path(), &arguments))
    };
    run("8");
    let out = folder.path().join("out");
    std::fs::write(out.join("README.md"), "edited by hand").unwrap();
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    std::fs::write(out.join("data/magpie-ultra/notes.txt"), "mine").unwrap();
    assert!(run("12").contains("it is kept as out/set-aside-1/README.md"));
    assert_eq!(std::fs::read_to_string(out.join("set-aside-1/README.md")).unwrap(), "edited by hand");
    for name in ["notes.txt", "data/magpie-ultra/notes.txt"] {
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), "mine");
    }
    let output = smoltalk(folder.path(), &["verify", "out"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Answers the list of models, and redirects every call elsewhere.
fn redirecting(status: StatusCode, target: String) -> String {
    let call = move |_: Uri| {
        let target = target.clone();
        async move { (status, [("location", target)], "").into_response() }
    };
    let models = get(async || Json(json!({"data": [{"id": "m"}]})));
    serve(Router::new().route("/v1/models", models).fallback(any(call)))
}

#[test]
fn a_teacher_cannot_send_its_clients_on() {
    let elsewhere = Arc::new(AtomicUsize::new(0));
    let counted = elsewhere.clone();
    let theirs = serve(Router::new().fallback(any(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Json(Value::Null) }
    })));
    let folder = kitchen();
    for status in [StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT] {
        let teacher = format!("{}/v1#m", redirecting(status, format!("{theirs}/v1/chat/completions")));
        let commands: [&[&str]; 3] = [
            &["gen", "magpie-ultra", "--rows", "2", "--teacher", &teacher, "--out", "run"],
            &["gen", "magpie-ultra", "--rows", "2", "--teacher", &teacher, "--out", "batches", "--batch"],
            &["clean", "a.jsonl", "--embeddings", &teacher, "--out", "cleaned"],
        ];
        for arguments in commands {
            let output = smoltalk(folder.path(), arguments).output().unwrap();
            let error = text_of(&output);
            assert_eq!(output.status.code(), Some(2), "{status} {arguments:?}: {error}");
            assert!(error.contains("redirects") && error.contains(&theirs), "{error}");
        }
    }
    assert_eq!(elsewhere.load(Ordering::Relaxed), 0, "nothing reached the other host");
}
