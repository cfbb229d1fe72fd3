//! The manifest of an Indexed Job, for `kubectl`.

use super::job::Job;
use anyhow::Result;
use clap::Args;
use serde_json::json;

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

impl Kubernetes {
    pub(super) fn manifest(&self) -> Result<String> {
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
        // Kubernetes replaces $(NAME) in a command, and makes `$` of `$$`.
        let mut command: Vec<String> = job.command.iter().map(|word| word.replace('$', "$$")).collect();
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
            "metadata": {"generateName": format!("{}-", name(&job.name())), "namespace": namespace},
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

/// A text as the beginning of a name in Kubernetes, which adds to it and allows 63 letters in the names of pods.
fn name(text: &str) -> String {
    let plain = |letter: char| match letter {
        'a'..='z' | '0'..='9' => letter,
        _ => '-',
    };
    let name: String = text.to_lowercase().chars().map(plain).collect();
    let name: String = name.trim_start_matches('-').chars().take(40).collect();
    match name.trim_end_matches('-') {
        "" => "job".to_owned(),
        name => name.to_owned(),
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
