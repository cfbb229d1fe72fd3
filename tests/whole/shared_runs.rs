//! `--shards`: one dataset, byte for byte, from one process and from many, whatever is killed, paused or told to stop.

use crate::benchmarks::datasets;
use crate::programs::{program, read_json, succeeds, text_of};
use crate::scripted_teacher::ScriptedTeacher;
use crate::workshop::Workshop;
use files::hash::sha256_of_file;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The hashes of all files below a folder, without hidden ones.
fn hashes(folder: &Path) -> BTreeMap<PathBuf, String> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            let is_hidden = path.file_name().unwrap().to_string_lossy().starts_with('.');
            match path.is_dir() {
                _ if is_hidden => {}
                true => folders.push(path),
                false => {
                    let hash = sha256_of_file(&path).unwrap();
                    files.insert(path.strip_prefix(folder).unwrap().to_owned(), hash);
                }
            }
        }
    }
    files
}

/// The rows of a generated dataset, kept and dropped. The other files count calls, of which a kill may lose some.
pub(crate) fn rows(out: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = hashes(out);
    files.retain(|name, _| name.starts_with("data") || name == Path::new("dropped.jsonl"));
    assert!(files.len() > 1, "{files:?}");
    files
}

/// A shared `gen` of magpie-ultra.
fn generate(teacher: &ScriptedTeacher, out: &Path, rows: usize, more: &[&str]) -> Command {
    let mut command = program("smoltalk");
    command.args(["gen", "magpie-ultra", "--in-flight", "2", "--rows", &rows.to_string()]);
    command.args(["--teacher", &teacher.name, "--out"]).arg(out).args(more);
    command.stdout(Stdio::null());
    command
}

/// Starts a command; what it says is added to a file.
fn start(mut command: Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

fn ends_well(mut child: Child, log: &Path) {
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {}", std::fs::read_to_string(log).unwrap());
}

/// Runs so many workers and kills one at a time at a random moment, and starts another one in its place.
fn among_kills(command: impl Fn(usize) -> Command, workers: usize, kills: u64, pause: u64, log: &Path) {
    let mut children: Vec<Child> = (0..workers).map(|worker| start(command(worker), log)).collect();
    for kill in 0..kills {
        let draw = random::splitmix(kill + 7);
        std::thread::sleep(Duration::from_millis(5 + draw % pause));
        let worker = (draw >> 32) as usize % workers;
        assert!(children[worker].try_wait().unwrap().is_none(), "it ended after {kill} kills");
        children[worker].kill().unwrap();
        children[worker].wait().unwrap();
        children[worker] = start(command(worker), log);
    }
    children.into_iter().for_each(|child| ends_well(child, log));
}

/// The kills of a test: some, or a hundred.
fn kills(some: u64) -> u64 {
    if std::env::var("SMOL_ALL_KILLS").is_ok() { 100 } else { some }
}

#[test]
fn three_processes_make_the_dataset_of_one_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::from_millis(2), false);
    let path = |name: &str| folder.path().join(name);
    let tasks = ["gen", "--rows", "40", "--source"];
    // Long enough that a summary is shorter.
    let letter = |index: usize| {
        let lines = (0..60).map(|line| format!("Letter {index} is about {} boats.", index * 7 + line));
        json!({"text": lines.collect::<Vec<_>>().join(" ")}).to_string()
    };
    let source: Vec<String> = (0..40).map(letter).collect();
    std::fs::write(path("source.jsonl"), source.join("\n")).unwrap();
    let command = |out: &str, more: &[&str]| {
        let mut command = program("smoltalk");
        command.args(tasks).arg(path("source.jsonl")).args(["--teacher", &teacher.name, "--out"]);
        command.arg(path(out)).args(more);
        command
    };
    succeeds(&mut command("one", &[]));
    let log = path("log");
    let workers = ["0", "1", "2"].map(|worker| {
        start(command("three", &["--shards", "7", "--worker", worker, "--workers", "3"]), &log)
    });
    workers.into_iter().for_each(|child| ends_well(child, &log));
    let (mut one, mut three) = (hashes(&path("one")), hashes(&path("three")));
    // The same answers and rows in another order; the next command reads them.
    for files in [&mut one, &mut three] {
        files.retain(|name, _| {
            !name.to_string_lossy().starts_with("store.sqlite") && name != Path::new("calls-in-flight")
        });
        assert!(files.len() > 8, "{files:?}");
    }
    assert_eq!(one, three);
    let (asked, repeated) = teacher.requests();
    assert_eq!(repeated, asked / 2, "each dataset asks the same once");
    // What three processes made, one resumes, asking nothing: it is a run as any other.
    let again = text_of(&command("three", &[]).output().unwrap());
    assert_eq!((teacher.requests().0, again.contains("40 of 40 rows are decided")), (asked, true), "{again}");
    assert_eq!(rows(&path("one")), rows(&path("three")));
    // Workers that come later find nothing to do; others are refused.
    succeeds(&mut command("three", &["--shards", "7"]));
    let other = text_of(&command("three", &["--shards", "8"]).output().unwrap());
    assert!(other.contains("rows x7") && other.contains("rows x8"), "{other}");
    let plain = text_of(&command("one", &["--shards", "8"]).output().unwrap());
    assert!(plain.contains("a run of one process; remove `--shards`"), "{plain}");
}

