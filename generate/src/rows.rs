//! All rows of a task, many at a time and none waiting for another, until each is decided.

use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::run::Run;
use crate::setup::Setup;
use crate::store::{Dropped, Verdict};
use crate::tasks;
use crate::walk::{Halt, Trace, Walk};
use anyhow::Result;
use futures::{TryStreamExt, stream};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// How a walk ended.
enum End {
    Decided(Verdict),
    /// The teacher failed; carries what to say of the row if it fails again.
    Failed(Dropped),
    /// The run is stopping: undecided.
    Stopped,
}

/// Walks every row that is not decided yet; those that failed on errors are walked once more at the end.
pub(crate) async fn walk_all(setup: &Setup, recipe: &Recipe, run: &Arc<Run>, rows: usize) -> Result<()> {
    let decided = run.store.decided(recipe.task.name(), rows)?;
    let before = |kept: bool| decided.iter().filter(|decided| **decided == Some(kept)).count();
    let progress = Progress::begin(recipe.task, rows, before(true), before(false), run)?;
    let job = Job { setup, recipe, run, rows, progress: &progress };
    let failed = job.walk(|position| decided[position].is_none(), false).await?;
    if !failed.is_empty() && !run.is_ending() {
        eprintln!("{}: {} rows failed on errors and are tried again", recipe.task.name(), failed.len());
        job.walk(|position| failed.contains(&position), true).await?;
    }
    progress.end();
    Ok(())
}

struct Job<'a> {
    setup: &'a Setup,
    recipe: &'a Recipe,
    run: &'a Arc<Run>,
    rows: usize,
    progress: &'a Progress<'a>,
}

impl Job<'_> {
    /// Walks the wanted positions; returns those that failed, unless this is their `last` chance.
    async fn walk(&self, wanted: impl Fn(usize) -> bool, last: bool) -> Result<HashSet<usize>> {
        let failed = Mutex::new(HashSet::new());
        let sources = self.setup.sources(self.recipe)?.take(self.rows).enumerate();
        let waiting = sources
            .take_while(|_| !self.run.is_ending())
            .filter(|(position, _)| wanted(*position))
            .map(|(position, source)| source.map(|source| (position, source)));
        let in_flight = self.setup.teachers.main.rows_in_flight(&self.setup.manners);
        stream::iter(waiting)
            .map_ok(|(position, source)| {
                let failed = &failed;
                async move {
                    let walk = walk(self.setup, self.recipe, self.run, position, source);
                    let verdict = match end(&walk).await? {
                        End::Decided(verdict) => verdict,
                        End::Failed(dropped) if last => Verdict::Dropped(dropped),
                        End::Failed(_) => {
                            failed.lock().unwrap_or_else(PoisonError::into_inner).insert(position);
                            return Ok(());
                        }
                        End::Stopped => return Ok(()),
                    };
                    self.run.store.finish(self.recipe.task.name(), position, &walk.id, &verdict).await?;
                    self.progress.count(&verdict);
                    Ok::<(), anyhow::Error>(())
                }
            })
            .try_buffer_unordered(in_flight)
            .try_collect::<()>()
            .await?;
        Ok(failed.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A row at its start.
pub(crate) fn walk<'a>(
    setup: &'a Setup,
    recipe: &'a Recipe,
    run: &'a Arc<Run>,
    position: usize,
    source: Option<String>,
) -> Walk<'a> {
    let id = recipe.row_id(setup.seed, position);
    let seed = u64::from_str_radix(&id, 16).unwrap_or_default();
    let given = HashMap::new();
    Walk { recipe, teachers: &setup.teachers, run, position, id, seed, source, trace: None, given }
}

/// Walks a row with its steps written down: to its verdict, or to where nothing is recorded any more.
pub(crate) async fn watched(mut walk: Walk<'_>, asks: bool) -> Result<(Walk<'_>, Option<Verdict>)> {
    walk.trace = Some(Trace { asks, ..Trace::default() });
    let verdict = verdict(&walk).await?;
    Ok((walk, verdict))
}

/// Walks a row some of whose steps have their answers already, and says whether its filters keep it.
pub(crate) async fn planted(mut walk: Walk<'_>, given: HashMap<String, String>) -> Result<Option<Verdict>> {
    walk.given = given;
    verdict(&walk).await
}

/// Walks a row once; none where the run stopped.
async fn verdict(walk: &Walk<'_>) -> Result<Option<Verdict>> {
    Ok(match end(walk).await? {
        End::Decided(verdict) => Some(verdict),
        End::Failed(dropped) => Some(Verdict::Dropped(dropped)),
        End::Stopped => None,
    })
}

async fn end(walk: &Walk<'_>) -> Result<End> {
    match tasks::row(walk).await {
        Ok(mut row) => {
            row.insert("id".to_owned(), json!(walk.id));
            row.insert("source".to_owned(), json!(walk.recipe.source));
            Ok(End::Decided(Verdict::Kept(row)))
        }
        Err(Halt::Drop(dropped)) => Ok(End::Decided(Verdict::Dropped(dropped))),
        Err(Halt::Failed { reason, step, detail }) => {
            Ok(End::Failed(Dropped { reason: reason.to_owned(), step, detail }))
        }
        Err(Halt::Stopped) => Ok(End::Stopped),
        Err(Halt::Abort(error)) => Err(error),
    }
}
