//! The scores of a model: for each task and group the mean of every metric with its standard error, the files that were
//! read, and how it was asked. `results.json` contains them; the table shows several models side by side.

use super::job::Job;
use super::record::Record;
use crate::results::refuse_unless;
use crate::statistics::{self, Estimate};
use crate::task::{Group, GroupMean, MetricValue, Task, is_share};
use anyhow::{Context, Result};
use files::atomic;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The scores of one model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelSummary {
    program: String,
    name: String,
    model: Value,
    tasks: Vec<TaskSummary>,
    groups: Vec<GroupSummary>,
}

/// The scores of one task.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct TaskSummary {
    task: String,
    /// The dialect and the version of the task.
    scorer: String,
    shots: usize,
    documents: usize,
    metrics: Vec<Metric>,
    /// Continuations whose first token merged with the context's last one.
    #[serde(default, skip_serializing_if = "is_zero")]
    merged_borders: usize,
    /// The SHA-256 of every data file.
    files: BTreeMap<String, String>,
    /// The first document's prompt as the model reads it, and its ids.
    first_prompt: String,
    first_prompt_ids: Vec<u32>,
    seconds: f64,
}

/// The scores of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct GroupSummary {
    group: String,
    documents: usize,
    metrics: Vec<Metric>,
}

/// A metric's score.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Metric {
    metric: String,
    #[serde(flatten)]
    estimate: Estimate,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl ModelSummary {
    pub(super) fn new(name: &str, model: Value) -> Self {
        let program = concat!("smoleval ", env!("CARGO_PKG_VERSION"));
        Self {
            program: program.to_owned(),
            name: name.to_owned(),
            model,
            tasks: Vec::new(),
            groups: Vec::new(),
        }
    }

    pub(super) fn add_task(&mut self, job: &Job<'_>, records: &[Record], seconds: f64) {
        self.tasks.push(TaskSummary {
            task: job.task.name.clone(),
            scorer: super::record::scorer(job.task),
            shots: job.shots,
            documents: records.len(),
            metrics: metrics(records),
            merged_borders: job.merged_borders,
            files: job.files.clone(),
            first_prompt: job.first_prompt.clone(),
            first_prompt_ids: job.first_prompt_ids.clone(),
            seconds: (seconds * 10.0).round() / 10.0,
        });
    }

    /// Adds the groups whose tasks are all scored.
    pub(super) fn add_groups(&mut self, groups: &[Group]) {
        self.groups.clear();
        for group in groups.iter().filter(|group| group.mean != GroupMean::None) {
            let parts: Option<Vec<(usize, &[Metric])>> =
                group.tasks.iter().map(|name| self.part(name)).collect();
            let Some(parts) = parts else { continue };
            let summary = GroupSummary {
                group: group.name.clone(),
                documents: parts.iter().map(|(documents, _)| documents).sum(),
                metrics: group_metrics(group.mean, &parts),
            };
            self.groups.push(summary);
        }
    }

    /// The scores of a task, or of a group that is already complete.
    fn part(&self, name: &str) -> Option<(usize, &[Metric])> {
        let task = self.tasks.iter().find(|task| task.task == name);
        let group = || self.groups.iter().find(|group| group.group == name);
        task.map(|task| (task.documents, &task.metrics[..]))
            .or_else(|| group().map(|group| (group.documents, &group.metrics[..])))
    }

    /// Reads `results.json`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("results.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a result of smoleval", path.display()))
    }

    /// Its name in tables.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The names of its tasks.
    pub(super) fn task_names(&self) -> Vec<String> {
        self.tasks.iter().map(|task| task.task.clone()).collect()
    }

    /// The stored documents of a task.
    ///
    /// # Errors
    /// When the file holds others than those that `results.json` is about: a run into this folder was stopped.
    pub(super) fn records(&self, folder: &Path, task: &str) -> Result<Vec<Record>> {
        let path = folder.join(format!("{task}.jsonl"));
        let again = || format!("run `smoleval score --tasks {task}` again");
        anyhow::ensure!(path.is_file(), "{} does not exist; {}", path.display(), again());
        let records = super::store::read(&path)?;
        let summary = self.tasks.iter().find(|summary| summary.task == task);
        let expected = summary.with_context(|| format!("no results of task `{task}`"))?.documents;
        anyhow::ensure!(
            records.len() == expected,
            "{} has {} documents, and results.json has the score of {expected}: a later run was stopped; {}",
            path.display(),
            records.len(),
            again()
        );
        Ok(records)
    }

    /// Replaces a task's scores by those of records that were scored again.
    pub(super) fn replace_task(&mut self, task: &Task, records: &[Record]) -> Result<()> {
        let summary = self.tasks.iter_mut().find(|summary| summary.task == task.name);
        let summary = summary.with_context(|| format!("no results of task `{}`", task.name))?;
        summary.metrics = metrics(records);
        summary.documents = records.len();
        summary.scorer = super::record::scorer(task);
        Ok(())
    }

    /// Refuses a folder whose `results.json` is none, before anything is scored.
    ///
    /// # Errors
    /// Names the file.
    pub(super) fn refuse_foreign(folder: &Path) -> Result<()> {
        let is_ours = |bytes: &[u8]| serde_json::from_slice::<Self>(bytes).is_ok();
        refuse_unless(&folder.join("results.json"), is_ours)
    }

    /// Writes `results.json`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let value = serde_json::to_value(self)?;
        Ok(atomic::write(&folder.join("results.json"), format!("{value:#}\n"))?)
    }
}

