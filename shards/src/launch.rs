//! The files of jobs: a script for `sbatch` and a manifest for Kubernetes. They start the same command many times, and
//! nothing else: which worker does what is settled in the run's folder.

use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use serde_json::json;
use std::fmt::Write;

/// Where jobs run.
#[derive(Debug, Subcommand)]
pub enum Target {
    /// Print a script for `sbatch`: an array of jobs, one for each worker
    Slurm(Slurm),
    /// Print a manifest for `kubectl create -f -`: an Indexed Job, one pod for each worker
    Kubernetes(Kubernetes),
}

/// What all jobs have.
#[derive(Debug, Args)]
pub struct Job {
    /// Number of workers
    #[arg(long, value_name = "N")]
    workers: usize,
    /// Name of the job [default: the program and its subcommand]
    #[arg(long)]
    name: Option<String>,
    /// CPUs of a worker
    #[arg(long, value_name = "N")]
    cpus: Option<usize>,
    /// Memory of a worker, such as 8G
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<String>,
    /// GPUs of a worker
    #[arg(long, value_name = "N")]
    gpus: Option<usize>,
    /// Time before the end at which a worker is told to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    grace: u64,
    /// Command that every worker runs, behind `--`: smoltalk gen ... --shards N --out FOLDER
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A job of Slurm.
#[derive(Debug, Args)]
pub struct Slurm {
    #[command(flatten)]
    job: Job,
    /// Maximum time of a worker, as Slurm takes it: 30, 12:00:00, 2-00:00:00
    #[arg(long, default_value = "24:00:00")]
    time: String,
    /// Partition of the cluster
    #[arg(long)]
    partition: Option<String>,
    /// Account that is charged
    #[arg(long)]
    account: Option<String>,
    /// Most workers that run at the same time
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,
    /// Folder of the workers' logs
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    logs: String,
    /// Line to add to the script before the command, such as 'module load cuda'; repeat it for several
    #[arg(long, value_name = "LINE")]
    setup: Vec<String>,
    /// Further option of sbatch, such as qos=low; repeat it for several
    #[arg(long = "sbatch", value_name = "NAME=VALUE")]
    options: Vec<String>,
}

/// A job of Kubernetes.
#[derive(Debug, Args)]
pub struct Kubernetes {
    #[command(flatten)]
    job: Job,
    /// Image of the container, with the program in it
    #[arg(long)]
    image: String,
    /// Persistent volume claim that all workers share, and where it is mounted; repeat it for several
    #[arg(long, value_name = "CLAIM=PATH", required = true)]
    volume: Vec<String>,
    /// Secret whose entries become environment variables, such as one with an API key; repeat it for several
    #[arg(long, value_name = "NAME")]
    secret: Vec<String>,
    /// Namespace of the job
    #[arg(long)]
    namespace: Option<String>,
}

impl Target {
    /// The text of the job's file.
    ///
    /// # Errors
    /// When the command is not shared, or an option is not what its target takes.
    pub fn text(&self) -> Result<String> {
        match self {
            Self::Slurm(slurm) => slurm.script(),
            Self::Kubernetes(kubernetes) => kubernetes.manifest(),
        }
    }
}

impl Job {
    fn check(&self) -> Result<()> {
        ensure!(self.workers > 0, "`--workers 0` starts nothing; give at least 1");
        let is_shared = self.command.iter().any(|word| word == "--shards" || word.starts_with("--shards="));
        ensure!(
            is_shared,
            "the command has no `--shards`, so that each of the {} workers would do all of the work; add it",
            self.workers
        );
        Ok(())
    }

    fn name(&self) -> String {
        let own = || {
            let words = self.command.iter().take(2).map(|word| word.rsplit('/').next().unwrap_or_default());
            words.collect::<Vec<_>>().join("-")
        };
        self.name.clone().unwrap_or_else(own)
    }
}

impl Slurm {
    fn script(&self) -> Result<String> {
        let Self { job, time, partition, account, at_once, logs, setup, options } = self;
        job.check()?;
        let at_once = at_once.map(|most| format!("%{most}")).unwrap_or_default();
        let mut lines = vec![
            format!("job-name={}", job.name()),
            format!("array=0-{}{at_once}", job.workers - 1),
            format!("time={time}"),
            // To this script, which passes it on.
            format!("signal=B:USR1@{}", job.grace),
            "requeue".to_owned(),
            "open-mode=append".to_owned(),
            format!("output={logs}/{}-%A-%a.log", job.name()),
        ];
        let optional = [
            ("partition", partition.clone()),
            ("account", account.clone()),
            ("cpus-per-task", job.cpus.map(|cpus| cpus.to_string())),
            ("mem", job.memory.clone()),
            ("gpus-per-task", job.gpus.map(|gpus| gpus.to_string())),
        ];
        lines.extend(optional.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))));
        lines.extend(options.iter().map(|option| option.trim_start_matches('-').to_owned()));
        if let Some(line) = lines.iter().find(|line| line.contains(['\n', '"', '\\'])) {
            anyhow::bail!("`{line}` cannot be an option of sbatch in a script; remove quotes and line ends");
        }
        let mut script = "#!/bin/bash\n".to_owned();
        for line in &lines {
            // Slurm reads words; one with a space is quoted.
            let line = if line.contains(' ') { line.replacen('=', "=\"", 1) + "\"" } else { line.clone() };
            let _ = writeln!(script, "#SBATCH --{line}");
        }
        script.push('\n');
        setup.iter().for_each(|line| script.extend([line.as_str(), "\n"]));
        let again = crate::AGAIN;
        let _ = write!(
            script,
            "# A signal is passed on, so that the worker records what is under way and gives its shard back.\n\
             {} &\n\
             worker=$!\n\
             trap 'signaled=1; kill -USR1 \"$worker\"' USR1 TERM\n\
             signaled=1\n\
             while [ \"$signaled\" -eq 1 ]; do\n    signaled=0\n    wait \"$worker\"\n    code=$?\ndone\n\
             # {again}: stopped by a signal; the job is queued again and continues.\n\
             if [ \"$code\" -eq {again} ]; then\n    \
                 scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}\"\n\
             fi\n\
             exit \"$code\"\n",
            quoted(&job.command)
        );
        Ok(script)
    }
}

