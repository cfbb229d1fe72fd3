//! Changes of a pretraining run's mixture that were made under way: `interventions.json` in the run's folder, which
//! `posttrain intervene` writes and the run reads when it starts.

use crate::checkpoints;
use crate::settings::within;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// The file in the run's folder.
pub(crate) const FILE_NAME: &str = "interventions.json";

/// A change of the mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Intervention {
    /// The first step with the new mixture, from 0.
    pub(crate) step: u64,
    /// The weight of each source; the others have none.
    pub(crate) mixture: BTreeMap<String, f64>,
    /// The local time of the decision.
    pub(crate) decided: String,
    /// The run's steps at that time.
    pub(crate) decided_after_step: u64,
}

impl Intervention {
    /// What is said of it in the run's notes.
    pub(crate) fn note(&self) -> String {
        let weights: Vec<String> =
            self.mixture.iter().map(|(source, weight)| format!("{source} {weight}")).collect();
        let Self { step, decided, decided_after_step, .. } = self;
        format!(
            "intervention: from step {step} on the mixture is {} (decided {decided}, after step {decided_after_step})",
            weights.join(", ")
        )
    }
}

/// Refuses weights of a mixture that are no weights, and those that add up to 0.
///
/// # Errors
/// Begins with `what`, and names the source.
pub(crate) fn check_weights(what: &str, mixture: &BTreeMap<String, f64>) -> Result<()> {
    for (source, weight) in mixture {
        within(&format!("{what}: the weight of {source}"), *weight, 0.0, f64::MAX)?;
    }
    let sum: f64 = mixture.values().sum();
    ensure!(sum > 0.0, "{what}: the weights of `mixture` add up to 0; give one above 0");
    Ok(())
}

/// The interventions that a run goes on with.
///
/// # Errors
/// When one that the run was trained with is missing or changed: the run would not be what its records say.
pub(crate) fn of_run(folder: &Path, accept_changes: bool) -> Result<Vec<Intervention>> {
    let now = read(folder)?;
    let Ok(text) = std::fs::read(folder.join("run.json")) else { return Ok(now) };
    let run: Value = serde_json::from_slice(&text).unwrap_or_default();
    let before: Vec<Intervention> = serde_json::from_value(run["interventions"].clone()).unwrap_or_default();
    let done = checkpoints::newest_step(&folder.join("checkpoints"));
    let lost = before.iter().find(|one| one.step < done && !now.contains(one));
    match lost.filter(|_| !accept_changes) {
        Some(lost) => bail!(
            "{} lacks a change that the run was trained with ({}); restore the file, or give `--accept-changes`",
            folder.join(FILE_NAME).display(),
            lost.note()
        ),
        None => Ok(now),
    }
}

/// Refuses to go on when an intervention was decided while the run was starting.
///
/// # Errors
/// When the file has changed since it was read.
pub(crate) fn refuse_other(folder: &Path, known: &[Intervention]) -> Result<()> {
    ensure!(
        read(folder)? == known,
        "an intervention was decided while the run started; run the same command again to train with it"
    );
    Ok(())
}

/// The interventions of a run, by step; none without a file.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub(crate) fn read(folder: &Path) -> Result<Vec<Intervention>> {
    let path = folder.join(FILE_NAME);
    match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        Ok(text) => serde_json::from_slice(&text).with_context(|| {
            format!(
                "{} is damaged; restore it, or remove it to go on with the recipe's mixture",
                path.display()
            )
        }),
    }
}
