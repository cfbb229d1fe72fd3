//! How many rows are started: a fixed number, or as many as it takes to keep a number of them.

use crate::recipe::Recipe;
use crate::rows::{self, Portion};
use crate::run::Run;
use crate::setup::Setup;
use crate::write_dataset::DedupedTask;
use anyhow::Result;
use std::sync::Arc;

/// Fewest rows that are started at a time.
const LEAST: usize = 8;

/// Runs a task's rows: `bound` of them, or as many as it takes to keep `wanted`. Returns the number of rows, from the first,
/// that the dataset is made of; it depends on the rows alone, not on the order in which they ended.
pub(crate) async fn reach(
    setup: &Setup,
    recipe: &Recipe,
    run: &Arc<Run>,
    bound: usize,
    wanted: Option<usize>,
) -> Result<usize> {
    let Some(wanted) = wanted else {
        rows::run_all(setup, recipe, run, bound, Portion::WHOLE).await?;
        return Ok(bound);
    };
    let mut started = wanted.max(LEAST).min(bound);
    loop {
        rows::run_all(setup, recipe, run, started, Portion::WHOLE).await?;
        let rows = DedupedTask::new(setup, recipe, run, started, Some(wanted))?;
        if rows.kept == wanted {
            return Ok(rows.limit());
        }
        let decided = run.store.decided(recipe.task.name, started)?.iter().flatten().count();
        // A source may have fewer texts.
        if run.is_ending() || started == bound || decided < started {
            terminal::message!(
                "note: {}: {} of the {wanted} rows of `--kept` are kept, from {decided} that were started",
                recipe.task.name,
                rows.kept
            );
            return Ok(started);
        }
        started = next(started, rows.kept, wanted).min(bound);
    }
}

/// The number of rows to start in all, at the yield so far; at most twice as many as before, because the yield of a few
/// rows says little.
fn next(started: usize, kept: usize, wanted: usize) -> usize {
    let missing = (wanted - kept) as f64;
    let more = missing * started as f64 / kept.max(1) as f64;
    started + (more.ceil() as usize).clamp(LEAST.min(started), started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_started_at_the_yield_so_far() {
        assert_eq!(next(100, 50, 75), 150);
        assert_eq!(next(100, 99, 100), 108, "not one by one");
        assert_eq!(next(100, 0, 100), 200, "not all at once");
        assert_eq!(next(1, 0, 1), 2);
    }
}
