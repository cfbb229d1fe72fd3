//! Code in the sandbox, through `smoleval rescore`: reference solutions pass, attacks fail.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod shared;

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Scores replies to a code task; returns `pass@1` of each.
fn pass(task: &str, answers: &[(Value, String)]) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let record = |(index, (gold, response)): (usize, &(Value, String))| {
        json!({
            "task": task, "doc_id": index, "key": index.to_string(), "scorer": "", "query": "", "gold": gold,
            "response": response, "finish": "stop", "tokens": 1, "metrics": {},
        })
    };
    let lines: String = answers.iter().enumerate().map(|one| format!("{}\n", record(one))).collect();
    let path = folder.path().join(format!("{task}.jsonl"));
    std::fs::write(&path, lines).unwrap();
    let results = json!({
        "program": "test", "name": "m", "model": {}, "groups": [],
        "tasks": [{"task": task, "scorer": "", "shots": 0, "documents": answers.len(), "metrics": [], "files": {},
                   "first_prompt": "", "first_prompt_ids": [], "seconds": 0.0}],
    });
    std::fs::write(folder.path().join("results.json"), results.to_string()).unwrap();
    let arguments = ["rescore", "--allow-code"];
    let output =
        Command::new(env!("CARGO_BIN_EXE_smoleval")).args(arguments).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&path).unwrap();
    let row =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["metrics"]["pass@1"].as_f64().unwrap();
    text.lines().map(row).collect()
}

fn can_sandbox() -> bool {
    let is_there = cfg!(target_os = "linux") && Path::new("/usr/bin/python3").exists()
        || Path::new("/usr/local/bin/python3").exists();
    if !is_there {
        println!("skipped: no python3 of the system");
    }
    is_there
}

#[test]
fn attacks_fail_and_honest_code_passes() {
    if !can_sandbox() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let (outside, secret) = (outside.path().join("new"), secret.display().to_string());
    // An honest program passes, also with threads, files of its own, deep recursion and much output.
    let honest = [
        "x = 1",
        "import threading\nt = threading.Thread(target=lambda: None)\nt.start(); t.join()",
        "open('own.txt', 'w').write('text'); assert open('own.txt').read() == 'text'",
        "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nassert f(900) == 900",
        "print('x' * 1_000_000)",
        "if __name__ == '__main__':\n    raise RuntimeError('never runs')",
        "import math, typing, hashlib, collections, re, heapq, itertools, random, datetime",
    ];
    // An attack passes if it reaches what it should not.
    let pid = std::process::id();
    let attacks = [
        "import socket\nsocket.socket()".to_owned(),
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1', timeout=1)".to_owned(),
        format!("open({:?}, 'w')", outside.display().to_string()),
        format!("assert open({secret:?}).read() == 'secret'"),
        "open('/etc/passwd').read()".to_owned(),
        "import os\nassert os.listdir('/proc')".to_owned(),
        "import os\nos.fork()".to_owned(),
        "import subprocess\nsubprocess.run(['/bin/true'], check=True)".to_owned(),
        "x = bytearray(3 << 30)".to_owned(),
        "while True:\n    pass".to_owned(),
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass".to_owned(),
        format!("import os\nos.kill({pid}, 0)"),
        "import os, signal\nos.kill(-1, signal.SIGKILL)".to_owned(),
        "import os\nos._exit(0)".to_owned(),
        "raise SystemExit(0)".to_owned(),
        "import sys\nsys.exit(0)".to_owned(),
        "open('big', 'wb').write(b'x' * (8 << 20))".to_owned(),
        "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0".to_owned(),
        "assert False".to_owned(),
    ];
    let answers: Vec<(Value, String)> = honest
        .iter()
        .map(|code| (*code).to_owned())
        .chain(attacks.iter().cloned())
        .map(|code| (json!("pass"), code))
        .collect();
    let passed = pass("mbpp", &answers);
    for ((_, code), passed) in answers.iter().zip(&passed).take(honest.len()) {
        assert_eq!(*passed, 1.0, "{code}");
    }
    for ((_, code), passed) in answers.iter().zip(&passed).skip(honest.len()) {
        assert_eq!(*passed, 0.0, "{code}");
    }
    assert!(!outside.exists());
}

#[test]
fn code_is_not_run_without_permission() {
    let folder = tempfile::tempdir().unwrap();
    let results = json!({
        "program": "test", "name": "m", "model": {}, "groups": [],
        "tasks": [{"task": "mbpp", "scorer": "", "shots": 0, "documents": 0, "metrics": [], "files": {},
                   "first_prompt": "", "first_prompt_ids": [], "seconds": 0.0}],
    });
    std::fs::write(folder.path().join("results.json"), results.to_string()).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_smoleval")).arg("rescore").arg(folder.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("`--allow-code`"), "{error}");
}

#[test]
fn reference_solutions_pass() {
    let Some(shared) = shared::shared_data().map(|data| data.join("evaluation")) else { return };
    if !can_sandbox() {
        return;
    }
    let rows = |name: &str| {
        let path = shared.join(name);
        let objects = datasets::file_objects(&path).unwrap();
        objects.map(|row| Value::Object(row.unwrap().1)).collect::<Vec<_>>()
    };
    let answers: Vec<(Value, String)> = rows("humaneval/HumanEval.jsonl.gz")
        .into_iter()
        .map(|row| (row.clone(), row["canonical_solution"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(answers.len(), 164);
    let failed = |answers: &[(Value, String)], passed: &[f64]| -> Vec<String> {
        let failed = answers.iter().zip(passed).filter(|(_, passed)| **passed != 1.0);
        failed.map(|((gold, _), _)| format!("{:.60}", gold.to_string())).collect()
    };
    assert_eq!(failed(&answers, &pass("humaneval", &answers)), Vec::<String>::new());
    let tests = |row: &Value| {
        let tests: Vec<&str> =
            row["test_list"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        json!(tests.join("\n"))
    };
    let answers: Vec<(Value, String)> = rows("mbpp/mbpp.jsonl")
        .into_iter()
        .filter(|row| (11..=510).contains(&row["task_id"].as_u64().unwrap()))
        .map(|row| {
            // lm-evaluation-harness leaves `test_setup_code` out, and so does the task; some solutions need it.
            let setup = row["test_setup_code"].as_str().unwrap_or_default();
            (tests(&row), format!("{}\n{setup}", row["code"].as_str().unwrap()))
        })
        .collect();
    assert_eq!(answers.len(), 500);
    assert_eq!(failed(&answers, &pass("mbpp", &answers)), Vec::<String>::new());
}
