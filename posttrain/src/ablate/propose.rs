//! The mixture that the fitted laws expect to be best, and how far they are to be trusted.

use super::compare::RunScores;
use super::law::{Law, Point, best, objective, shares};
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

/// A run, with its mixture in the order of the domains.
type MixedRun<'a> = (Vec<f64>, &'a RunScores);

/// The laws of all runs, and what they expect to be best.
pub(super) fn proposal(plan: &Plan, scores: &[RunScores]) -> Result<Proposal> {
    let domains = domains(plan)?;
    let mut runs: Vec<MixedRun<'_>> = Vec::new();
    for score in scores {
        let arm = plan.arms.iter().find(|arm| arm.name == score.arm);
        let weights = arm.map(|arm| plan.weights(arm)).transpose()?.unwrap_or_default();
        let weights = domains.iter().map(|name| weights.get(name).copied().unwrap_or_default()).collect();
        runs.push((weights, score));
    }
    let (mut errors, mut measured) = (Vec::new(), BTreeMap::<&str, Vec<f64>>::new());
    for (weights, score) in &runs {
        let others: Vec<&MixedRun<'_>> = runs.iter().filter(|(_, other)| other.arm != score.arm).collect();
        let value = score.objective(plan);
        errors.push((Model::fit(plan, &domains, &others).objective(weights) - value).abs());
        measured.entry(&score.arm).or_default().push(value);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let measured: Vec<(&str, f64)> = measured.into_iter().map(|(arm, values)| (arm, mean(&values))).collect();
    let lowest = measured.iter().min_by(|one, other| one.1.total_cmp(&other.1));
    let (best_arm, lowest) =
        lowest.map_or((String::new(), f64::NAN), |(arm, value)| ((*arm).to_owned(), *value));
    let highest = measured.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    let model = Model::fit(plan, &domains, &runs.iter().collect::<Vec<_>>());
    let weights = best(&model.laws);
    Ok(Proposal {
        expected: model.objective(&weights),
        weights: domains.into_iter().zip(weights).collect(),
        best_arm: (best_arm, lowest),
        error: mean(&errors),
        range: highest - lowest,
    })
}

/// How the objective follows from the mixture: a constant and a sum of laws, each with its part.
struct Model {
    constant: f64,
    laws: Vec<(f64, Law)>,
}

impl Model {
    /// Fits a law to the held-out loss of each domain. A target that is a domain has its law; any other is the sum of the
    /// domains' losses that is nearest to it.
    fn fit(plan: &Plan, domains: &[String], runs: &[&MixedRun<'_>]) -> Self {
        let loss = |run: &MixedRun<'_>, source: &str| run.1.losses.get(source).copied();
        let held_out: Vec<&String> =
            domains.iter().filter(|domain| runs.iter().all(|run| loss(run, domain).is_some())).collect();
        let law = |source: &str| {
            let points: Vec<Point> =
                runs.iter().filter_map(|run| Some((run.0.clone(), loss(run, source)?))).collect();
            Law::fit(&points)
        };
        let mut laws: Vec<(f64, Law)> = held_out.iter().map(|domain| (0.0, law(domain))).collect();
        let mut constant = 0.0;
        let Some(sources) = runs.first().map(|run| &run.1.losses) else { return Self { constant, laws } };
        for source in sources.keys() {
            let part = plan.target(source, sources.len());
            if let Some(index) = held_out.iter().position(|domain| *domain == source) {
                laws[index].0 += part;
            } else if part > 0.0 && held_out.is_empty() {
                laws.push((part, law(source)));
            } else if part > 0.0 {
                let components = |run: &&MixedRun<'_>| -> Option<Point> {
                    let of_domains =
                        held_out.iter().map(|domain| loss(run, domain)).collect::<Option<_>>()?;
                    Some((of_domains, loss(run, source)?))
                };
                let (found, rest) = shares(&runs.iter().filter_map(components).collect::<Vec<_>>());
                constant += part * rest;
                laws.iter_mut().zip(found).for_each(|(law, share)| law.0 += part * share);
            }
        }
        Self { constant, laws }
    }

    fn objective(&self, weights: &[f64]) -> f64 {
        self.constant + objective(&self.laws, weights)
    }
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
