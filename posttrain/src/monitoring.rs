//! What a run does beside training, so that people see what the model becomes: benchmark tasks and samples. Neither changes
//! the run's weights.

use crate::benchmarks::Benchmarks;
use crate::samples::{PromptForm, Samples};
use crate::settings::TrainingSettings;
use anyhow::Result;
use serde_json::{Map, Value};

/// What is computed of the current weights now and then.
pub(crate) struct Monitoring {
    /// Benchmark tasks that are scored (`--eval-tasks`).
    pub(crate) benchmarks: Option<Benchmarks>,
    /// Prompts that are answered (`--sample-prompts`).
    pub(crate) samples: Option<Samples>,
}

impl Monitoring {
    /// Reads the rows of the tasks and the prompts, and describes the tasks in run.json.
    ///
    /// # Errors
    /// Names the task, the file, the row or the setting that is wrong.
    pub(crate) fn read(
        settings: &TrainingSettings,
        total: u64,
        form: PromptForm,
        about: &mut Map<String, Value>,
    ) -> Result<Self> {
        let samples = Samples::read(settings, total, form)?;
        Ok(Self { benchmarks: Benchmarks::read(settings, total, about)?, samples })
    }
}