#[test]
fn killed_workers_change_no_byte_and_pay_no_answer_twice_that_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let kills = kills(40);
    let count = 2 * kills as usize;
    let one = folder.path().join("one");
    let undisturbed = ScriptedTeacher::start(Duration::ZERO, false);
    succeeds(&mut generate(&undisturbed, &one, count, &[]));
    let teacher = ScriptedTeacher::start(Duration::from_millis(30), false);
    let (out, log) = (folder.path().join("killed"), folder.path().join("log"));
    let command = |worker: usize| {
        let place = worker.to_string();
        generate(&teacher, &out, count, &["--shards", "20", "--workers", "3", "--worker", &place])
    };
    let start = Instant::now();
    among_kills(command, 3, kills, 150, &log);
    let (asked, repeated) = teacher.requests();
    let run = read_json(&out.join("run.json"));
    let lost = run["calls"].as_array().unwrap().iter().filter(|entry| entry["outcome"] == "lost");
    let lost: usize = lost.map(|entry| entry["calls"].as_u64().unwrap() as usize).sum();
    println!(
        "{kills} kills in {:.1} s; {lost} calls were in flight; {repeated} of {asked} requests were repeated",
        start.elapsed().as_secs_f64()
    );
    assert_eq!(rows(&out), rows(&one));
    assert!(repeated <= lost, "only what was in flight at a kill is asked again: {repeated}, {lost}");
    // At most two at the teacher, and as many whose answers were on their way to the disk.
    assert!(lost <= kills as usize * 4, "{lost} lost in {kills} kills");
    assert_eq!(asked - repeated, undisturbed.requests().0);
}

#[cfg(unix)]
fn signal(child: &Child, signal: i32) {
    // SAFETY: a signal to a child that was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// Waits until a worker has recorded answers of a shard.
fn until_recorded(out: &Path) {
    let parts = out.join(".shards/parts");
    let is_recorded = || {
        std::fs::read_dir(&parts).into_iter().flatten().flatten().any(|entry| {
            entry.file_name().to_string_lossy().ends_with(".journal")
                && entry.metadata().is_ok_and(|it| it.len() > 0)
        })
    };
    while !is_recorded() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn a_paused_worker_loses_its_shard_and_the_rows_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::from_millis(20), false);
    let (one, out) = (folder.path().join("one"), folder.path().join("two"));
    succeeds(&mut generate(&teacher, &one, 24, &[]));
    let asked = teacher.requests();
    let logs = ["paused", "other"].map(|name| folder.path().join(name));
    let command = || generate(&teacher, &out, 24, &["--shards", "4", "--lease", "1"]);
    let paused = start(command(), &logs[0]);
    until_recorded(&out);
    signal(&paused, libc::SIGSTOP);
    // It finishes the whole dataset without the other one.
    ends_well(start(command(), &logs[1]), &logs[1]);
    let after = rows(&out);
    signal(&paused, libc::SIGCONT);
    ends_well(paused, &logs[0]);
    let said = std::fs::read_to_string(&logs[0]).unwrap();
    assert!(said.contains("another worker has"), "{said}");
    assert_eq!((rows(&out), &after), (after.clone(), &rows(&one)));
    let repeated = teacher.requests().1 - asked.0 - asked.1;
    assert!(repeated <= 4, "{repeated} requests were repeated within the second dataset");
}

