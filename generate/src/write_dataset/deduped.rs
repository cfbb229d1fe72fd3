//! The rows of one task after the near-duplicate filter. Rows are read from the store as often as they are needed;
//! a few bytes per row stay in memory.

use super::config::DatasetConfig;
use crate::recipe::Recipe;
use crate::run::Run;
use crate::setup::Setup;
use crate::store::{DroppedRow, Verdict};
use anyhow::{Context, Result};
use datasets::near_duplicate::{NearDuplicates, Parameters};
use datasets::write::Shard;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Word pairs. With these bands, texts of similarity one half are compared with probability 0.98.
const PARAMETERS: Parameters = Parameters { ngram: 2, bands: 16, rows_per_band: 2 };

/// A task's rows after the near-duplicate filter.
pub(crate) struct DedupedTask<'a> {
    pub(super) setup: &'a Setup,
    pub(super) recipe: &'a Recipe,
    pub(super) run: &'a Arc<Run>,
    /// The number of rows that were requested.
    limit: usize,
    /// For every row that its filters kept, in order: its nearest earlier row.
    nearest: Vec<NearestRow>,
    /// The number of rows in the dataset.
    pub(crate) kept: usize,
    /// Rows that were dropped, by reason.
    drops: BTreeMap<String, usize>,
}

/// A row as it is written.
pub(super) enum FinalRow {
    /// The columns of a row in the dataset.
    Kept(Map<String, Value>),
    /// The line of a row in `dropped.jsonl`.
    Dropped(Value),
}

/// The most similar earlier row.
#[derive(Debug, Clone, Copy)]
struct NearestRow {
    /// Its position plus one; 0 if there is none.
    position_plus_one: u32,
    similarity: f32,
    is_duplicate: bool,
}

impl<'a> DedupedTask<'a> {
    /// Reads all decided rows of a task and finds near-duplicates, up to the row with which `wanted` are kept.
    pub(crate) fn new(
        setup: &'a Setup,
        recipe: &'a Recipe,
        run: &'a Arc<Run>,
        limit: usize,
        wanted: Option<usize>,
    ) -> Result<Self> {
        let mut task =
            Self { setup, recipe, run, limit, nearest: Vec::new(), kept: 0, drops: BTreeMap::new() };
        let mut index = NearDuplicates::new(PARAMETERS);
        let threshold = recipe.near_duplicate.unwrap_or(f64::INFINITY);
        for decided in run.store.rows(recipe.task.name, limit) {
            let decided = decided?;
            let row = match decided.verdict {
                Verdict::Kept(row) => row,
                Verdict::Dropped(dropped) => {
                    *task.drops.entry(dropped.reason).or_default() += 1;
                    continue;
                }
            };
            let text = recipe.task.compared_text(&row);
            let nearest = index.nearest(&text);
            let is_duplicate = nearest.is_some_and(|(_, similarity)| similarity >= threshold);
            if is_duplicate {
                *task.drops.entry("near_duplicate".to_owned()).or_default() += 1;
            } else {
                index.insert(decided.position as u64, &text);
                task.kept += 1;
            }
            let (position_plus_one, similarity) =
                nearest.map_or((0, 0.0), |(position, similarity)| (position as u32 + 1, similarity as f32));
            task.nearest.push(NearestRow { position_plus_one, similarity, is_duplicate });
            if wanted == Some(task.kept) {
                task.limit = decided.position + 1;
                break;
            }
        }
        Ok(task)
    }

    /// The number of rows, from the first, that were read.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The configuration of the task's own rows.
    pub(super) fn config(&self, (shards, features): (Vec<Shard>, Option<Value>)) -> DatasetConfig {
        let begun = self.kept + self.drops.values().sum::<usize>();
        let drops = self.drops.clone();
        DatasetConfig { name: self.recipe.task.name, begun, rows: self.kept, drops, shards, features }
    }

    /// Iterates over every decided row with its position.
    pub(super) fn all(&self) -> impl Iterator<Item = Result<(usize, FinalRow)>> {
        let mut nearest = self.nearest.iter();
        self.run.store.rows(self.recipe.task.name, self.limit).map(move |decided| {
            let decided = decided?;
            let drop = |dropped: &DroppedRow| {
                Ok((decided.position, FinalRow::Dropped(self.drop_line(&decided.id, dropped))))
            };
            let mut row = match decided.verdict {
                Verdict::Dropped(dropped) => return drop(&dropped),
                Verdict::Kept(row) => row,
            };
            let nearest = nearest.next().context("the store changed while the dataset was written")?;
            let position = nearest.position_plus_one.checked_sub(1);
            let other = position.map(|position| self.recipe.row_id(self.setup.seed, position as usize));
            let similarity = f64::from(nearest.similarity);
            if nearest.is_duplicate {
                let detail = format!("{similarity:.2} like {}", other.unwrap_or_default());
                return drop(&DroppedRow { reason: "near_duplicate".into(), step: "finish".into(), detail });
            }
            row.insert("nearest_id".to_owned(), json!(other));
            row.insert("nearest_similarity".to_owned(), json!(similarity));
            Ok((decided.position, FinalRow::Kept(row)))
        })
    }

    /// Iterates over the rows that are kept.
    pub(super) fn rows(&self) -> impl Iterator<Item = Result<Map<String, Value>>> {
        self.all().filter_map(|row| match row {
            Ok((_, FinalRow::Kept(row))) => Some(Ok(row)),
            Ok((_, FinalRow::Dropped(_))) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Iterates over the lines of `dropped.jsonl`.
    pub(super) fn drop_lines(&self) -> impl Iterator<Item = Result<Value>> {
        self.all().filter_map(|row| match row {
            Ok((_, FinalRow::Dropped(line))) => Some(Ok(line)),
            Ok((_, FinalRow::Kept(_))) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn drop_line(&self, id: &str, dropped: &DroppedRow) -> Value {
        let DroppedRow { reason, step, detail } = dropped;
        json!({"id": id, "task": self.recipe.task.name, "reason": reason, "step": step, "detail": detail})
    }
}
