//! The mixture that the fitted laws expect to be best, and how far they are to be trusted.

use super::compare::RunScores;
use super::law::{Law, best, objective};
use super::plan::{MIXTURE, Plan};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A proposal.
#[derive(Debug)]
pub(super) struct Proposal {
    /// The weights by domain, which add up to 1.
    pub(super) weights: Vec<(String, f64)>,
    /// The expected objective.
    pub(super) expected: f64,
    /// The lowest objective that was measured, and its arm.
    pub(super) best_arm: (String, f64),
    /// The mean error of laws that were fitted without the arm they predict.
    pub(super) error: f64,
    /// The range of the measured objectives.
    pub(super) range: f64,
}

/// Refuses a plan from which nothing can be fitted.
pub(super) fn check(plan: &Plan) -> Result<()> {
    ensure!(plan.vary == MIXTURE, "`--propose` fits mixtures, and `{}` varies; remove it", plan.vary);
    let domains = domains(plan)?.len();
    ensure!(
        plan.arms.len() > domains + 1,
        "`--propose` needs at least {} arms for {domains} domains, better {}; there are {}",
        domains + 2,
        3 * domains,
        plan.arms.len()
    );
    Ok(())
}

/// The sources that some arm draws from.
fn domains(plan: &Plan) -> Result<Vec<String>> {
    let mut domains = Vec::new();
    for arm in &plan.arms {
        for (name, weight) in plan.weights(arm)? {
            if weight > 0.0 && !domains.contains(&name) {
                domains.push(name);
            }
        }
    }
    domains.sort();
    Ok(domains)
}

/// Fits a law to each target's loss over all runs, and minimizes their sum.
pub(super) fn proposal(plan: &Plan, scores: &[RunScores]) -> Result<Proposal> {
    let domains = domains(plan)?;
    let mut arms: Vec<(Vec<f64>, &RunScores)> = Vec::new();
    for score in scores {
        let arm = plan.arms.iter().find(|arm| arm.name == score.arm);
        let weights = arm.map(|arm| plan.weights(arm)).transpose()?.unwrap_or_default();
        let weights = domains.iter().map(|name| weights.get(name).copied().unwrap_or_default()).collect();
        arms.push((weights, score));
    }
    let all: Vec<&(Vec<f64>, &RunScores)> = arms.iter().collect();
    let weights = best(&laws(plan, &all));
    let (mut errors, mut measured) = (Vec::new(), BTreeMap::<&str, Vec<f64>>::new());
    for (weights, score) in &arms {
        let others: Vec<_> = arms.iter().filter(|(_, other)| other.arm != score.arm).collect();
        let value = score.objective(plan);
        errors.push((objective(&laws(plan, &others), weights) - value).abs());
        measured.entry(&score.arm).or_default().push(value);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let measured: Vec<(&str, f64)> = measured.into_iter().map(|(arm, values)| (arm, mean(&values))).collect();
    let (lowest, highest) =
        measured.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, value)| {
            (low.min(*value), high.max(*value))
        });
    let best_arm = measured.iter().find(|(_, value)| *value == lowest).map(|(arm, _)| (*arm).to_owned());
    Ok(Proposal {
        expected: objective(&laws(plan, &all), &weights),
        weights: domains.into_iter().zip(weights).collect(),
        best_arm: (best_arm.unwrap_or_default(), lowest),
        error: mean(&errors),
        range: highest - lowest,
    })
}

/// A law for the held-out loss of each target, with its part.
fn laws(plan: &Plan, runs: &[&(Vec<f64>, &RunScores)]) -> Vec<(f64, Law)> {
    let Some((_, first)) = runs.first() else { return Vec::new() };
    let law = |source: &String| {
        let part = plan.target(source, first.losses.len());
        let points: Vec<(Vec<f64>, f64)> = runs
            .iter()
            .filter_map(|(weights, run)| Some((weights.clone(), *run.losses.get(source)?)))
            .collect();
        (part > 0.0).then(|| (part, Law::fit(&points)))
    };
    first.losses.keys().filter_map(law).collect()
}

impl Proposal {
    /// Whether the laws tell the arms apart: their error is well below what the arms differ by.
    pub(super) fn is_reliable(&self) -> bool {
        self.error < 0.25 * self.range
    }

    /// The proposal in words.
    pub(super) fn text(&self) -> String {
        let mut text = "\nproposed mixture (data mixing law, arXiv 2403.16952):\n".to_owned();
        for (name, weight) in &self.weights {
            let _ = writeln!(text, "  {name} = {:.1}", 100.0 * weight);
        }
        let _ = writeln!(
            text,
            "expected objective {:.4}; the best arm, {}, has {:.4}. An arm that the law had not seen was predicted to {:.4} on \
             average; the arms differ by {:.4}.",
            self.expected, self.best_arm.0, self.best_arm.1, self.error, self.range
        );
        if !self.is_reliable() {
            text.push_str(
                "The law predicts too badly to be relied on: add arms or seeds, or train longer.\n",
            );
        }
        text
    }
}
