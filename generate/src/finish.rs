//! The end of a run: near-duplicates, Parquet shards, dropped.jsonl, the card, and run.json last.
//!
//! All of it follows from the store alone, so doing it again gives the same files.

use crate::recipe::Recipe;
use crate::store::{Dropped, Store, Verdict};
use crate::tasks;
use anyhow::{Context, Result};
use datasets::card::{Config, Front, card};
use datasets::near_duplicate::{NearDuplicates, Parameters};
use datasets::write::{Column, Kind, Shard, write_atomic, write_jsonl, write_shards};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

/// Word pairs, and bands that meet at a similarity of one half with 0.98.
const NEAR: Parameters = Parameters { ngram: 2, bands: 16, rows_per_band: 2 };
const ROWS_PER_SHARD: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

type Object = Map<String, Value>;

/// One config of the dataset, as run.json has it.
struct Part {
    name: &'static str,
    begun: usize,
    rows: usize,
    drops: BTreeMap<String, usize>,
    shards: Vec<Shard>,
}

/// Writes the dataset; returns what to tell the user.
pub(crate) fn write(
    out: &Path,
    recipes: &[Recipe],
    store: &Store,
    rows: usize,
    configuration: &Value,
) -> Result<String> {
    // Until the new one is written last, no manifest vouches for files of two runs.
    let manifest_path = out.join("run.json");
    match std::fs::remove_file(&manifest_path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", manifest_path.display()));
        }
        _ => {}
    }
    let mut parts = Vec::new();
    let mut all_dropped = Vec::new();
    let mut mixed = Vec::new();
    for recipe in recipes {
        let (kept, dropped) = judge_all(recipe, store, rows)?;
        let mut drops: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &dropped {
            *drops.entry(entry["reason"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        // Pairs are no conversations; they have a configuration of their own only.
        if recipes.len() > 1 && recipe.task.has_messages() {
            mixed.extend(kept.iter().map(|row| {
                let two = ["messages", "source"].map(|name| (name.to_owned(), row[name].clone()));
                Map::from_iter(two)
            }));
        }
        let (begun, count) = (kept.len() + dropped.len(), kept.len());
        all_dropped.extend(dropped);
        let folder = out.join("data").join(recipe.task.name());
        let shards = shards(&folder, &tasks::columns(recipe.task), kept)?;
        parts.push(Part { name: recipe.task.name(), begun, rows: count, drops, shards });
    }
    if recipes.len() > 1 {
        let columns = [("messages", Kind::Messages), ("source", Kind::Text)];
        let columns = columns.map(|(name, kind)| Column { name: name.to_owned(), kind });
        let (begun, rows) = (parts.iter().map(|part| part.begun).sum(), mixed.len());
        let shards = shards(&out.join("data/all"), &columns, mixed)?;
        parts.insert(0, Part { name: "all", begun, rows, drops: BTreeMap::new(), shards });
    }
    write_jsonl(&out.join("dropped.jsonl"), all_dropped.into_iter().map(Ok::<_, anyhow::Error>))?;
    let totals = store.totals()?;
    write_atomic(&out.join("README.md"), body(recipes, &parts, configuration, totals).as_bytes())?;
    let run = manifest(out, &parts, configuration, totals);
    write_atomic(&manifest_path, serde_json::to_string_pretty(&run)?.as_bytes())?;
    Ok(summary(out, &parts))
}

/// The rows of a task after the near-duplicate filter, and those dropped, each with its reason.
fn judge_all(recipe: &Recipe, store: &Store, rows: usize) -> Result<(Vec<Object>, Vec<Value>)> {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    let mut ids: Vec<String> = Vec::new();
    let mut index = NearDuplicates::new(NEAR);
    let threshold = recipe.settings.near_duplicate.unwrap_or(f64::INFINITY);
    let drop = |id: &str, entry: Dropped| json!({"id": id, "task": recipe.task.name(), "reason": entry.reason, "step": entry.step, "detail": entry.detail});
    store.each_row(recipe.task.name(), rows, |_, id, verdict| {
        let mut row = match verdict {
            Verdict::Dropped(entry) => {
                dropped.push(drop(&id, entry));
                return Ok(());
            }
            Verdict::Kept(row) => row,
        };
        let text = tasks::compared_text(recipe.task, &row);
        let nearest =
            index.nearest(&text).map(|(place, similarity)| (ids[place as usize].clone(), similarity));
        if let Some((other, similarity)) = nearest.as_ref().filter(|(_, similarity)| *similarity >= threshold)
        {
            let detail = format!("{similarity:.2} like {other}");
            dropped
                .push(drop(&id, Dropped { reason: "near_duplicate".into(), step: "finish".into(), detail }));
            return Ok(());
        }
        index.insert(ids.len() as u64, &text);
        ids.push(id);
        row.insert("nearest_id".to_owned(), json!(nearest.as_ref().map(|(id, _)| id)));
        row.insert(
            "nearest_similarity".to_owned(),
            json!(nearest.as_ref().map_or(0.0, |(_, similarity)| *similarity)),
        );
        kept.push(row);
        Ok(())
    })?;
    Ok((kept, dropped))
}

fn shards(folder: &Path, columns: &[Column], rows: Vec<Map<String, Value>>) -> Result<Vec<Shard>> {
    // Shards of an earlier, shorter run have other names.
    let stale: Vec<_> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    let written = write_shards(
        folder,
        "train",
        columns,
        rows.len(),
        ROWS_PER_SHARD,
        rows.into_iter().map(Ok::<_, anyhow::Error>),
    )?;
    for path in stale.iter().filter(|path| !written.iter().any(|shard| shard.path == **path)) {
        std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(written)
}

fn manifest(out: &Path, parts: &[Part], configuration: &Value, totals: (u64, u64, u64)) -> Value {
    let config = |part: &Part| {
        let shards: Vec<Value> = part
            .shards
            .iter()
            .map(|shard| {
                let path = shard.path.strip_prefix(out).unwrap_or(&shard.path);
                json!({"path": path, "rows": shard.rows, "bytes": shard.bytes, "sha256": shard.sha256})
            })
            .collect();
        let body = json!({"begun": part.begun, "rows": part.rows, "dropped": part.drops, "shards": shards});
        (part.name.to_owned(), body)
    };
    json!({
        "program": concat!("smoltalk ", env!("CARGO_PKG_VERSION")),
        "configuration": configuration,
        "configs": parts.iter().map(config).collect::<Map<_, _>>(),
        "answers": totals.0,
        "prompt_tokens": totals.1,
        "completion_tokens": totals.2,
    })
}

fn body(recipes: &[Recipe], parts: &[Part], configuration: &Value, totals: (u64, u64, u64)) -> String {
    let configs = parts.iter().map(|part| Config {
        name: part.name.to_owned(),
        data_files: vec![("train".to_owned(), format!("data/{}/train-*.parquet", part.name))],
    });
    let front = Front {
        pretty_name: "SmolTalk-style synthetic data".to_owned(),
        languages: vec!["en".to_owned()],
        tags: vec!["synthetic".to_owned(), "smoltalk".to_owned()],
        rows: parts.first().map_or(0, |part| part.rows),
        configs: configs.collect(),
    };
    let mut text = format!(
        "# SmolTalk-style synthetic data\n\nMade by smoltalk {} with the teacher `{}`, profile `{}`, seed {}.\nThe teacher gave {} answers: {} prompt tokens, {} generated tokens.\n",
        env!("CARGO_PKG_VERSION"),
        configuration["teacher"].as_str().unwrap_or_default(),
        configuration["profile"].as_str().unwrap_or_default(),
        configuration["seed"],
        totals.0,
        totals.1,
        totals.2,
    );
    text.push_str("\n## Rows\n\n| config | begun | kept | yield |\n| --- | --- | --- | --- |\n");
    for part in parts {
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            part.name,
            part.begun,
            part.rows,
            percent(part.rows, part.begun)
        ));
    }
    text.push_str("\n## Dropped\n\nEvery dropped row stands in `dropped.jsonl` with its reason.\n\n| config | reason | rows |\n| --- | --- | --- |\n");
    for part in parts {
        for (reason, count) in &part.drops {
            text.push_str(&format!("| {} | {reason} | {count} |\n", part.name));
        }
    }
    for recipe in recipes {
        text.push_str(&format!(
            "\n## {}\n\nRecipe `{}`. Sampling:\n\n",
            recipe.task.name(),
            &recipe.hash[..16]
        ));
        for (step, sampling) in &recipe.settings.sampling {
            text.push_str(&format!(
                "- {step}: temperature {}, top_p {}, at most {} tokens\n",
                sampling.temperature, sampling.top_p, sampling.max_tokens
            ));
        }
        text.push_str("\n| prompt | SHA-256 |\n| --- | --- |\n");
        for (path, hash) in recipe.prompt_hashes() {
            text.push_str(&format!("| {path} | `{}` |\n", &hash[..16]));
        }
    }
    card(&front, &text)
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
