//! The end of a run: near-duplicates, Parquet shards, dropped.jsonl, the card, and run.json last.
//!
//! All of it follows from the store alone, so doing it again gives the same files. Rows are read from the
//! store as often as they are needed: what stays in memory of each is a few bytes.

mod card;
mod page;

use crate::recipe::Recipe;
use crate::run::Run;
use crate::setup::Setup;
use crate::store::{Dropped, Entry, Verdict};
use crate::tasks;
use anyhow::{Context, Result};
use datasets::near_duplicate::{NearDuplicates, Parameters};
use datasets::write::{
    Column, Kind, ROWS_PER_SHARD, Shard, remove, remove_others, write_atomic, write_jsonl, write_shards,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Word pairs, and bands that meet at a similarity of one half with 0.98.
const NEAR: Parameters = Parameters { ngram: 2, bands: 16, rows_per_band: 2 };

type Object = Map<String, Value>;

/// One config of the dataset, as run.json has it.
struct Part {
    name: &'static str,
    begun: usize,
    rows: usize,
    drops: BTreeMap<String, usize>,
    shards: Vec<Shard>,
}

/// Writes the dataset of what is decided; returns what to tell the user.
pub(crate) fn write(
    out: &Path,
    setup: &Setup,
    run: &Arc<Run>,
    rows: usize,
    complete: bool,
) -> Result<String> {
    // Until the new one is written last, no manifest vouches for files of two runs.
    let manifest_path = out.join("run.json");
    remove(&manifest_path)?;
    let judged = setup.recipes.iter().map(|recipe| Judged::of(setup, recipe, run, rows));
    let judged = judged.collect::<Result<Vec<_>>>()?;
    let mut parts = Vec::new();
    for task in &judged {
        let folder = out.join("data").join(task.recipe.task.name());
        parts.push(task.part(shards(&folder, &tasks::columns(task.recipe.task), task.kept, task.rows())?));
    }
    if judged.len() > 1 {
        parts.insert(0, mixed(out, &judged, &parts)?);
    }
    write_jsonl(&out.join("dropped.jsonl"), judged.iter().flat_map(Judged::drops))?;
    let ledger = run.store.ledger()?;
    write_atomic(&out.join("README.md"), card::body(setup, &parts, &ledger).as_bytes())?;
    page::write(&out.join("report.html"), setup, &judged, &ledger)?;
    let manifest = manifest(out, setup, &parts, &ledger, complete);
    write_atomic(&manifest_path, serde_json::to_string_pretty(&manifest)?.as_bytes())?;
    Ok(summary(out, &parts))
}

/// The messages of all tasks together.
fn mixed(out: &Path, judged: &[Judged<'_>], parts: &[Part]) -> Result<Part> {
    let columns = [("messages", Kind::Messages), ("source", Kind::Text)];
    let columns = columns.map(|(name, kind)| Column { name: name.to_owned(), kind });
    // Pairs are no conversations; they have a configuration of their own only.
    let judged = || judged.iter().filter(|judged| judged.recipe.task.has_messages());
    let chats = |part: &&Part| judged().any(|judged| judged.recipe.task.name() == part.name);
    let begun = parts.iter().filter(chats).map(|part| part.begun).sum();
    let kept = parts.iter().filter(chats).map(|part| part.rows).sum();
    let rows = judged().flat_map(Judged::rows).map(|row| {
        let mut row = row?;
        row.retain(|name, _| name == "messages" || name == "source");
        Ok(row)
    });
    let shards = shards(&out.join("data/all"), &columns, kept, rows)?;
    Ok(Part { name: "all", begun, rows: kept, drops: BTreeMap::new(), shards })
}

/// A task's rows after the near-duplicate filter.
struct Judged<'a> {
    setup: &'a Setup,
    recipe: &'a Recipe,
    run: &'a Arc<Run>,
    limit: usize,
    /// Of every row that its walk kept, in order: its nearest earlier one.
    near: Vec<Near>,
    kept: usize,
    drops: BTreeMap<String, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Near {
    /// The other's position plus one; 0 where there is none.
    place: u32,
    similarity: f32,
    duplicate: bool,
}

impl<'a> Judged<'a> {
    fn of(setup: &'a Setup, recipe: &'a Recipe, run: &'a Arc<Run>, limit: usize) -> Result<Self> {
        let mut judged =
            Self { setup, recipe, run, limit, near: Vec::new(), kept: 0, drops: BTreeMap::new() };
        let mut index = NearDuplicates::new(NEAR);
        let threshold = recipe.settings.near_duplicate.unwrap_or(f64::INFINITY);
        for decided in run.store.rows(recipe.task.name(), limit) {
            let decided = decided?;
            let row = match decided.verdict {
                Verdict::Kept(row) => row,
                Verdict::Dropped(dropped) => {
                    *judged.drops.entry(dropped.reason).or_default() += 1;
                    continue;
                }
            };
            let text = tasks::compared_text(recipe.task, &row);
            let nearest = index.nearest(&text);
            let duplicate = nearest.is_some_and(|(_, similarity)| similarity >= threshold);
            if duplicate {
                *judged.drops.entry("near_duplicate".to_owned()).or_default() += 1;
            } else {
                index.insert(decided.position as u64, &text);
                judged.kept += 1;
            }
            let (place, similarity) = nearest.map_or((0, 0.0), |(place, s)| (place as u32 + 1, s as f32));
            judged.near.push(Near { place, similarity, duplicate });
        }
        Ok(judged)
    }

    fn part(&self, shards: Vec<Shard>) -> Part {
        let begun = self.kept + self.drops.values().sum::<usize>();
        Part { name: self.recipe.task.name(), begun, rows: self.kept, drops: self.drops.clone(), shards }
    }

    /// Every decided row with its position: kept ones whole, the others as `dropped.jsonl` has them.
    fn all(&self) -> impl Iterator<Item = Result<(usize, Result<Object, Value>)>> {
        let mut near = self.near.iter();
        self.run.store.rows(self.recipe.task.name(), self.limit).map(move |decided| {
            let decided = decided?;
            let mut row = match decided.verdict {
                Verdict::Dropped(dropped) => {
                    return Ok((decided.position, Err(self.drop(&decided.id, &dropped))));
                }
                Verdict::Kept(row) => row,
            };
            let near = near.next().context("the store has changed while the dataset was written")?;
            let other =
                near.place.checked_sub(1).map(|place| self.recipe.row_id(self.setup.seed, place as usize));
            let similarity = f64::from(near.similarity);
            if near.duplicate {
                let detail = format!("{similarity:.2} like {}", other.unwrap_or_default());
                let dropped = Dropped { reason: "near_duplicate".into(), step: "finish".into(), detail };
                return Ok((decided.position, Err(self.drop(&decided.id, &dropped))));
            }
            row.insert("nearest_id".to_owned(), json!(other));
            row.insert("nearest_similarity".to_owned(), json!(similarity));
            Ok((decided.position, Ok(row)))
        })
    }

    fn rows(&self) -> impl Iterator<Item = Result<Object>> {
        self.all().filter_map(|row| row.map(|(_, row)| row.ok()).transpose())
    }

    fn drops(&self) -> impl Iterator<Item = Result<Value>> {
        self.all().filter_map(|row| row.map(|(_, row)| row.err()).transpose())
    }

    fn drop(&self, id: &str, dropped: &Dropped) -> Value {
        let Dropped { reason, step, detail } = dropped;
        json!({"id": id, "task": self.recipe.task.name(), "reason": reason, "step": step, "detail": detail})
    }
}

fn shards(
    folder: &Path,
    columns: &[Column],
    count: usize,
    rows: impl Iterator<Item = Result<Object>>,
) -> Result<Vec<Shard>> {
    let written = write_shards(folder, "train", columns, count, ROWS_PER_SHARD, rows)?;
    remove_others(folder, &written)?;
    Ok(written)
}

fn manifest(out: &Path, setup: &Setup, parts: &[Part], ledger: &[Entry], complete: bool) -> Value {
    let config = |part: &Part| {
        let shards: Vec<Value> = part.shards.iter().map(|shard| shard.entry(out)).collect();
        let body = json!({"begun": part.begun, "rows": part.rows, "dropped": part.drops, "shards": shards});
        (part.name.to_owned(), body)
    };
    json!({
        "program": concat!("smoltalk ", env!("CARGO_PKG_VERSION")),
        "complete": complete,
        "configuration": setup.configuration,
        "configs": parts.iter().map(config).collect::<Map<_, _>>(),
        "calls": ledger,
    })
}

fn summary(out: &Path, parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts.iter().filter(|part| part.name != "all") {
        let drops: Vec<String> =
            part.drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let drops =
            if drops.is_empty() { String::new() } else { format!(" (dropped: {})", drops.join(", ")) };
        text.push_str(&format!("{}: {} of {} rows kept{drops}\n", part.name, part.rows, part.begun));
    }
    format!("{text}written to {0}; read rows with: smoltalk show {0}", out.display())
}

fn percent(part: usize, whole: usize) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}
