//! `posttrain intervene`: changes the mixture of a pretraining run from a step on, while the run is stopped, as SmolLM2's
//! authors did with theirs. The recipe stays what it was: `interventions.json` beside `run.json` says what was changed, when
//! it was decided, and after how many steps. The run's next start reads it.

use crate::checkpoints;
use crate::interventions::{FILE_NAME, Intervention, check_weights, read};
use crate::run::now;
use anyhow::{Context, Result, bail, ensure};
use files::run_folder::{Lock, NO_LOCK_HELP};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The command line of `posttrain intervene`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder of a pretraining run that is stopped
    run: PathBuf,
    /// Number of steps with the mixture as it is; those after it have the new one, until the stage ends
    #[arg(long)]
    at: u64,
    /// TOML file with a table `mixture`: the weight of each source
    #[arg(long)]
    mixture: PathBuf,
    #[arg(long, help = NO_LOCK_HELP)]
    no_lock: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MixtureFile {
    mixture: BTreeMap<String, f64>,
}

/// Records the change. Returns the exit code.
///
/// # Errors
/// When the folder has no such run, the run has finished or is running, it is past that step, or a source is unknown.
pub fn run(options: &Options) -> Result<u8> {
    let folder = &options.run;
    ensure!(folder.join("run.json").is_file(), "{} is no run: it has no run.json", folder.display());
    let _lock = Lock::acquire_unless(options.no_lock, folder, "posttrain pretrain")?;
    let run = stopped_run(folder)?;
    // Where it would resume: run.json may be older or, after a divergence, newer.
    let done = checkpoints::newest_step(&folder.join("checkpoints"));
    ensure!(
        options.at >= done,
        "`--at {}` lies behind the run's last checkpoint, which is after step {done}; give {done} or more",
        options.at
    );
    let ends: Vec<u64> = serde_json::from_value(run["stage_ends"].clone()).unwrap_or_default();
    let end = ends.iter().copied().find(|end| options.at < *end);
    ensure!(
        end.is_some() || ends.is_empty(),
        "`--at {}` lies behind the run's end, which is after step {}; give less",
        options.at,
        ends.last().copied().unwrap_or_default()
    );
    let mixture = read_mixture(&options.mixture, &run["data"])?;
    let new = Intervention { step: options.at, mixture, decided: now(), decided_after_step: done };
    let mut all = read(folder)?;
    // What was decided for the same step or a later one of its stage, and has not begun, is replaced.
    let is_replaced = |one: &Intervention| one.step >= new.step && end.is_none_or(|end| one.step < end);
    let replaced: Vec<Intervention> = all.iter().filter(|one| is_replaced(one)).cloned().collect();
    all.retain(|one| !is_replaced(one));
    all.push(new.clone());
    all.sort_by_key(|one| one.step);
    files::atomic::write(&folder.join(FILE_NAME), serde_json::to_vec_pretty(&all)?)?;
    for one in replaced {
        terminal::message!("note: replaces the {}", one.note());
    }
    terminal::message!("{}; run the same `posttrain pretrain` command again to go on", new.note());
    Ok(0)
}

/// The run.json of a pretraining run that can go on.
fn stopped_run(folder: &Path) -> Result<Value> {
    let path = folder.join("run.json");
    let text = std::fs::read(&path)
        .with_context(|| format!("{} is no run: cannot read run.json", folder.display()))?;
    let run: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    match (run["command"].as_str(), run["state"].as_str()) {
        (Some("pretrain"), Some("finished")) => {
            bail!("the run in {} has finished; a mixture is changed while steps are left", folder.display())
        }
        (Some("pretrain"), _) => Ok(run),
        (command, _) => bail!(
            "{} is a run of `posttrain {}`; only `posttrain pretrain` has a mixture",
            folder.display(),
            command.unwrap_or("(unknown)")
        ),
    }
}

/// Reads the new weights; `sources` are those of the run, by name.
fn read_mixture(path: &Path, sources: &Value) -> Result<BTreeMap<String, f64>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `--mixture {shown}`"))?;
    let MixtureFile { mixture } = toml::from_str(&text).with_context(|| shown.to_string())?;
    for source in mixture.keys() {
        ensure!(
            sources.get(source).is_some(),
            "{shown}: the run has no source `{source}`; its sources are {}. To add one, give it to the run's recipe with \
             `--accept-changes`",
            sources.as_object().map_or_else(String::new, |all| all
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(", "))
        );
    }
    check_weights(&shown.to_string(), &mixture)?;
    Ok(mixture)
}
