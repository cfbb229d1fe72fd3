//! Runs the rows of a task, many at a time and none waiting for another, until each of them is decided.

use crate::beside_replies::BesideReplies;
use crate::progress::TaskProgress;
use crate::recipe::Recipe;
use crate::row_context::{RowContext, RowError};
use crate::run::Run;
use crate::setup::Setup;
use crate::store::{DroppedRow, Verdict};
use crate::tasks;
use crate::trace::Trace;
use anyhow::Result;
use futures::{TryStreamExt, stream};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// How a row ended.
enum RowEnd {
    Decided(Verdict),
    /// The teacher failed. The row is dropped with this reason if it fails again.
    Failed(DroppedRow),
    /// The run is stopping; the row is undecided.
    Stopped,
}

/// Which rows of a task a process runs: those whose position leaves this remainder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portion {
    pub(crate) shard: usize,
    pub(crate) shards: usize,
}

impl Portion {
    /// All rows.
    pub(crate) const WHOLE: Self = Self { shard: 0, shards: 1 };

    fn contains(self, position: usize) -> bool {
        position % self.shards == self.shard
    }

    /// How many of the first `rows` rows it has.
    fn rows(self, rows: usize) -> usize {
        rows.saturating_sub(self.shard).div_ceil(self.shards)
    }
}

/// Runs every row of a task that is not decided; rows whose teacher failed are run once more at the end.
pub(crate) async fn run_all(
    setup: &Setup,
    recipe: &Recipe,
    run: &Arc<Run>,
    rows: usize,
    portion: Portion,
) -> Result<()> {
    let decided = run.store.decided(recipe.task.name, rows)?;
    let count = |kept: bool| decided.iter().filter(|row| **row == Some(kept)).count();
    let progress = TaskProgress::new(recipe.task, portion.rows(rows), (count(true), count(false)), run);
    let pass = Pass { setup, recipe, run, rows, progress: &progress };
    let is_open = |position: usize| portion.contains(position) && decided[position].is_none();
    let failed = pass.run(is_open, false).await?;
    if !failed.is_empty() && !run.is_ending() {
        terminal::message!(
            "{}: {} rows failed because of errors and are tried again",
            recipe.task.name,
            failed.len()
        );
        pass.run(|position| failed.contains(&position), true).await?;
    }
    progress.finish();
    Ok(())
}

/// One pass over the rows of a task.
struct Pass<'a> {
    setup: &'a Setup,
    recipe: &'a Recipe,
    run: &'a Arc<Run>,
    rows: usize,
    progress: &'a TaskProgress<'a>,
}

impl Pass<'_> {
    /// Runs the rows at the wanted positions; returns those whose teacher failed. In the last pass these are dropped.
    async fn run(&self, is_wanted: impl Fn(usize) -> bool, is_last: bool) -> Result<HashSet<usize>> {
        let failed = Mutex::new(HashSet::new());
        let sources = self.setup.sources(self.recipe)?.take(self.rows).enumerate();
        let waiting = sources
            .take_while(|_| !self.run.is_ending())
            .filter(|(position, _)| is_wanted(*position))
            .map(|(position, source)| source.map(|source| (position, source)));
        let in_flight = self.setup.teachers.main.rows_in_flight(&self.setup.endpoints);
        stream::iter(waiting)
            .map_ok(|(position, source)| self.run_one(position, source, is_last, &failed))
            .try_buffer_unordered(in_flight)
            .try_collect::<()>()
            .await?;
        Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn run_one(
        &self,
        position: usize,
        source: Option<String>,
        is_last: bool,
        failed: &Mutex<HashSet<usize>>,
    ) -> Result<()> {
        let context = context(self.setup, self.recipe, self.run, position, source);
        let verdict = match make_row(&context).await? {
            RowEnd::Decided(verdict) => verdict,
            RowEnd::Failed(dropped) if is_last => Verdict::Dropped(dropped),
            RowEnd::Failed(_) => {
                failed.lock().unwrap_or_else(PoisonError::into_inner).insert(position);
                return Ok(());
            }
            RowEnd::Stopped => return Ok(()),
        };
        self.run.store.decide(self.recipe.task.name, position, &context.id, &verdict).await?;
        self.progress.count(&verdict);
        Ok(())
    }
}

/// Returns the context of the row at a position, before its first step.
pub(crate) fn context<'a>(
    setup: &'a Setup,
    recipe: &'a Recipe,
    run: &'a Arc<Run>,
    position: usize,
    source: Option<String>,
) -> RowContext<'a> {
    let id = recipe.row_id(setup.seed, position);
    let seed = u64::from_str_radix(&id, 16).unwrap_or_default();
    RowContext {
        recipe,
        teachers: &setup.teachers,
        run,
        position,
        id,
        seed,
        source,
        beside: BesideReplies::new(setup.keeping),
        trace: None,
        planted_answers: HashMap::new(),
    }
}

/// Runs a row and records its calls, to its outcome or, without `may_call`, to the first call without a recorded
/// answer.
pub(crate) async fn traced(
    mut context: RowContext<'_>,
    may_call: bool,
) -> Result<(RowContext<'_>, Option<Verdict>)> {
    context.trace = Some(Trace::new(may_call));
    let verdict = verdict(&context).await?;
    Ok((context, verdict))
}

/// Runs a row some of whose steps have a planted answer; returns the verdict of its filters.
pub(crate) async fn planted(
    mut context: RowContext<'_>,
    answers: HashMap<String, String>,
) -> Result<Option<Verdict>> {
    context.planted_answers = answers;
    verdict(&context).await
}

/// Runs a row once; `None` if the run stopped.
async fn verdict(context: &RowContext<'_>) -> Result<Option<Verdict>> {
    Ok(match make_row(context).await? {
        RowEnd::Decided(verdict) => Some(verdict),
        RowEnd::Failed(dropped) => Some(Verdict::Dropped(dropped)),
        RowEnd::Stopped => None,
    })
}

async fn make_row(context: &RowContext<'_>) -> Result<RowEnd> {
    match (tasks::maker(context.recipe.task).make_row)(context).await {
        Ok(mut row) => {
            context.beside.add_to(&mut row);
            row.insert("id".to_owned(), json!(context.id));
            row.insert("source".to_owned(), json!(context.recipe.source));
            Ok(RowEnd::Decided(Verdict::Kept(row)))
        }
        Err(RowError::Dropped(dropped)) => Ok(RowEnd::Decided(Verdict::Dropped(dropped))),
        Err(RowError::Failed { reason, step, detail }) => {
            Ok(RowEnd::Failed(DroppedRow { reason: reason.to_owned(), step, detail }))
        }
        Err(RowError::Stopped) => Ok(RowEnd::Stopped),
        Err(RowError::Fatal(error)) => Err(error),
    }
}
