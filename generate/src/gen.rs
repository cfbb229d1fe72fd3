//! `smoltalk gen`: recipes and a teacher, with source texts for some tasks, to a dataset's folder.
//!
//! The run's store determines what remains to be done, so the same command resumes a run that was stopped or killed.

use crate::budget::{Budget, Limit};
use crate::run::Run;
use crate::setup::{Setup, TeacherOptions};
use crate::shared_run::{Ended, SharedRun};
use crate::write_dataset::Written;
use crate::{goal, resume, write_dataset};
use anyhow::{Context, Result, bail};
use datasets::export::FileFormat;
use files::run_folder::{NO_LOCK_HELP, RESTART_HELP};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use terminal::Stop;

/// The exit code of a run that its budget ended.
const BUDGET_EXHAUSTED: u8 = 3;
/// The exit code of a run that kept less than a tenth of a task's rows.
const POOR_YIELD: u8 = 4;
/// Number of rows that are started without an option.
const ROWS: usize = 100;

/// Options of `smoltalk gen`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    teachers: TeacherOptions,
    /// Number of rows to start, per task; the dataset contains those that no filter drops [default: 100; with --kept and
    /// --budget no limit]
    #[arg(long)]
    rows: Option<usize>,
    /// Number of rows to keep, per task: rows are started until so many are kept, or until --rows are started or --budget is
    /// used up
    #[arg(long, value_name = "N", conflicts_with = "shards")]
    kept: Option<usize>,
    /// Try rows again that were dropped for a reason: refused for those that the endpoint refused or failed, or a name in
    /// dropped.jsonl, such as cut_off; repeat it for several
    #[arg(long, value_name = "REASON", conflicts_with_all = ["restart", "shards"])]
    retry: Vec<String>,
    /// Folder of the run and its dataset
    #[arg(long, default_value = "dataset")]
    out: PathBuf,
    /// Maximum cost of the run in all its sessions, such as 25usd, 500ktok or 10Mtok; the run stops before
    /// exceeding it
    #[arg(long, conflicts_with = "shards")]
    budget: Option<Limit>,
    #[arg(long, help = RESTART_HELP, conflicts_with = "shards")]
    restart: bool,
    /// Remove damaged answers from the run's store and ask for them again, which costs their calls; a copy of the store
    /// is kept in set-aside-N
    #[arg(long, conflicts_with_all = ["restart", "shards"])]
    repair: bool,
    /// Form of the dataset's files
    #[arg(long, value_enum, default_value_t)]
    format: FileFormat,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
    /// Send calls as provider batches (OpenAI's /files and /batches): cheaper, but answered hours later
    #[arg(long, conflicts_with = "shards")]
    batch: bool,
    /// Time between two status requests of a batch, in seconds
    #[arg(long, default_value_t = 60.0, requires = "batch")]
    batch_poll: f64,
    #[command(flatten)]
    sharing: shards::Options,
}

/// Generates the dataset; returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(generate(options))
}

async fn generate(options: &Options) -> Result<u8> {
    let bound = bound(options)?;
    if let Some(shards) = options.sharing.shards()? {
        return Box::pin(share(options, shards, bound)).await;
    }
    let poll = options.batch.then(|| Duration::from_secs_f64(options.batch_poll.clamp(0.05, 86_400.0)));
    let setup = Setup::open(&options.teachers, options.rows.or(options.kept).unwrap_or(ROWS), poll).await?;
    Budget::check(options.budget, &setup.prices, &setup.teachers.models())?;
    if options.budget.is_some() {
        setup.check_bounded(&options.teachers)?;
    }
    if options.restart {
        resume::set_aside(&options.out, options.no_lock)?;
    } else {
        shards::status::refuse_unfinished(&options.out)?;
    }
    if options.repair {
        resume::repair(&options.out, options.no_lock)?;
    }
    let run =
        Arc::new(Run::open_unlocked(&options.out, setup.prices.clone(), options.budget, options.no_lock)?);
    resume::check(&run.store, &setup.configuration, &setup.recipes, &options.out)?;
    if !options.batch {
        resume::check_batches(&run.store)?;
    }
    if !options.retry.is_empty() {
        resume::undecide(&run.store, &setup.recipes, &options.retry)?;
    }
    let stop = listen(&run)?;
    let mut limits = Vec::new();
    for recipe in &setup.recipes {
        limits.push(match run.is_ending() {
            true => bound.min(options.kept.unwrap_or(bound)),
            false => Box::pin(goal::reach(&setup, recipe, &run, bound, options.kept)).await?,
        });
    }
    if let Some(code) = stop.exit_code().filter(|_| run.is_stopping()) {
        terminal::message!("stopped; what is recorded is safe, run the same command again to resume");
        return Ok(code);
    }
    if let Some(reason) = run.failure() {
        bail!("{reason}");
    }
    let is_complete = !run.budget.is_exhausted();
    let written = write_dataset::write(&setup, &run, &limits, (options.format, is_complete))?;
    let code = report(&written)?;
    if is_complete {
        return Ok(code);
    }
    terminal::message!(
        "stopped before the budget was exceeded; run the same command with a larger `--budget` to resume"
    );
    Ok(BUDGET_EXHAUSTED)
}

/// Works on a dataset together with other processes.
async fn share(options: &Options, shards: usize, rows: usize) -> Result<u8> {
    // Before anything that takes long: a scheduler queues a worker again that ends with its own code.
    let stop = Stop::listen().context("cannot handle signals")?;
    let setup = Setup::open(&options.teachers, rows, None).await?;
    let (out, sharing) = (&options.out, &options.sharing);
    let run =
        SharedRun { out, options: sharing, shards, rows, format: options.format, no_lock: options.no_lock };
    match run.generate(&setup, &stop).await? {
        Ended::Written(written) => report(&written),
        Ended::Complete => {
            terminal::results!("complete; print rows with: smoltalk show {}", out.display())?;
            Ok(0)
        }
        Ended::Stopped => {
            terminal::message!("stopped; what is recorded is safe, run the same command again to resume");
            Ok(shards::AGAIN)
        }
    }
}

/// Prints what was written; returns the exit code.
fn report(written: &Written) -> Result<u8> {
    terminal::results!("{}", written.summary)?;
    for line in &written.poor_yields {
        terminal::message!("warning: {line}");
    }
    Ok(if written.poor_yields.is_empty() { 0 } else { POOR_YIELD })
}

/// The most rows that are started, per task.
fn bound(options: &Options) -> Result<usize> {
    match (options.rows, options.kept) {
        (_, Some(0)) => bail!("`--kept 0` keeps nothing; give at least 1"),
        (Some(rows), _) => Ok(rows),
        (None, None) => Ok(ROWS),
        // A position has 32 bits.
        (None, Some(_)) if options.budget.is_some() => Ok(u32::MAX as usize),
        (None, Some(kept)) => bail!(
            "`--kept {kept}` would start rows without end if none is kept; give `--rows`, the most rows to start, or `--budget`"
        ),
    }
}

/// Handles signals: at the first one the run waits for the calls in flight and stops, at the second one it ends at
/// once.
fn listen(run: &Arc<Run>) -> Result<Stop> {
    let stop = Stop::listen().context("cannot handle signals")?;
    // The thread that waits for signals must not keep the run, and with it the store, open.
    let run = Arc::downgrade(run);
    let action = move || {
        if let Some(run) = run.upgrade() {
            terminal::message!(
                "stopping: waiting for the calls in flight; repeat the signal to stop at once"
            );
            run.stop();
        }
    };
    stop.on_request(action).context("cannot handle signals")?;
    Ok(stop)
}