impl Kubernetes {
    fn manifest(&self) -> Result<String> {
        let Self { job, image, volume, secret, namespace } = self;
        job.check()?;
        let volumes: Vec<(&str, &str)> = volume
            .iter()
            .map(|text| {
                let pair =
                    text.split_once('=').filter(|(claim, path)| !claim.is_empty() && path.starts_with('/'));
                pair.ok_or_else(|| {
                    anyhow::anyhow!(
                        "`--volume {text}`: give CLAIM=PATH with an absolute path in the container"
                    )
                })
            })
            .collect::<Result<_>>()?;
        let mut command = job.command.clone();
        // Kubernetes tells a pod its number, not the number of pods.
        command.extend(["--workers".to_owned(), job.workers.to_string()]);
        let mut resources = serde_json::Map::new();
        if let Some(cpus) = job.cpus {
            resources.insert("cpu".to_owned(), json!(cpus.to_string()));
        }
        if let Some(memory) = &job.memory {
            resources.insert("memory".to_owned(), json!(format!("{memory}i")));
        }
        if let Some(gpus) = job.gpus {
            resources.insert("nvidia.com/gpu".to_owned(), json!(gpus.to_string()));
        }
        let named = |place: usize| format!("shared-{place}");
        let mounts: Vec<_> = volumes
            .iter()
            .enumerate()
            .map(|(place, (_, path))| json!({"name": named(place), "mountPath": path}))
            .collect();
        let claims: Vec<_> = volumes
            .iter()
            .enumerate()
            .map(|(place, (claim, _))| {
                json!({"name": named(place), "persistentVolumeClaim": {"claimName": claim}})
            })
            .collect();
        let secrets: Vec<_> = secret.iter().map(|name| json!({"secretRef": {"name": name}})).collect();
        // A preempted pod and one that was told to stop count as no failure. Any other failure counts for its index alone: the
        // others go on and take its shards.
        let manifest = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"generateName": format!("{}-", job.name().to_lowercase().replace('_', "-")), "namespace": namespace},
            "spec": {
                "completionMode": "Indexed",
                "completions": job.workers,
                "parallelism": job.workers,
                "backoffLimitPerIndex": 6,
                "podFailurePolicy": {"rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [crate::AGAIN]}},
                ]},
                "template": {"spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": job.grace,
                    "containers": [{
                        "name": "worker",
                        "image": image,
                        "command": command,
                        "envFrom": secrets,
                        "resources": {"limits": resources},
                        "volumeMounts": mounts,
                    }],
                    "volumes": claims,
                }},
            },
        });
        Ok(yaml(&manifest, 0).trim_start().to_owned() + "\n")
    }
}

/// A value as YAML in blocks, indented so far. Texts are quoted as in JSON, which is YAML; what is null or empty is left out.
fn yaml(value: &serde_json::Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let is_empty = |value: &serde_json::Value| {
        value.is_null()
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(|object| {
                object.values().all(|inner| inner.as_object().is_some_and(serde_json::Map::is_empty))
            })
    };
    match value {
        serde_json::Value::Object(entries) => {
            let entry = |(name, value): (&String, &serde_json::Value)| {
                format!("\n{indent}{name}:{}", yaml(value, depth + 1))
            };
            entries.iter().filter(|(_, value)| !is_empty(value)).map(entry).collect()
        }
        serde_json::Value::Array(items) => {
            let item = |item: &serde_json::Value| {
                let text = yaml(item, depth + 1);
                format!("\n{indent}- {}", text.trim_start())
            };
            items.iter().map(item).collect()
        }
        plain => format!(" {plain}"),
    }
}

/// Words as a shell reads them.
pub(crate) fn quoted(words: &[String]) -> String {
    let is_plain = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+#".contains(c))
            && !word.starts_with('#')
    };
    let quote = |word: &String| match is_plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// A size as Slurm and Kubernetes both take it, but for Kubernetes' `i`.
fn memory(text: &str) -> Result<String, String> {
    let number = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or_default();
    if number.parse::<u64>().is_ok_and(|number| number > 0) {
        return Ok(text.to_owned());
    }
    Err("give a whole number with K, M, G or T, such as 8G".to_owned())
}

#[cfg(test)]
mod tests;
