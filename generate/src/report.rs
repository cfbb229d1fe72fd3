//! `report.html`: a page to judge a run by: what was dropped where, how long and how varied the rows are, and a
//! sample of rows with every step that led to them.
//!
//! The page loads nothing and is complete without its script, which only searches. Whatever a teacher wrote is
//! escaped by the template, and the page's policy permits its own script alone, so that nothing a row contains can
//! run.

mod columns;
mod counts;
mod figures;
mod lengths;
mod page;
mod row_sample;
mod samples;

#[cfg(test)]
mod tests;

pub(crate) use row_sample::{RowSample, SampledDrop};

use anyhow::{Context, Result};
use counts::TaskCounts;
use files::atomic;
use samples::Samples;
use serde_json::{Map, Value};
use std::path::Path;

/// Collects what the page shows. Memory does not grow with the number of rows: lengths are counted in buckets,
/// values of columns up to a number of distinct ones, samples up to a number per task and reason with their texts
/// cut.
pub(crate) struct Report {
    title: String,
    about: Vec<(&'static str, String)>,
    /// In the order in which they were added.
    tasks: Vec<(String, TaskCounts)>,
    samples: Samples,
}

impl Report {
    /// A report without rows; `about` is shown at the top (teacher, seed, tokens, cost, ...).
    pub(crate) fn new(title: &str, about: Vec<(&'static str, String)>) -> Self {
        Self { title: title.to_owned(), about, tasks: Vec::new(), samples: Samples::default() }
    }

    /// Counts a kept row: its messages, their words, and its columns.
    pub(crate) fn count_kept(&mut self, task: &str, row: &Map<String, Value>) {
        self.counts(task).add_kept(row);
    }

    /// Counts a dropped row.
    pub(crate) fn count_dropped(&mut self, task: &str, reason: &str, step: &str) {
        self.counts(task).add_dropped(reason, step);
    }

    /// Whether a row would be in the sample, so that the caller does not need the steps of all other rows. It
    /// depends on the ids alone.
    pub(crate) fn wants(&self, task: &str, reason: Option<&str>, id: &str) -> bool {
        self.samples.wants(task, reason, id)
    }

    /// Offers a row with its steps to the sample. Does not count the row.
    pub(crate) fn sample(&mut self, sample: RowSample) {
        let names = sample.steps.iter().map(|step| step.name.as_str());
        self.counts(&sample.task).add_order(names);
        self.samples.offer(sample);
    }

    /// Writes the page.
    ///
    /// # Errors
    /// Names the file that cannot be written; what was there before is unchanged.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let page = page::render(&self.title, &self.about, &self.tasks, &self.samples)
            .with_context(|| format!("cannot render the report {}", path.display()))?;
        Ok(atomic::write(path, page)?)
    }

    fn counts(&mut self, task: &str) -> &mut TaskCounts {
        let index = self.tasks.iter().position(|(name, _)| name == task).unwrap_or(self.tasks.len());
        if index == self.tasks.len() {
            self.tasks.push((task.to_owned(), TaskCounts::default()));
        }
        &mut self.tasks[index].1
    }
}
