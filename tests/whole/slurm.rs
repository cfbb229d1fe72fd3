//! `--shards` under a real Slurm: an array of jobs on two nodes of this machine, among kills.

use crate::programs::{of_project, program, read_json, succeeds};
use crate::scripted_teacher::ScriptedTeacher;
use crate::shared_runs::rows;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A cluster that ends with the test.
struct Cluster {
    folder: TempDir,
    /// Commands that make it known to a shell.
    environment: String,
}

impl Cluster {
    /// Starts it; `None`, with the reason, unless it is asked for.
    fn start() -> Option<Self> {
        if std::env::var("SMOL_REQUIRE_SLURM").is_err() {
            eprintln!(
                "skipped: it downloads Slurm and starts its daemons; set SMOL_REQUIRE_SLURM=1 to run it"
            );
            return None;
        }
        // Stopped also if it does not start.
        let mut slurm = Self { folder: tempfile::tempdir().unwrap(), environment: String::new() };
        let output = cluster("start", slurm.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        slurm.environment = String::from_utf8(output.stdout).unwrap();
        Some(slurm)
    }

    /// What a line of a shell on the cluster prints.
    #[track_caller]
    fn shell(&self, line: &str) -> String {
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("{}\n{line}", self.environment)]).current_dir(self.folder.path());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(cluster("stop", self.folder.path()).status());
    }
}

fn cluster(verb: &str, folder: &Path) -> Command {
    let mut command = Command::new(of_project("tests/slurm/cluster"));
    command.arg(verb).arg(folder);
    command
}

/// The processes that hold claims. One that ended may have left its number to another process, which is not a worker.
fn workers(out: &Path) -> Vec<i32> {
    let claims = std::fs::read_dir(out.join(".shards/claims")).into_iter().flatten().flatten();
    let claims = claims.filter(|claim| !claim.file_name().to_string_lossy().starts_with('.'));
    let texts = claims.filter_map(|claim| std::fs::read(claim.path()).ok());
    let claims = texts.filter_map(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let processes = claims.filter_map(|claim| Some(claim["owner"]["process"].as_i64()? as i32));
    let out = out.to_string_lossy();
    let is_worker = |process: &i32| {
        let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&*out)
    };
    processes.filter(is_worker).collect()
}

#[test]
fn an_array_on_two_nodes_makes_the_dataset_of_one_process() {
    let Some(slurm) = Cluster::start() else { return };
    let path = |name: &str| slurm.folder.path().join(name);
    let smoltalk = program("smoltalk").get_program().to_string_lossy().into_owned();
    let generate = format!("{smoltalk} gen magpie-ultra --rows 90 --in-flight 2");
    let undisturbed = ScriptedTeacher::start(Duration::ZERO, false);
    slurm.shell(&format!("{generate} --teacher {} --out one", undisturbed.name));
    let teacher = ScriptedTeacher::start(Duration::from_millis(30), false);
    let out = path("array");
    let command =
        format!("{generate} --teacher {} --out {} --shards 12 --lease 2", teacher.name, out.display());
    let launch =
        format!("{smoltalk} launch slurm --workers 6 --time 10 --logs {} -- {command}", path("").display());
    slurm.shell(&format!("{launch} > job.sh && sbatch job.sh"));
    let start = Instant::now();
    let mut killed = Vec::new();
    let is_done = || out.join(".shards/done/finish-00000").exists();
    while !is_done() {
        std::thread::sleep(Duration::from_millis(200));
        if start.elapsed() > Duration::from_secs(90) {
            panic!(
                "{}\n{}",
                slurm.shell("squeue; sinfo; tail -n 3 *.log state/*.log"),
                slurm.shell(&format!("{smoltalk} status {}", out.display()))
            );
        }
        // Two workers of the four that run, then a node with all that runs on it, as if its power were cut.
        let alive = workers(&out).into_iter().find(|process| !killed.contains(process));
        if let (true, Some(process)) = (killed.len() < 2, alive) {
            // SAFETY: a worker of this test's own cluster.
            unsafe { libc::kill(process, libc::SIGKILL) };
            killed.push(process);
            if killed.len() == 2 {
                assert!(cluster("kill", slurm.folder.path()).arg("two").status().unwrap().success());
            }
        }
    }
    let log = slurm.shell("cat smoltalk-gen-*.log");
    assert!(log.contains("of 6 (SLURM_ARRAY_TASK_ID)"), "{log}");
    assert_eq!(killed.len(), 2, "it ended too soon");
    assert_eq!(rows(&out), rows(&path("one")));
    let run = read_json(&out.join("run.json"));
    let lost = run["calls"].as_array().unwrap().iter().filter(|entry| entry["outcome"] == "lost");
    let lost: usize = lost.map(|entry| entry["calls"].as_u64().unwrap() as usize).sum();
    let (asked, repeated) = teacher.requests();
    println!(
        "{:.1} s, 2 workers and a node killed; {lost} calls were in flight, {repeated} of {asked} requests were repeated",
        start.elapsed().as_secs_f64()
    );
    assert!(repeated <= lost, "{repeated} of {asked} requests were repeated, {lost} were in flight");
    // A part of the array again finds that all is done.
    slurm.shell("sbatch --wait --array=1,4 job.sh");
    assert_eq!(teacher.requests().0, asked);
    succeeds(program("smoltalk").arg("status").arg(&out));
}
