#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use super::*;
use clap::Parser;
use std::process::Command;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    target: Target,
}

fn launch(arguments: &str) -> Result<String> {
    let words = arguments.split(' ').map(|word| word.replace('_', " "));
    Arguments::try_parse_from(std::iter::once("launch".to_owned()).chain(words))?.target.text()
}

const SCRIPT: &str = r#"#!/bin/bash
#SBATCH --job-name=smoltalk-gen
#SBATCH --array=0-99%20
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=logs/smoltalk-gen-%A-%a.log
#SBATCH --partition=cpu
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --comment="two words"

told=0
passed=0
signaled=0
worker=
# The first signal is passed on, so that the worker records what is under way and gives its shard back. A second one would end
# it at once.
pass_on() {
    signaled=1
    if [ -n "$worker" ] && [ "$passed" -eq 0 ]; then
        passed=1
        # Between its fork and its start a signal to it is lost.
        sleep 1
        kill -USR1 "$worker" 2>/dev/null
    fi
}
trap 'told=1; pass_on' USR1
trap pass_on TERM

module load gcc
smoltalk gen --teacher 'http://n1:8000/v1#it'\''s one' --shards 400 --out /data/out &
worker=$!
[ "$signaled" -eq 0 ] || pass_on
while true; do
    signaled=0
    wait "$worker"
    code=$?
    # A signal ends the wait, not the worker.
    [ "$signaled" -eq 1 ] || break
done
# USR1 says that the time is almost up: the job is queued again and continues. The worker ends with 75, or with more than 128
# if it did not listen yet. TERM alone does not queue it again: it comes of scancel, or Slurm queues the job again by itself.
if [ "$told" -eq 1 ] && { [ "$code" -eq 75 ] || [ "$code" -gt 128 ]; }; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
"#;

#[test]
fn a_script_for_slurm_is_an_array_of_the_same_command() {
    let script = launch(
        "slurm --workers 100 --at-once 20 --partition cpu --cpus 4 --memory 8G --logs logs --setup module_load_gcc --sbatch comment=two_words -- smoltalk gen --teacher http://n1:8000/v1#it's_one --shards 400 --out /data/out",
    );
    assert_eq!(script.unwrap(), SCRIPT);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.sh");
    std::fs::write(&path, SCRIPT).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&path).status().unwrap().success());
}

/// Runs the script with a worker of these lines and sends it signals as soon as there is a file `ready`; what is printed,
/// `scontrol` included, and the exit code.
fn signaled(worker: &str, signals: &[&str]) -> (String, Option<i32>) {
    signaled_in("true", worker, signals)
}

fn signaled_in(setup: &str, worker: &str, signals: &[&str]) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let tool = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(path).status().unwrap().success());
    };
    tool("scontrol", "echo \"$@\"");
    tool("worker", worker);
    let script =
        launch(&format!("slurm --workers 3 --setup {} -- ./worker --shards 3", setup.replace(' ', "_")));
    let script = script.unwrap();
    std::fs::write(folder.path().join("job.sh"), script).unwrap();
    let mut job = Command::new("bash");
    job.arg("job.sh").current_dir(folder.path()).stdout(std::process::Stdio::piped());
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    job.env("PATH", path).env("SLURM_ARRAY_JOB_ID", "7").env("SLURM_ARRAY_TASK_ID", "2");
    let job = job.spawn().unwrap();
    for signal in signals {
        while !folder.path().join("ready").exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([*signal, &job.id().to_string()]).status().unwrap().success());
        // Two at once would be taken in the order of their numbers.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let output = job.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[test]
fn a_script_passes_the_first_signal_on_and_is_queued_again_before_the_time_is_up() {
    let listens =
        "trap 'sleep 0.4; echo told; exit 75' USR1\necho ready > ready\nwhile true; do sleep 0.05; done";
    let (queued, plain) = ("told\nrequeue 7_2\n".to_owned(), "told\n".to_owned());
    assert_eq!(signaled(listens, &["-USR1"]), (queued.clone(), Some(75)));
    // At the end of the time a TERM follows.
    assert_eq!(signaled(listens, &["-USR1", "-TERM"]), (queued, Some(75)));
    // As of scancel.
    assert_eq!(signaled(listens, &["-TERM"]), (plain, Some(75)));
}

