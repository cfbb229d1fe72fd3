//! `posttrain ablate`: pretraining runs that differ in one thing only, a mixture or one setting, as the SmolLM2 paper decides
//! by. Each arm runs with each seed, from the same weights on the same data in the same order; then the arms are compared
//! pair by pair, and the mixture that a fitted law expects to be best is named.

mod compare;
mod law;
mod page;
mod plan;
mod propose;

use crate::pretrain;
use anyhow::{Context, Result, bail, ensure};
use compare::{Comparison, RunScores};
use files::run_folder::{Lock, NO_LOCK_HELP, changes};
use plan::{Arm, Plan};
use report::metrics::Metrics;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The command line of `posttrain ablate`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// TOML file: the recipe that all arms share, what varies, the arms and the seeds
    plan: PathBuf,
    /// Folder of the runs and the report; the same command again continues
    #[arg(long)]
    out: PathBuf,
    /// Folder of tokenized data; by default in the user's cache folder
    #[arg(long)]
    cache: Option<PathBuf>,
    /// Fit how the held-out losses follow from the mixture, and propose the one with the lowest
    #[arg(long)]
    propose: bool,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
}

/// One run: an arm with a seed.
struct ArmRun<'a> {
    arm: &'a Arm,
    seed: u64,
    folder: PathBuf,
    recipe: PathBuf,
}

/// Trains all arms, compares them and writes the report. Returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do; what is wrong with a plan, before the first run.
pub fn run(options: &Options) -> Result<u8> {
    let plan = Plan::read(&options.plan)?;
    if options.propose {
        propose::check(&plan)?;
    }
    let folder = |name: &str| options.out.join(name);
    for inner in ["recipes", "runs"] {
        std::fs::create_dir_all(folder(inner))
            .with_context(|| format!("cannot create {}", folder(inner).display()))?;
    }
    let _lock = Lock::acquire_unless(options.no_lock, &options.out, "posttrain ablate")?;
    let runs = prepare(&plan, &options.out)?;
    for (index, one) in runs.iter().enumerate() {
        terminal::message!(
            "run {} of {}: arm {} with seed {}",
            index + 1,
            runs.len(),
            one.arm.name,
            one.seed
        );
        let training = pretrain::Options::of_recipe(
            &one.recipe,
            plan.model.as_deref(),
            &one.folder,
            options.cache.as_deref(),
        );
        let code = pretrain::run(&training)
            .with_context(|| format!("arm {} with seed {}", one.arm.name, one.seed))?;
        if code != 0 {
            return Ok(code);
        }
    }
    check_equal(&plan, &runs)?;
    let scores = runs.iter().map(scores).collect::<Result<Vec<_>>>()?;
    let benchmarks = match benchmarks(&plan, &runs, &options.out)? {
        Ok(benchmarks) => benchmarks,
        Err(code) => return Ok(code),
    };
    let comparison = Comparison::new(&plan, &scores, &benchmarks);
    let proposal = options.propose.then(|| propose::proposal(&plan, &scores)).transpose()?;
    terminal::print_results(&comparison.table())?;
    if let Some(proposal) = &proposal {
        terminal::print_results(&proposal.text())?;
    }
    page::write(&options.out, &plan, &comparison, proposal.as_ref(), &curves(&runs)?)?;
    terminal::results!("the report is {}", folder("report.html").display())?;
    Ok(0)
}

/// Writes every run's recipe, with which `posttrain pretrain` repeats it, and checks all of them.
fn prepare<'a>(plan: &'a Plan, out: &Path) -> Result<Vec<ArmRun<'a>>> {
    let mut runs = Vec::new();
    for seed in &plan.seeds {
        for arm in &plan.arms {
            let name = format!("{}-seed{seed}", arm.name);
            let recipe = out.join("recipes").join(format!("{name}.toml"));
            files::atomic::write(&recipe, toml::to_string(&plan.recipe_of(arm, *seed)?)?)?;
            pretrain::check_settings(&recipe).with_context(|| format!("arm `{}`", arm.name))?;
            runs.push(ArmRun { arm, seed: *seed, folder: out.join("runs").join(name), recipe });
        }
    }
    Ok(runs)
}

