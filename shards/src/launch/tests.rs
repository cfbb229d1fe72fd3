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

module load gcc
# A signal is passed on, so that the worker records what is under way and gives its shard back.
smoltalk gen --teacher 'http://n1:8000/v1#it'\''s one' --shards 400 --out /data/out &
worker=$!
trap 'signaled=1; kill -USR1 "$worker"' USR1 TERM
signaled=1
while [ "$signaled" -eq 1 ]; do
    signaled=0
    wait "$worker"
    code=$?
done
# 75: stopped by a signal; the job is queued again and continues.
if [ "$code" -eq 75 ]; then
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

/// The script with a worker that says which signal it gets, and a `scontrol` that says what it is asked.
#[test]
fn a_script_passes_a_signal_on_and_is_queued_again() {
    let folder = tempfile::tempdir().unwrap();
    let tool = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
        assert!(Command::new("chmod").arg("+x").arg(path).status().unwrap().success());
    };
    tool("scontrol", "echo \"$@\"");
    tool(
        "worker",
        "trap 'sleep 0.2; echo told; exit 75' USR1\necho ready > ready\nwhile true; do sleep 0.05; done",
    );
    let script = launch("slurm --workers 3 -- ./worker --shards 3").unwrap();
    std::fs::write(folder.path().join("job.sh"), script).unwrap();
    let mut job = Command::new("bash");
    job.arg("job.sh").current_dir(folder.path()).stdout(std::process::Stdio::piped());
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    job.env("PATH", path).env("SLURM_ARRAY_JOB_ID", "7").env("SLURM_ARRAY_TASK_ID", "2");
    let job = job.spawn().unwrap();
    while !folder.path().join("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-USR1", &job.id().to_string()]).status().unwrap().success());
    let output = job.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "told\nrequeue 7_2\n");
    assert_eq!(output.status.code(), Some(75));
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
fn what_would_do_all_the_work_many_times_is_refused() {
    let error = launch("slurm --workers 9 -- smoltalk gen --out o").unwrap_err().to_string();
    assert!(error.contains("no `--shards`") && error.contains("each of the 9 workers"), "{error}");
    let error = launch("kubernetes --workers 9 --image i --volume data -- a --shards 9").unwrap_err();
    assert!(error.to_string().contains("give CLAIM=PATH"), "{error}");
    assert!(launch("slurm --workers 9 --memory 8 -- a --shards 9").is_err());
}
