//! Benchmark tasks that score a model while it trains (`--eval-tasks`), and when they are due.

use crate::schedule::interval;
use crate::settings::TrainingSettings;
use anyhow::{Context, Result};
use evaluate::benchmark::{TrainingBenchmarks, TrainingTasks};
use serde_json::{Map, Value};
use std::path::Path;

/// The tasks of a run.
pub(crate) struct Benchmarks {
    pub(crate) tasks: TrainingBenchmarks,
    /// Steps between two scorings.
    every: u64,
    /// Steps of the run.
    total: u64,
}

impl Benchmarks {
    /// Reads the rows of the tasks, if there are some, and describes them in run.json.
    ///
    /// # Errors
    /// Names the task, the file, the row or the setting that is wrong.
    pub(crate) fn read(
        settings: &TrainingSettings,
        total: u64,
        about: &mut Map<String, Value>,
    ) -> Result<Option<Self>> {
        let TrainingSettings { eval_tasks, eval_tasks_data, eval_limit, eval_every, .. } = settings;
        if eval_tasks.is_empty() {
            return Ok(None);
        }
        let tasks = TrainingBenchmarks::read(TrainingTasks {
            names: eval_tasks,
            data: (!eval_tasks_data.is_empty()).then(|| Path::new(eval_tasks_data)),
            limit: (*eval_limit > 0).then_some(*eval_limit),
            chat_template: settings.eval_chat_template,
        });
        let tasks = tasks.context("`eval_tasks`")?;
        about.insert("benchmarks".to_owned(), tasks.description());
        Ok(Some(Self { tasks, every: interval(*eval_every, total), total }))
    }

    /// Whether the model is scored after this step; 0 is before the first one.
    pub(crate) fn are_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every) || step == self.total
    }
}
