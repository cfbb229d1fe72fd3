//! `smoltalk estimate`: the cost and the duration of a run, extrapolated from its first rows.
//!
//! The sample is the beginning of the run itself, in the run's folder, so that it is not paid for twice.

use crate::recipe::Recipe;
use crate::run::Run;
use crate::setup::{Setup, TeacherOptions};
use crate::store::{LedgerEntry, Outcome};
use crate::{resume, rows};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Options of `smoltalk estimate`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(flatten)]
    teachers: TeacherOptions,
    /// Number of rows that the run will start, per task
    #[arg(long, default_value_t = 100)]
    rows: usize,
    /// Number of rows to generate for the estimate, per task
    #[arg(long, default_value_t = 16)]
    sample: usize,
    /// Folder of the run; `smoltalk gen` with the same options continues after the sample
    #[arg(long, default_value = "dataset")]
    out: PathBuf,
}

/// The estimate of a task's whole run.
#[derive(Debug, Default)]
struct Estimate {
    tokens: f64,
    dollars: f64,
    seconds: f64,
}

/// Generates the sample and prints the estimate; returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(estimate(options))
}

async fn estimate(options: &Options) -> Result<u8> {
    if options.sample == 0 {
        bail!("`--sample 0` gives no estimate; give at least 1");
    }
    let sample = options.sample.min(options.rows);
    let setup = Setup::open(&options.teachers, sample, None).await?;
    let models = setup.teachers.models();
    let unpriced: Vec<&str> = models.into_iter().filter(|model| setup.prices.of(model).is_none()).collect();
    let cost = |dollars: f64, otherwise: String| match unpriced.is_empty() {
        true => format!("${dollars:.2}"),
        false => otherwise,
    };
    let run = Arc::new(Run::open(&options.out, setup.prices.clone(), None)?);
    resume::check(&run.store, &setup.configuration, &setup.recipes, &options.out)?;
    resume::check_batches(&run.store)?;
    terminal::results!(
        "from {sample} of {} rows per task, {} concurrent calls:",
        options.rows,
        setup.endpoints.in_flight
    )?;
    let mut sum = Estimate::default();
    for recipe in &setup.recipes {
        let (estimate, calls) =
            Box::pin(estimate_task(&setup, recipe, &run, (sample, options.rows), &options.out)).await?;
        let (megatokens, time) = (estimate.tokens / 1e6, time(estimate.seconds));
        let cost = cost(estimate.dollars, "no price".to_owned());
        terminal::results!("  {}: {calls}; {megatokens:.2} Mtok, {time}, {cost}", recipe.task.name)?;
        sum.tokens += estimate.tokens;
        sum.dollars += estimate.dollars;
        sum.seconds += estimate.seconds;
    }
    let unknown = format!("no known price of {} (give `--prices`)", unpriced.join(", "));
    let (megatokens, time) = (sum.tokens / 1e6, time(sum.seconds));
    terminal::results!("total: {megatokens:.2} Mtok, {}, {time}", cost(sum.dollars, unknown))?;
    terminal::results!(
        "the sample is the beginning of the run; continue with: smoltalk gen --out {}",
        options.out.display()
    )?;
    Ok(0)
}

/// Estimates a task's whole run from `sample` of its `rows`; also returns the calls and tokens of one row, for
/// people.
async fn estimate_task(
    setup: &Setup,
    recipe: &Recipe,
    run: &Arc<Run>,
    (sample, rows): (usize, usize),
    out: &Path,
) -> Result<(Estimate, String)> {
    let name = recipe.task.name;
    let before = answered(run)?;
    let decided = || -> Result<usize> { Ok(run.store.decided(name, sample)?.iter().flatten().count()) };
    let decided_before = decided()?;
    let started = Instant::now();
    Box::pin(rows::run_all(setup, recipe, run, sample, rows::Portion::WHOLE)).await?;
    let (after, seconds) = (answered(run)?, started.elapsed().as_secs_f64());
    let kept = run.store.decided(name, sample)?.into_iter().flatten().filter(|is_kept| *is_kept).count();
    let all = decided()?;
    let made = (decided()? - decided_before) as f64;
    if made == 0.0 {
        bail!("{name}: all {sample} rows of the sample were decided before; give a larger `--sample`");
    }
    let per_row = |now: u64, then: u64| (now - then) as f64 / made;
    let prompt = per_row(after.prompt_tokens, before.prompt_tokens);
    let completion = per_row(after.completion_tokens, before.completion_tokens);
    let calls = per_row(after.calls, before.calls);
    let dollars = per_row(after.microdollars, before.microdollars) / 1e6;
    let rows = rows as f64;
    // A sample with fewer rows than there are concurrent calls takes one round, however many rows it has.
    let concurrent = setup.teachers.main.calls_at_a_time(&setup.endpoints) as f64;
    let rounds = (made / concurrent).max(1.0);
    if calls == 0.0 {
        terminal::message!(
            "warning: {name}: the sample made no calls, so the estimate is 0; see `smoltalk show {} --dropped`",
            out.display()
        );
    }
    let estimate = Estimate {
        tokens: (prompt + completion) * rows,
        dollars: dollars * rows,
        seconds: seconds / rounds * (rows / concurrent).max(1.0),
    };
    if kept == 0 {
        terminal::message!(
            "warning: {name}: no row of the sample was kept; check the prompts with `smoltalk preview {name}` before you generate"
        );
    }
    let price = match kept {
        1.. if dollars > 0.0 => format!(", ${:.4} per kept row", dollars * all as f64 / kept as f64),
        _ => String::new(),
    };
    let text = format!(
        "{calls:.1} calls, {prompt:.0} + {completion:.0} tokens per row; {kept} of {all} rows kept ({:.0}%){price}",
        100.0 * kept as f64 / all.max(1) as f64
    );
    Ok((estimate, text))
}

fn answered(run: &Run) -> Result<LedgerEntry> {
    Ok(LedgerEntry::sum(&run.store.ledger()?, Outcome::Answered))
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
