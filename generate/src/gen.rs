//! `smoltalk gen`: from a recipe, a teacher and perhaps sources to a dataset folder.
//!
//! The run's store decides what is left to do, so the same command after a kill goes on where it was.

use crate::budget::{Budget, Limit, Prices};
use crate::run::Run;
use crate::setup::{Common, Setup};
use crate::{finish, resume, rows};
use anyhow::Result;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// The exit code of a run that its budget ended.
const SPENT_UP: u8 = 3;

/// What `smoltalk gen` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rows to begin, of each task; fewer are kept
    #[arg(long, default_value_t = 100)]
    rows: usize,
    /// The dataset's folder
    #[arg(long, default_value = "dataset")]
    out: PathBuf,
    /// What the run may spend in its whole life: 25usd, 500ktok, 10Mtok; it stops before it would cross it
    #[arg(long)]
    budget: Option<Limit>,
    /// Sets a run that is in the folder aside and begins anew
    #[arg(long)]
    fresh: bool,
    /// Sends calls as provider batches (OpenAI's /files and /batches): cheaper, hours later
    #[arg(long)]
    batch: bool,
    /// Seconds between two looks at a batch
    #[arg(long, default_value_t = 60.0, requires = "batch")]
    batch_poll: f64,
}

/// Runs to the end; the number is the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(generate(options))
}

async fn generate(options: &Options) -> Result<u8> {
    let poll = options.batch.then(|| Duration::from_secs_f64(options.batch_poll.clamp(0.05, 86_400.0)));
    let setup = Setup::open(&options.common, options.rows, poll).await?;
    let prices = Prices::read(options.common.prices.as_deref())?;
    Budget::check(options.budget, &prices, &setup.models())?;
    if options.fresh {
        resume::set_aside(&options.out)?;
    }
    let run = Arc::new(Run::open(&options.out, prices, options.budget)?);
    resume::check(&run.store, &setup.configuration, &setup.recipes, &options.out)?;
    if !options.batch {
        resume::check_batches(&run.store)?;
    }
    let signal = listen(&run);
    for recipe in &setup.recipes {
        if !run.is_ending() {
            Box::pin(rows::walk_all(&setup, recipe, &run, options.rows)).await?;
        }
    }
    if run.is_stopping() {
        eprintln!("stopped; what is recorded is safe, run the same command again to go on");
        return Ok(signal.load(Ordering::Relaxed));
    }
    let complete = !run.budget.is_spent_up();
    println!("{}", finish::write(&options.out, &setup, &run, options.rows, complete)?);
    if complete {
        return Ok(0);
    }
    eprintln!("stopped before the budget was crossed; run the same command with a larger --budget to go on");
    Ok(SPENT_UP)
}

/// The first Ctrl-C or SIGTERM lets the calls on their way come home; the second one does not wait for them.
/// The number becomes the exit code: 128 and the signal's number, as a shell has it.
fn listen(run: &Arc<Run>) -> Arc<AtomicU8> {
    let (run, code) = (Arc::clone(run), Arc::new(AtomicU8::new(0)));
    let told = Arc::clone(&code);
    tokio::spawn(async move {
        let signal = interrupted().await;
        told.store(signal, Ordering::Relaxed);
        eprintln!("stopping: calls on their way are waited for; once more to stop at once");
        run.stop();
        std::process::exit(i32::from(interrupted().await));
    });
    code
}

async fn interrupted() -> u8 {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => 130,
        _ = terminate.recv() => 143,
    }
}