/// Refuses a comparison of runs that differ in anything but what varies: data that changed between two of them, for example.
fn check_equal(plan: &Plan, runs: &[ArmRun<'_>]) -> Result<()> {
    let varied = if plan.vary == plan::MIXTURE { "stages" } else { plan.vary.as_str() };
    for seed in &plan.seeds {
        let of_seed: Vec<&ArmRun<'_>> = runs.iter().filter(|run| run.seed == *seed).collect();
        let [first, others @ ..] = &of_seed[..] else { continue };
        let before = configuration(&first.folder)?;
        for other in others {
            let changes = changes(&before, &configuration(&other.folder)?);
            if let Some(change) = changes.iter().find(|change| change.name != varied) {
                bail!(
                    "arms `{}` and `{}` with seed {seed} were trained under different conditions: {change}; remove {} and {}, \
                     and run the same command again",
                    first.arm.name,
                    other.arm.name,
                    first.folder.display(),
                    other.folder.display()
                );
            }
        }
    }
    Ok(())
}

/// The settings, data and weights of a run, from its run.json.
fn configuration(folder: &Path) -> Result<Value> {
    let path = folder.join("run.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut run: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    ensure!(
        run["interventions"].is_null(),
        "the mixture of the run in {} was changed under way, so that it is no arm; remove the folder, and run the same command \
         again",
        folder.display()
    );
    Ok(run["configuration"].take())
}

fn metrics(folder: &Path) -> Result<Metrics> {
    let path = folder.join("metrics.jsonl");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Metrics::parse(&text))
}

/// The last held-out losses of a run.
fn scores(run: &ArmRun<'_>) -> Result<RunScores> {
    let metrics = metrics(&run.folder)?;
    let losses = metrics.keys().filter_map(|key| {
        let source = key.strip_prefix("eval_loss/")?;
        Some((source.to_owned(), metrics.last(key)?))
    });
    let losses: std::collections::BTreeMap<String, f64> = losses.collect();
    ensure!(
        !losses.is_empty(),
        "{} has no held-out loss; set `held_out` above 0 for a source, and `eval_steps`",
        run.folder.display()
    );
    Ok(RunScores { arm: run.arm.name.clone(), losses })
}

/// The scores of all final models on the plan's tasks; an exit code after a signal.
fn benchmarks(
    plan: &Plan,
    runs: &[ArmRun<'_>],
    out: &Path,
) -> Result<Result<Vec<evaluate::benchmark::TaskValues>, u8>> {
    if plan.tasks.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let models: Vec<(String, String)> = runs
        .iter()
        .map(|run| (compare::run_name(&run.arm.name, run.seed), run.folder.display().to_string()))
        .collect();
    let data = plan.tasks_data.as_deref();
    evaluate::benchmark::values_of_models(&models, &plan.tasks, data, plan.limit, &out.join("scores"))
}

/// The curves of the held-out losses, of the first seed, by source: the arm's name and its points.
fn curves(runs: &[ArmRun<'_>]) -> Result<Vec<page::Curves>> {
    let mut curves: Vec<page::Curves> = Vec::new();
    let first = runs.first().map(|run| run.seed);
    for run in runs.iter().filter(|run| Some(run.seed) == first) {
        let metrics = metrics(&run.folder)?;
        for key in metrics.keys().filter(|key| key.starts_with("eval_loss")) {
            let points = metrics.points(key).to_vec();
            match curves.iter_mut().find(|one| one.key == key) {
                Some(one) => one.arms.push((run.arm.name.clone(), points)),
                None => curves
                    .push(page::Curves { key: key.to_owned(), arms: vec![(run.arm.name.clone(), points)] }),
            }
        }
    }
    Ok(curves)
}

/// Checks a plan and the recipes of all its arms.
#[cfg(test)]
pub(crate) fn check_plan(path: &Path) -> Result<()> {
    let plan = Plan::read(path)?;
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("recipes"))?;
    prepare(&plan, folder.path()).map(drop)
}
