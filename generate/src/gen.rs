//! `smoltalk gen`: recipes and a teacher, with source texts for some tasks, to a dataset's folder.
//!
//! The run's store determines what remains to be done, so the same command resumes a run that was stopped or killed.

use crate::budget::{Budget, Limit};
use crate::run::Run;
use crate::setup::{Setup, TeacherOptions};
use crate::{resume, rows, write_dataset};
use anyhow::{Context, Result, bail};
use files::run_folder::{NO_LOCK_HELP, RESTART_HELP};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use terminal::Stop;

/// The exit code of a run that its budget ended.
const BUDGET_EXHAUSTED: u8 = 3;

/// Options of `smoltalk gen`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    teachers: TeacherOptions,
    /// Number of rows to start, per task; the dataset contains those that no filter drops
    #[arg(long, default_value_t = 100)]
    rows: usize,
    /// Folder of the run and its dataset
    #[arg(long, default_value = "dataset")]
    out: PathBuf,
    /// Maximum cost of the run in all its sessions, such as 25usd, 500ktok or 10Mtok; the run stops before
    /// exceeding it
    #[arg(long)]
    budget: Option<Limit>,
    #[arg(long, help = RESTART_HELP)]
    restart: bool,
    /// Remove damaged answers from the run's store and ask for them again, which costs their calls; a copy of the store
    /// is kept in set-aside-N
    #[arg(long, conflicts_with = "restart")]
    repair: bool,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
    /// Send calls as provider batches (OpenAI's /files and /batches): cheaper, but answered hours later
    #[arg(long)]
    batch: bool,
    /// Time between two status requests of a batch, in seconds
    #[arg(long, default_value_t = 60.0, requires = "batch")]
    batch_poll: f64,
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
    let poll = options.batch.then(|| Duration::from_secs_f64(options.batch_poll.clamp(0.05, 86_400.0)));
    let setup = Setup::open(&options.teachers, options.rows, poll).await?;
    Budget::check(options.budget, &setup.prices, &setup.teachers.models())?;
    if options.restart {
        resume::set_aside(&options.out, options.no_lock)?;
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
    let stop = listen(&run)?;
    for recipe in &setup.recipes {
        if !run.is_ending() {
            Box::pin(rows::run_all(&setup, recipe, &run, options.rows)).await?;
        }
    }
    if let Some(code) = stop.exit_code().filter(|_| run.is_stopping()) {
        terminal::message!("stopped; what is recorded is safe, run the same command again to resume");
        return Ok(code);
    }
    if let Some(reason) = run.failure() {
        bail!("{reason}");
    }
    let is_complete = !run.budget.is_exhausted();
    terminal::results!("{}", write_dataset::write(&setup, &run, options.rows, is_complete)?)?;
    if is_complete {
        return Ok(0);
    }
    terminal::message!(
        "stopped before the budget was exceeded; run the same command with a larger `--budget` to resume"
    );
    Ok(BUDGET_EXHAUSTED)
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
