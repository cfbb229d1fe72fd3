//! The values of every document, for callers that compare models themselves.

use super::options::Options;
use super::settings::Settings;
use crate::task::is_share;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use terminal::Stop;

/// One metric of a task, of several models.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskValues {
    /// The task's name.
    pub task: String,
    /// The metric's name: a share of right answers, for example `acc_norm`.
    pub metric: String,
    /// The value of each document by the model's name, in the documents' order, the same for all models.
    models: BTreeMap<String, Vec<f64>>,
}

impl TaskValues {
    /// The values of a model; none if it was not scored.
    pub fn values_of(&self, model: &str) -> Vec<f64> {
        self.models.get(model).cloned().unwrap_or_default()
    }
}

/// Scores models (names and locations) on benchmark tasks without a chat template, as `smoleval score` does, into the folder
/// `out`, and returns the metrics that are shares. An exit code in place of them after a signal; the same call continues.
///
/// # Errors
/// One line that names the task, the row or the model.
pub fn values_of_models(
    models: &[(String, String)],
    tasks: &[String],
    data: Option<&Path>,
    limit: Option<usize>,
    out: &Path,
) -> Result<Result<Vec<TaskValues>, u8>> {
    let stop = Stop::listen().context("cannot handle signals")?;
    let options = Options { tasks: tasks.to_vec(), ..Options::default() };
    let settings = Settings {
        models,
        data,
        out,
        limit,
        restart: false,
        skip_invalid: false,
        options: &options,
        more_tasks: &[],
    };
    let Some(summaries) = super::score_models(&settings, &stop)? else {
        return Ok(Err(stop.exit_code().unwrap_or(terminal::errors::ERROR_EXIT_CODE)));
    };
    let mut values: Vec<TaskValues> = Vec::new();
    for ((name, _), summary) in models.iter().zip(&summaries) {
        for task in summary.task_names() {
            let records = summary.records(&out.join(name), &task)?;
            let metrics = records.first().map(|record| record.metrics.clone()).unwrap_or_default();
            for (metric, _) in metrics.iter().filter(|(metric, _)| is_share(metric)) {
                let numbers = records.iter().filter_map(|record| record.number(metric)).collect();
                add(&mut values, &task, metric, name, numbers);
            }
        }
    }
    Ok(Ok(values))
}

fn add(values: &mut Vec<TaskValues>, task: &str, metric: &str, model: &str, numbers: Vec<f64>) {
    let index = values.iter().position(|one| one.task == task && one.metric == metric).unwrap_or_else(|| {
        let (task, metric) = (task.to_owned(), metric.to_owned());
        values.push(TaskValues { task, metric, models: BTreeMap::new() });
        values.len() - 1
    });
    values[index].models.insert(model.to_owned(), numbers);
}
