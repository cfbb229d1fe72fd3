//! `smoltalk estimate`: what a run will cost and how long it will take, from its first few rows.
//!
//! The sample is the run's own beginning, in the run's own folder: what it cost is not spent again.

use crate::budget::Prices;
use crate::rows;
use crate::run::Run;
use crate::setup::{Common, Setup};
use crate::store::{Entry, Outcome};
use crate::{recipe::Recipe, resume};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What `smoltalk estimate` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Rows the run will begin, of each task
    #[arg(long, default_value_t = 100)]
    rows: usize,
    /// Rows to try, of each task
    #[arg(long, default_value_t = 16)]
    sample: usize,
    /// The run's folder: `smoltalk gen` with the same options goes on from the sample
    #[arg(long, default_value = "dataset")]
    out: PathBuf,
}

/// Runs the sample and prints what follows from it.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(estimate(options))
}

async fn estimate(options: &Options) -> Result<u8> {
    if options.sample == 0 {
        bail!("--sample is at least 1");
    }
    let sample = options.sample.min(options.rows);
    let setup = Setup::open(&options.common, sample, None).await?;
    let prices = Prices::read(options.common.prices.as_deref())?;
    let unpriced: Vec<&str> = setup.models().into_iter().filter(|model| prices.of(model).is_none()).collect();
    let (unpriced, is_priced) = (unpriced.join(", "), unpriced.is_empty());
    let run = Arc::new(Run::open(&options.out, prices, None)?);
    resume::check(&run.store, &setup.configuration, &setup.recipes, &options.out)?;
    resume::check_batches(&run.store)?;
    println!("from {sample} of {} rows a task, {} calls at a time:", options.rows, options.common.in_flight);
    let mut sum = (0.0, 0.0, 0.0);
    for recipe in &setup.recipes {
        let (tokens, dollars, seconds, calls) = of_task(options, &setup, recipe, &run, sample).await?;
        let (mtok, money) =
            (tokens / 1e6, if is_priced { format!("${dollars:.2}") } else { "no price".to_owned() });
        println!("  {}: {calls}; {mtok:.2} Mtok, {}, {money}", recipe.task.name(), time(seconds));
        sum = (sum.0 + tokens, sum.1 + dollars, sum.2 + seconds);
    }
    let money = match is_priced {
        true => format!("${:.2}", sum.1),
        false => format!("no known price of {unpriced} (--prices)"),
    };
    println!("together: {:.2} Mtok, {money}, {}", sum.0 / 1e6, time(sum.2));
    println!(
        "the sample is the run's beginning: smoltalk gen with --out {} goes on from it",
        options.out.display()
    );
    Ok(0)
}

/// Tokens, dollars and seconds of a task's whole run, and what a row of the sample took in words.
async fn of_task(
    options: &Options,
    setup: &Setup,
    recipe: &Recipe,
    run: &Arc<Run>,
    sample: usize,
) -> Result<(f64, f64, f64, String)> {
    let name = recipe.task.name();
    let before = answered(run)?;
    let decided = || -> Result<usize> { Ok(run.store.decided(name, sample)?.iter().flatten().count()) };
    let done = decided()?;
    let began = Instant::now();
    Box::pin(rows::walk_all(setup, recipe, run, sample)).await?;
    let (after, seconds) = (answered(run)?, began.elapsed().as_secs_f64());
    let rows = (decided()? - done) as f64;
    if rows == 0.0 {
        bail!("{name}: all {sample} rows of the sample were decided before; ask for a larger --sample");
    }
    let each = |now: u64, then: u64| (now - then) as f64 / rows;
    let (prompt, completion) = (
        each(after.prompt_tokens, before.prompt_tokens),
        each(after.completion_tokens, before.completion_tokens),
    );
    let (calls, dollars) =
        (each(after.calls, before.calls), each(after.microdollars, before.microdollars) / 1e6);
    let all = options.rows as f64;
    // A sample smaller than what may be on its way is over in one round, however many rows it has.
    let at_a_time = setup.teachers.main.calls_at_a_time(&setup.manners) as f64;
    let rounds = (rows / at_a_time).max(1.0);
    let whole = seconds / rounds * (all / at_a_time).max(1.0);
    if calls == 0.0 {
        let out = options.out.display();
        eprintln!(
            "warning: {name}: the sample made no call, so these figures say nothing; see smoltalk show {out} --dropped"
        );
    }
    let a_row = format!("{calls:.1} calls, {prompt:.0} + {completion:.0} tokens a row");
    Ok(((prompt + completion) * all, dollars * all, whole, a_row))
}

fn answered(run: &Run) -> Result<Entry> {
    Ok(Entry::sum(&run.store.ledger()?, Outcome::Answered))
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
