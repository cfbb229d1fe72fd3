//! What jobs of all schedulers have.

use anyhow::{Result, ensure};
use clap::Args;

/// What all jobs have.
#[derive(Debug, Args)]
pub struct Job {
    /// Number of workers
    #[arg(long, value_name = "N")]
    pub(super) workers: usize,
    /// Name of the job [default: the program and its subcommand]
    #[arg(long)]
    name: Option<String>,
    /// CPUs of a worker
    #[arg(long, value_name = "N")]
    pub(super) cpus: Option<usize>,
    /// Memory of a worker, such as 8G
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(super) memory: Option<String>,
    /// GPUs of a worker
    #[arg(long, value_name = "N")]
    pub(super) gpus: Option<usize>,
    /// Time before the end at which a worker is told to stop, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(super) grace: u64,
    /// Command that every worker runs, behind `--`: smoltalk gen ... --shards N --out FOLDER
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl Job {
    pub(super) fn check(&self) -> Result<()> {
        ensure!(self.workers > 0, "`--workers 0` starts nothing; give at least 1");
        let is_shared = self.command.iter().any(|word| word == "--shards" || word.starts_with("--shards="));
        ensure!(
            is_shared,
            "the command has no `--shards`, so that each of the {} workers would do all of the work; add it",
            self.workers
        );
        Ok(())
    }

    pub(super) fn name(&self) -> String {
        let own = || {
            let words = self.command.iter().take(2).map(|word| word.rsplit('/').next().unwrap_or_default());
            words.collect::<Vec<_>>().join("-")
        };
        self.name.clone().unwrap_or_else(own)
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