#[test]
fn a_worker_that_a_signal_ended_before_it_listened_is_queued_again() {
    // The signal comes while a line of `--setup` runs, and is passed on when there is a worker.
    let early = signaled_in("echo ready > ready; sleep 0.3", "while true; do sleep 0.05; done", &["-USR1"]);
    assert_eq!(early, ("requeue 7_2\n".to_owned(), Some(128 + 10)));
    let deaf = "echo ready > ready\nwhile true; do sleep 0.05; done";
    assert_eq!(signaled(deaf, &["-USR1"]), ("requeue 7_2\n".to_owned(), Some(128 + 10)));
    let (printed, code) = signaled(deaf, &["-TERM"]);
    assert!(printed.is_empty() && code > Some(128), "{printed} {code:?}");
    // What fails is not queued again.
    assert_eq!(signaled("exit 3", &[]), (String::new(), Some(3)));
}

#[test]
fn what_sbatch_would_read_otherwise_is_refused() {
    let refused = |arguments: &str| {
        launch(&format!("slurm --workers 3 {arguments} -- a b --shards 3")).unwrap_err().to_string()
    };
    for value in ["a\tb", "a'b", "a\"b", "a\\b", "a#b", "a\nb", "a\rb"] {
        assert!(refused(&format!("--account {value}")).contains("cannot be an option"), "{value:?}");
    }
    for option in ["exclusive_user", "two_words=1"] {
        assert!(refused(&format!("--sbatch {option}")).contains("give NAME=VALUE"), "{option}");
    }
    for name in ["a/b", "a%b"] {
        assert!(refused(&format!("--name {name}")).contains(name), "{name}");
    }
}

const MANIFEST: &str = r#"apiVersion: "batch/v1"
kind: "Job"
metadata:
  generateName: "smoleval-score-"
spec:
  completionMode: "Indexed"
  completions: 8
  parallelism: 8
  backoffLimitPerIndex: 6
  podFailurePolicy:
    rules:
      - action: "Ignore"
        onPodConditions:
          - type: "DisruptionTarget"
            status: "True"
      - action: "Ignore"
        onExitCodes:
          operator: "In"
          values:
            - 75
  template:
    spec:
      restartPolicy: "Never"
      terminationGracePeriodSeconds: 120
      containers:
        - name: "worker"
          image: "registry/smol:1"
          command:
            - "smoleval"
            - "score"
            - "--shards"
            - "32"
            - "--out"
            - "/data/scores"
            - "--workers"
            - "8"
          envFrom:
            - secretRef:
                name: "keys"
          resources:
            limits:
              memory: "8Gi"
              nvidia.com/gpu: "1"
          volumeMounts:
            - name: "shared-0"
              mountPath: "/data"
      volumes:
        - name: "shared-0"
          persistentVolumeClaim:
            claimName: "data"
"#;

#[test]
fn a_manifest_for_kubernetes_is_an_indexed_job() {
    let arguments = "kubernetes --workers 8 --image registry/smol:1 --volume data=/data --secret keys --gpus 1 --memory 8G -- smoleval score --shards 32 --out /data/scores";
    let manifest = launch(arguments).unwrap();
    assert_eq!(manifest, MANIFEST);
    let parsed: serde_json::Value = serde_saphyr::from_str(&manifest).unwrap();
    assert_eq!(parsed["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"][0], crate::AGAIN);
    assert_eq!(parsed["spec"]["template"]["spec"]["containers"][0]["command"][7], "8");
}

#[test]
fn kubernetes_replaces_nothing_in_a_command_and_takes_every_name() {
    let manifest = |arguments: &str| {
        let line = format!("kubernetes --workers 8 --image i --volume data=/data {arguments}");
        serde_saphyr::from_str::<serde_json::Value>(&launch(&line).unwrap()).unwrap()
    };
    let text = manifest("-- a --request $(KEY)$ --shards 3");
    assert_eq!(text["spec"]["template"]["spec"]["containers"][0]["command"][2], "$$(KEY)$$");
    let long = "x".repeat(90);
    for (given, expected) in [
        ("My_Job.v2", "my-job-v2-".to_owned()),
        ("-_a", "a-".to_owned()),
        ("ä_b", "b-".to_owned()),
        ("__", "job-".to_owned()),
        (&long, format!("{}-", "x".repeat(40))),
    ] {
        let text = manifest(&format!("--name={given} -- a --shards 3"));
        assert_eq!(text["metadata"]["generateName"], expected, "{given}");
    }
}

#[test]
fn what_would_do_all_the_work_many_times_is_refused() {
    let error = launch("slurm --workers 9 -- smoltalk gen --out o").unwrap_err().to_string();
    assert!(error.contains("no `--shards`") && error.contains("each of the 9 workers"), "{error}");
    let error = launch("kubernetes --workers 9 --image i --volume data -- a --shards 9").unwrap_err();
    assert!(error.to_string().contains("give CLAIM=PATH"), "{error}");
    assert!(launch("slurm --workers 9 --memory 8 -- a --shards 9").is_err());
}
