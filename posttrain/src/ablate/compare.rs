//! The arms side by side: the mean of every figure over the seeds, and the paired difference from the first arm with its
//! standard error, over seeds and, for benchmark tasks, over documents.

use super::plan::Plan;
use evaluate::benchmark::TaskValues;
use evaluate::statistics;
use serde::Serialize;
use std::collections::BTreeMap;

/// The name of what is to be low.
pub(super) const OBJECTIVE: &str = "objective";

/// The held-out losses of a run; the runs of an arm are in the order of the seeds.
#[derive(Debug, Clone)]
pub(super) struct RunScores {
    pub(super) arm: String,
    /// Nats per token, by source.
    pub(super) losses: BTreeMap<String, f64>,
}

impl RunScores {
    /// The weighted mean of the targets' losses.
    pub(super) fn objective(&self, plan: &Plan) -> f64 {
        let count = self.losses.len();
        self.losses.iter().map(|(source, loss)| plan.target(source, count) * loss).sum()
    }
}

/// The name of a run among the models that are scored.
pub(super) fn run_name(arm: &str, seed: u64) -> String {
    format!("{arm}-seed{seed}")
}

/// All figures of all arms.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) seeds: usize,
    pub(super) figures: Vec<Figure>,
}

/// One figure of all arms.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub(super) name: String,
    /// Whether a higher value is better.
    pub(super) is_score: bool,
    pub(super) arms: Vec<ArmFigure>,
}

/// A figure of one arm.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ArmFigure {
    pub(super) arm: String,
    /// The mean over the seeds.
    pub(super) mean: f64,
    /// The mean difference from the first arm; none for the first.
    pub(super) difference: Option<f64>,
    /// The standard error of the difference over seeds; none with one seed.
    pub(super) error_over_seeds: Option<f64>,
    /// The standard error of the difference over documents; only of benchmark tasks.
    pub(super) error_over_documents: Option<f64>,
}

impl ArmFigure {
    /// The larger of the standard errors.
    pub(super) fn error(&self) -> Option<f64> {
        self.error_over_seeds.into_iter().chain(self.error_over_documents).reduce(f64::max)
    }

    /// Whether the difference is more than two standard errors.
    pub(super) fn is_clear(&self) -> bool {
        self.difference.zip(self.error()).is_some_and(|(difference, error)| difference.abs() > 2.0 * error)
    }
}

impl Comparison {
    pub(super) fn new(plan: &Plan, scores: &[RunScores], benchmarks: &[TaskValues]) -> Self {
        let mut figures = Vec::new();
        let of = |name: &str, value: &dyn Fn(&RunScores) -> f64| {
            let values = |arm: &str| -> Vec<f64> {
                scores.iter().filter(|score| score.arm == arm).map(value).collect()
            };
            figure(plan, name, false, &values, &|_| None)
        };
        figures.push(of(OBJECTIVE, &|score| score.objective(plan)));
        let sources = scores.first().into_iter().flat_map(|score| score.losses.keys());
        for source in sources {
            let loss = |score: &RunScores| score.losses.get(source).copied().unwrap_or(f64::NAN);
            figures.push(of(&format!("loss of {source}"), &loss));
        }
        for task in benchmarks {
            let documents = |arm: &str, seed: u64| task.values_of(&run_name(arm, seed));
            let values = |arm: &str| plan.seeds.iter().map(|seed| mean(&documents(arm, *seed))).collect();
            let errors = |arm: &str| over_documents(plan, arm, &documents);
            figures.push(figure(plan, &format!("{} {}", task.task, task.metric), true, &values, &errors));
        }
        Self { seeds: plan.seeds.len(), figures }
    }

    /// A line for each arm: its name, and its part of every figure.
    pub(super) fn lines(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &ArmFigure>)> {
        let arms = self.figures.first().into_iter().flat_map(|figure| &figure.arms).enumerate();
        arms.map(|(index, arm)| {
            (arm.arm.as_str(), self.figures.iter().map(move |figure| &figure.arms[index]))
        })
    }

    /// The figures as a table of text: a line for each arm, a column for each figure; `*` where a difference from the first
    /// arm is more than two standard errors.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![vec![String::new()]];
        rows[0].extend(self.figures.iter().map(|figure| figure.name.clone()));
        for (arm, figures) in self.lines() {
            rows.push(std::iter::once(arm.to_owned()).chain(figures.map(ArmFigure::cell)).collect());
        }
        terminal::columns(&rows)
    }
}

impl ArmFigure {
    /// The mean, and the difference from the first arm with its standard error.
    pub(super) fn cell(&self) -> String {
        let mut text = format!("{:.4}", self.mean);
        if let Some(difference) = self.difference {
            text += &format!(" ({difference:+.4}");
            if let Some(error) = self.error() {
                text += &format!(" ± {error:.4}");
            }
            text += if self.is_clear() { ")*" } else { ")" };
        }
        text
    }
}

/// A figure of all arms: `values` are those of an arm's seeds in the plan's order.
fn figure(
    plan: &Plan,
    name: &str,
    is_score: bool,
    values: &dyn Fn(&str) -> Vec<f64>,
    over_documents: &dyn Fn(&str) -> Option<f64>,
) -> Figure {
    let baseline = values(&plan.arms[0].name);
    let arm = |index: usize| {
        let name = &plan.arms[index].name;
        let own = values(name);
        let differences: Vec<f64> = own.iter().zip(&baseline).map(|(one, other)| one - other).collect();
        let is_other = index > 0;
        ArmFigure {
            arm: name.clone(),
            mean: mean(&own),
            difference: is_other.then(|| mean(&differences)),
            error_over_seeds: standard_error(&differences).filter(|_| is_other),
            error_over_documents: over_documents(name).filter(|_| is_other),
        }
    };
    Figure { name: name.to_owned(), is_score, arms: (0..plan.arms.len()).map(arm).collect() }
}

/// The standard error of the difference from the first arm over documents, each document's difference being the mean over
/// the seeds.
fn over_documents(plan: &Plan, arm: &str, documents: &dyn Fn(&str, u64) -> Vec<f64>) -> Option<f64> {
    let mut sums: Vec<f64> = Vec::new();
    for seed in &plan.seeds {
        let (own, baseline) = (documents(arm, *seed), documents(&plan.arms[0].name, *seed));
        sums.resize(own.len().min(baseline.len()), 0.0);
        sums.iter_mut().zip(own.iter().zip(&baseline)).for_each(|(sum, (one, other))| *sum += one - other);
    }
    let differences: Vec<f64> = sums.into_iter().map(|sum| sum / plan.seeds.len() as f64).collect();
    standard_error(&differences)
}

fn mean(values: &[f64]) -> f64 {
    statistics::mean(values).value
}

/// The standard error of a mean; none for fewer than two values.
fn standard_error(values: &[f64]) -> Option<f64> {
    Some(statistics::mean(values).standard_error).filter(|error| error.is_finite())
}