#[cfg(unix)]
#[test]
fn a_worker_that_is_told_to_stop_gives_its_shard_back() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ScriptedTeacher::start(Duration::from_millis(20), false);
    let (out, log) = (folder.path().join("out"), folder.path().join("log"));
    // As Slurm says it: a job of an array, then a part of the array again.
    let command = |index: &str, count: &str| {
        let mut command = generate(&teacher, &out, 24, &["--shards", "4"]);
        command.env("SLURM_ARRAY_TASK_ID", index).env("SLURM_ARRAY_TASK_COUNT", count);
        command.env("SLURM_ARRAY_TASK_MIN", "0").env("SLURM_JOB_ID", "1");
        command
    };
    let mut child = start(command("2", "4"), &log);
    until_recorded(&out);
    signal(&child, libc::SIGUSR1);
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("worker 2 of 4 (SLURM_ARRAY_TASK_ID)"), "{said}");
    let status = || {
        let output = program("smoltalk").arg("status").arg(&out).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = status();
    assert!(before.contains("rows: 4 shards, 0 done, 0 running, 0 stale, 4 missing"), "{before}");
    let line = "smoltalk launch slurm --workers 4 -- smoltalk gen magpie-ultra --in-flight 2 --rows 24 ";
    assert!(before.contains(line) && before.trim_end().ends_with("--shards 4 | sbatch"), "{before}");
    let plain = text_of(&generate(&teacher, &out, 24, &[]).output().unwrap());
    assert!(plain.contains("a shared run that is not finished; give the same `--shards`"), "{plain}");
    ends_well(start(command("7", "1"), &log), &log);
    assert_eq!(teacher.requests().1, 0, "what was recorded before the signal is not asked again");
    assert!(status().trim_end().ends_with("complete"), "{}", status());
}

#[test]
fn pages_are_curated_by_three_processes_as_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("in")).unwrap();
    for file in 0..12_usize {
        // Every seventh page is one of another file, too.
        let page = |row: usize| {
            let number = if row.is_multiple_of(7) { row } else { file * 1000 + row };
            let words =
                (0..60).map(|word| format!("word{}", random::splitmix((number * 64 + word) as u64) % 997));
            json!({"text": words.collect::<Vec<_>>().join(" ")}).to_string()
        };
        let pages: Vec<String> = (0..400).map(page).collect();
        std::fs::write(path("in").join(format!("{file:02}.jsonl")), pages.join("\n")).unwrap();
    }
    let stages = ["extract", "exact_duplicates", "pii", "near_duplicates", "gopher_repetition"];
    let stages: String = stages.iter().map(|kind| format!("[[stage]]\nkind = \"{kind}\"\n")).collect();
    std::fs::write(path("recipe.toml"), format!("name = \"shared\"\n{stages}")).unwrap();
    let command = |out: &str, more: &[&str]| {
        let mut command = program("smoltalk");
        command.arg("curate").arg(path("in")).arg("--recipe").arg(path("recipe.toml"));
        command.arg("--out").arg(path(out)).args(more).env("RAYON_NUM_THREADS", "1");
        command
    };
    succeeds(&mut command("one", &[]));
    let one = hashes(&path("one"));
    assert!(one.len() > 4, "{one:?}");
    let log = path("log");
    let workers = [0, 1, 2].map(|_| start(command("three", &["--shards", "5"]), &log));
    workers.into_iter().for_each(|child| ends_well(child, &log));
    assert_eq!(hashes(&path("three")), one);
    among_kills(|_| command("killed", &["--shards", "12"]), 3, kills(6).min(12), 20, &log);
    assert_eq!(hashes(&path("killed")), one);
    assert!(!path("killed/.curate").exists(), "what is not needed any more is removed");
    let status = program("smoltalk").arg("status").arg(path("killed")).output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(
        status.contains("pass-1: 12 shards, 12 done") && status.contains("pass-2: 1 shards, 1 done"),
        "{status}"
    );
}

#[test]
fn documents_are_scored_by_three_processes_as_by_one() {
    let workshop = Workshop::new();
    let data = datasets(&workshop);
    let command = |out: &str, more: &[&str]| {
        let mut command = program("smoleval");
        command.arg("score").arg("--model").arg(format!("m={}", workshop.path("base/run").display()));
        command.args(["--tasks", "arc_easy"]).arg("--data").arg(&data).arg("--out").arg(workshop.path(out));
        command.current_dir(workshop.folder.path()).env("RAYON_NUM_THREADS", "1").args(more);
        command
    };
    let results = |out: &str| {
        let mut results = read_json(&workshop.path(out).join("m/results.json"));
        results["tasks"][0].as_object_mut().unwrap().remove("seconds");
        (results, sha256_of_file(&workshop.path(out).join("m/arc_easy.jsonl")).unwrap())
    };
    succeeds(&mut command("one", &[]));
    let log = workshop.path("log");
    let workers = [0, 1, 2].map(|_| start(command("three", &["--shards", "4"]), &log));
    workers.into_iter().for_each(|child| ends_well(child, &log));
    assert_eq!(results("three"), results("one"));
    let mut killed = start(command("killed", &["--shards", "4"]), &log);
    std::thread::sleep(Duration::from_millis(60));
    killed.kill().unwrap();
    killed.wait().unwrap();
    succeeds(&mut command("killed", &["--shards", "4"]));
    assert_eq!(results("killed"), results("one"));
    let error = text_of(&command("three", &["--shards", "4", "--limit", "3"]).output().unwrap());
    assert!(error.contains("a run with other settings (arc_easy was "), "{error}");
}
