//! The script of an array of jobs, for `sbatch`.

use super::job::{Job, quoted};
use anyhow::{Result, ensure};
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
        let name = job.name();
        ensure!(
            !name.contains(['/', '%']),
            "the job's name `{name}` becomes a part of its logs' names; give `--name` without `/` and `%`"
        );
        let at_once = at_once.map(|most| format!("%{most}")).unwrap_or_default();
        let mut lines = vec![
            format!("job-name={name}"),
            format!("array=0-{}{at_once}", job.workers - 1),
            format!("time={time}"),
            // To this script, which passes it on.
            format!("signal=B:USR1@{}", job.grace),
            "requeue".to_owned(),
            "open-mode=append".to_owned(),
            format!("output={logs}/{name}-%A-%a.log"),
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
        lines.iter().try_for_each(|line| check(line))?;
        let mut script = "#!/bin/bash\n".to_owned();
        for line in &lines {
            // Slurm reads words; one with a space is quoted.
            let line = if line.contains(' ') { line.replacen('=', "=\"", 1) + "\"" } else { line.clone() };
            let _ = writeln!(script, "#SBATCH --{line}");
        }
        script.push_str(TRAPS);
        setup.iter().for_each(|line| script.extend([line.as_str(), "\n"]));
        script.push_str(&worker(&quoted(&job.command)));
        Ok(script)
    }
}

/// The part of the script that comes before all that takes time.
const TRAPS: &str = r#"
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

"#;

/// Refuses an option that sbatch, which reads no shell's words, would take apart in another way.
fn check(line: &str) -> Result<()> {
    let name = line.split_once('=').map_or(line, |(name, _)| name);
    ensure!(
        !line.contains(['\n', '\r', '\t', '"', '\'', '\\', '#']) && !name.contains(' '),
        "`{line}` cannot be an option of sbatch in a script; give NAME=VALUE without quotes, backslashes, `#`, tabs and line ends"
    );
    Ok(())
}

/// The part of the script that runs the worker and has the job queued again.
fn worker(command: &str) -> String {
    let again = crate::AGAIN;
    format!(
        r#"{command} &
worker=$!
[ "$signaled" -eq 0 ] || pass_on
while true; do
    signaled=0
    wait "$worker"
    code=$?
    # A signal ends the wait, not the worker.
    [ "$signaled" -eq 1 ] || break
done
# USR1 says that the time is almost up: the job is queued again and continues. The worker ends with {again}, or with more than 128
# if it did not listen yet. TERM alone does not queue it again: it comes of scancel, or Slurm queues the job again by itself.
if [ "$told" -eq 1 ] && {{ [ "$code" -eq {again} ] || [ "$code" -gt 128 ]; }}; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"#
    )
}
