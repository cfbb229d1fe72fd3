//! `report.html`: one page a person opens to judge a run - what was lost where, how long and how varied the rows
//! are, and a sample of rows with every step that led to them.
//!
//! The page loads nothing and is readable without its script, which only searches. Whatever a teacher wrote reaches it
//! through the template's escaping alone (`report.html` has no unescaped output), and the page's policy names the
//! hash of its one script, so that a row that escaped all the same could still not run.

mod count;
mod page;
mod samples;

#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use count::Counts;
use datasets::write::write_atomic;
use samples::Samples;
use serde_json::{Map, Value};
use std::path::Path;

/// Gathers what the page shows. Memory does not grow with the rows: lengths are counted in buckets, columns up to a
/// number of distinct values, samples up to a number for each task and reason with their texts cut; tasks, steps and
/// reasons are as many as the recipes name.
pub(crate) struct Report {
    title: String,
    about: Vec<(String, String)>,
    /// In the order in which they came.
    tasks: Vec<(String, Counts)>,
    samples: Samples,
}

/// A row as the page shows it.
pub(crate) struct Sample {
    /// The row's id; which rows the page shows follows from it.
    pub(crate) id: String,
    /// The task that made it.
    pub(crate) task: String,
    /// Reason, step and detail of a row that was dropped; none if it was kept.
    pub(crate) dropped: Option<(String, String, String)>,
    /// `messages`, and whatever else the row holds; may be empty for a dropped row.
    pub(crate) row: Map<String, Value>,
    /// What was asked for it, in order.
    pub(crate) steps: Vec<Step>,
}

/// One call that was made for a row.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The step's name.
    pub(crate) name: String,
    /// Who was asked.
    pub(crate) teacher: String,
    /// What was asked, as a person reads it.
    pub(crate) prompt: String,
    /// What came back.
    pub(crate) reply: String,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: u64,
    /// Tokens of the reply.
    pub(crate) completion_tokens: u64,
}

impl Report {
    /// A report without rows; `about` is shown at the top in its order (teacher, seed, tokens, cost, ...).
    pub(crate) fn new(title: &str, about: Vec<(String, String)>) -> Self {
        Self { title: title.to_owned(), about, tasks: Vec::new(), samples: Samples::default() }
    }

    /// Counts a kept row: its messages, their words, and its columns.
    pub(crate) fn kept(&mut self, task: &str, row: &Map<String, Value>) {
        self.counts(task).kept(row);
    }

    /// Counts a dropped row.
    pub(crate) fn dropped(&mut self, task: &str, reason: &str, step: &str) {
        self.counts(task).dropped(reason, step);
    }

    /// Whether this row would be among the samples, so that a caller need not gather the steps of all others.
    /// Which ones are follows from the ids alone.
    pub(crate) fn wants(&self, task: &str, reason: Option<&str>, id: &str) -> bool {
        self.samples.wants(task, reason, id)
    }

    /// Offers a row with its steps. It does not count the row.
    pub(crate) fn sample(&mut self, sample: Sample) {
        let names = sample.steps.iter().map(|step| step.name.as_str());
        self.counts(&sample.task).walked(names);
        self.samples.offer(sample);
    }

    /// Writes the page.
    ///
    /// # Errors
    /// Names the file when it cannot be written; nothing half-written stays.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let page = page::render(&self.title, &self.about, &self.tasks, &self.samples)
            .with_context(|| format!("cannot lay out the report {}", path.display()))?;
        Ok(write_atomic(path, page.as_bytes())?)
    }

    fn counts(&mut self, task: &str) -> &mut Counts {
        let place = self.tasks.iter().position(|(name, _)| name == task).unwrap_or(self.tasks.len());
        if place == self.tasks.len() {
            self.tasks.push((task.to_owned(), Counts::default()));
        }
        &mut self.tasks[place].1
    }
}
