//! How the rows of a task are made: its functions, beside the data of [`Task`].

use crate::recipe::{Prompts, Recipe, TaskSettings};
use crate::row_context::{RowContext, RowError};
use crate::task::Task;
use anyhow::Result;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

/// A task and its functions; each file of `tasks/` declares one or more.
pub(crate) struct Maker {
    pub(crate) task: Task,
    /// Parses the settings that only this task has, and checks that the recipe has what they need, before the first
    /// paid call.
    pub(crate) load: fn(&Recipe) -> Result<TaskSettings>,
    /// Which other teachers its rows call.
    pub(crate) calls: fn(&Recipe) -> OtherTeachers,
    /// Whether its rows ask a teacher for user's turns, with or without a source.
    pub(crate) user_turns: fn(has_source: bool) -> bool,
    /// Makes one row.
    pub(crate) make_row: MakeRow,
}

/// The steps of one row, from its first prompt to its columns.
type MakeRow = for<'a> fn(&'a RowContext<'a>) -> BoxFuture<'a, Result<Map<String, Value>, RowError>>;

/// Teachers besides the main one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OtherTeachers {
    pub(crate) judge: bool,
    pub(crate) reward: bool,
    pub(crate) safety: bool,
    pub(crate) completions: bool,
}

impl Maker {
    /// Reads and checks the task's recipe.
    pub(crate) fn recipe(&'static self, prompts: &Prompts) -> Result<Recipe> {
        Recipe::load(&self.task, self.load, prompts)
    }
}