/// The score of every metric, in the order in which the first document has them.
fn metrics(records: &[Record]) -> Vec<Metric> {
    let Some(first) = records.first() else { return Vec::new() };
    let values = |name: &str| -> Vec<&MetricValue> {
        let value = |record: &'_ Record| record.metrics.iter().position(|(other, _)| other == name);
        records.iter().filter_map(|record| Some(&record.metrics[value(record)?].1)).collect()
    };
    let metric = |(name, _): &(String, MetricValue)| {
        let estimate = estimate(&values(name));
        Metric { metric: name.clone(), estimate }
    };
    first.metrics.iter().map(metric).collect()
}

/// The score that follows from all documents' values of one metric.
fn estimate(values: &[&MetricValue]) -> Estimate {
    let numbers: Option<Vec<f64>> = values
        .iter()
        .map(|value| match value {
            MetricValue::Number(number) => Some(*number),
            _ => None,
        })
        .collect();
    if let Some(numbers) = numbers {
        return statistics::mean(&numbers);
    }
    let (sums, wholes): (Vec<f64>, Vec<f64>) = values.iter().map(|value| value.parts()).unzip();
    statistics::ratio(&sums, &wholes)
}

/// A group's metrics: those that all its parts have.
fn group_metrics(mean: GroupMean, parts: &[(usize, &[Metric])]) -> Vec<Metric> {
    let Some((_, first)) = parts.first() else { return Vec::new() };
    let of_part = |metrics: &[Metric], name: &str| {
        metrics.iter().find(|metric| metric.metric == name).map(|metric| metric.estimate)
    };
    let metric = |name: &str| -> Option<Metric> {
        let estimates: Vec<(usize, Estimate)> = parts
            .iter()
            .map(|(documents, metrics)| Some((*documents, of_part(metrics, name)?)))
            .collect::<Option<_>>()?;
        let estimate = match mean {
            GroupMean::OfDocuments => statistics::pooled(&estimates),
            _ => statistics::average(&estimates.into_iter().map(|(_, one)| one).collect::<Vec<_>>()),
        };
        Some(Metric { metric: name.to_owned(), estimate })
    };
    first.iter().filter_map(|one| metric(&one.metric)).collect()
}

/// The scores of several models: a head, then one row for each metric of a task or group, with a cell for each model
/// behind the names of the task and the metric.
pub(super) fn rows<'a>(models: &(impl Iterator<Item = &'a ModelSummary> + Clone)) -> Vec<Vec<String>> {
    let mut lines: Vec<(&str, &str)> = Vec::new();
    for (name, metric, _) in models.clone().flat_map(ModelSummary::scores) {
        if !lines.contains(&(name, metric)) {
            lines.push((name, metric));
        }
    }
    let mut head = vec!["task".to_owned(), "metric".to_owned()];
    head.extend(models.clone().map(|model| model.name.clone()));
    let row = |(name, metric): (&str, &str)| {
        let cells = models.clone().map(|model| {
            let score = model.scores().find(|(other, of, _)| *other == name && *of == metric);
            score.map_or_else(String::new, |(_, metric, estimate)| cell(metric, estimate))
        });
        [name.to_owned(), metric.to_owned()].into_iter().chain(cells).collect()
    };
    std::iter::once(head).chain(lines.into_iter().map(row)).collect()
}

/// [`rows`] as text, in columns.
pub(crate) fn table(models: &[ModelSummary]) -> String {
    terminal::columns(&rows(&models.iter()))
}

/// A share in percent, any other figure as it is, with its standard error.
fn cell(metric: &str, Estimate { value, standard_error }: Estimate) -> String {
    let (scale, digits) = if is_share(metric) { (100.0, 2) } else { (1.0, 4) };
    match standard_error.is_nan() {
        true => format!("{:.digits$}", scale * value),
        false => format!("{:.digits$} ± {:.digits$}", scale * value, scale * standard_error),
    }
}

impl ModelSummary {
    /// Every score: the task or group, the metric, the estimate.
    pub(super) fn scores(&self) -> impl Iterator<Item = (&str, &str, Estimate)> {
        let tasks = self.tasks.iter().map(|task| (task.task.as_str(), &task.metrics));
        let groups = self.groups.iter().map(|group| (group.group.as_str(), &group.metrics));
        groups.chain(tasks).flat_map(|(name, metrics)| {
            metrics.iter().map(move |metric| (name, metric.metric.as_str(), metric.estimate))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_counts_documents_or_tasks() {
        let one = |value, standard_error| Estimate { value, standard_error };
        let metrics = |value| vec![Metric { metric: "acc".to_owned(), estimate: one(value, 0.1) }];
        let (first, second) = (metrics(0.5), metrics(0.9));
        for (mean, expected) in [(GroupMean::OfTasks, 0.7), (GroupMean::OfDocuments, 0.8)] {
            let group = group_metrics(mean, &[(10, &first), (30, &second)]);
            assert!((group[0].estimate.value - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn verdicts_on_parts_are_counted_over_all_documents() {
        let values = [MetricValue::Verdicts(vec![true, false, true]), MetricValue::Verdicts(vec![false])];
        let estimate = estimate(&values.iter().collect::<Vec<_>>());
        assert!((estimate.value - 0.5).abs() < 1e-12);
    }
}
