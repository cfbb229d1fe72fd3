//! Planted rows: rows with known texts that are run through a task's own filters, to measure what the filters keep
//! of good and of bad rows. A step with a planted answer calls nobody; all other steps, above all the judges, call
//! their teacher.

use crate::rows;
use crate::run::Run;
use crate::setup::{Setup, TeacherOptions};
use crate::store::Verdict;
use crate::task::Task;
use crate::tasks::style;
use anyhow::{Context, Result};
use std::sync::Arc;

/// A row to test filters on.
#[derive(Debug, Clone, Default)]
pub struct PlantedRow {
    /// Its source text, for tasks that take one.
    pub source: Option<String>,
    /// Steps with the texts that replace their answers.
    pub answers: Vec<(String, String)>,
}

/// The outcome of a planted row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlantedOutcome {
    /// All filters kept it.
    Kept,
    /// A filter dropped it.
    Dropped {
        /// The reason, as in the dataset's reports.
        reason: String,
        /// The evidence, for people.
        detail: String,
    },
}

/// The filters of one or several tasks, with the teachers that judge for them.
pub struct Filters {
    setup: Setup,
    run: Arc<Run>,
    _folder: tempfile::TempDir,
}

impl Filters {
    /// Opens the teachers; `rows` is the maximum number of rows of a task.
    ///
    /// # Errors
    /// Those of `smoltalk gen`, except that no source is needed.
    pub async fn open(options: &TeacherOptions, rows: usize) -> Result<Self> {
        let setup = Setup::without_source(options, rows).await?;
        let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
        let run = Arc::new(Run::open(folder.path(), setup.prices.clone(), None)?);
        Ok(Self { setup, run, _folder: folder })
    }

    /// Returns the tasks, in the order in which they were named.
    pub fn tasks(&self) -> Vec<&'static Task> {
        self.setup.recipes.iter().map(|recipe| recipe.task).collect()
    }

    /// Returns the key of the style that the row at a position has; `None` if the task has no styles.
    pub fn style(&self, task: usize, position: usize) -> Option<String> {
        let context = rows::context(&self.setup, &self.setup.recipes[task], &self.run, position, None);
        style(&context).map(|style| style.key.clone())
    }

    /// Runs the row at a position of the task with this index; `None` if the run was stopped.
    ///
    /// # Errors
    /// When a teacher cannot be used at all.
    pub async fn try_row(
        &self,
        task: usize,
        position: usize,
        row: PlantedRow,
    ) -> Result<Option<PlantedOutcome>> {
        let recipe = &self.setup.recipes[task];
        let context = rows::context(&self.setup, recipe, &self.run, position, row.source);
        let verdict = rows::planted(context, row.answers.into_iter().collect()).await?;
        Ok(verdict.map(|verdict| match verdict {
            Verdict::Kept(_) => PlantedOutcome::Kept,
            Verdict::Dropped(dropped) => {
                PlantedOutcome::Dropped { reason: dropped.reason, detail: dropped.detail }
            }
        }))
    }
}
