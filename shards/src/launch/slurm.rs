//! The script of an array of jobs, for `sbatch`.

use super::job::{Job, quoted};
use anyhow::Result;
use clap::Args;
use std::fmt::Write;

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

impl Slurm {
    pub(super) fn script(&self) -> Result<String> {
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
