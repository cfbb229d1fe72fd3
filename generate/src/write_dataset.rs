//! The end of a run: drops near-duplicates and writes Parquet shards, `dropped.jsonl`, the dataset card, the
//! report, and `run.json` last. All files depend on the store alone, so writing them again gives the same files.

mod card;
mod config;
mod deduped;
mod report_page;

pub(crate) use deduped::DedupedTask;

use crate::beside_replies::Keeping;
use crate::install::install;
use crate::run::Run;
use crate::setup::Setup;
use crate::store::LedgerEntry;
use anyhow::Result;
use config::DatasetConfig;
use datasets::export::{FileFormat, write_json_files};
use datasets::write::{Column, ColumnType, MessageFields, ROWS_PER_SHARD, Shard, write_jsonl, write_shards};
use files::atomic::{self, NewFolder};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What is said of a dataset that was written.
pub(crate) struct Written {
    pub(crate) summary: String,
    /// A line for every task of which less than a tenth of the rows is kept.
    pub(crate) poor_yields: Vec<String>,
}

/// A dataset whose files are written and not installed yet.
pub(crate) struct Prepared {
    new: NewFolder,
    shards: Vec<Shard>,
    written: Written,
}

impl Prepared {
    /// Puts the files in the place of the earlier ones.
    pub(crate) fn install(self, run: &Run) -> Result<Written> {
        install(&run.folder, self.new, &self.shards)?;
        Ok(self.written)
    }
}

/// Writes the dataset of all decided rows among the first `limits` of each task.
pub(crate) fn write(
    setup: &Setup,
    run: &Arc<Run>,
    limits: &[usize],
    form: (FileFormat, bool),
) -> Result<Written> {
    prepare(setup, run, limits, form)?.install(run)
}

/// Writes its files without installing them.
pub(crate) fn prepare(
    setup: &Setup,
    run: &Arc<Run>,
    limits: &[usize],
    (format, is_complete): (FileFormat, bool),
) -> Result<Prepared> {
    let new = run.folder.new_result()?;
    let path = |name: &str| new.path().join(name);
    let recipes = setup.recipes.iter().zip(limits);
    let tasks = recipes.map(|(recipe, limit)| DedupedTask::new(setup, recipe, run, *limit, None));
    let tasks = tasks.collect::<Result<Vec<_>>>()?;
    let mut configs = Vec::new();
    for deduped in &tasks {
        let (task, folder) = (deduped.recipe.task, path("data").join(deduped.recipe.task.name));
        let columns = with_kept(task.all_columns(), setup.keeping);
        let files = write_files(&folder, format, &columns, deduped.kept, deduped.rows())?;
        configs.push(deduped.config(files));
    }
    if tasks.len() > 1 {
        configs.insert(0, all_conversations(new.path(), format, &tasks, &configs)?);
    }
    write_jsonl(&path("dropped.jsonl"), tasks.iter().flat_map(DedupedTask::drop_lines))?;
    let ledger = run.store.ledger()?;
    atomic::write(&path("README.md"), card::text(setup, format, &configs, &ledger))?;
    report_page::write(&path("report.html"), setup, &tasks, &ledger)?;
    let manifest = manifest(new.path(), setup, &configs, &ledger, is_complete);
    atomic::write(&path("run.json"), serde_json::to_string_pretty(&manifest)?)?;
    let shards: Vec<Shard> = configs.iter().flat_map(|config| config.shards.clone()).collect();
    let written = Written {
        summary: summary(run.folder.path(), &configs),
        poor_yields: poor_yields(run.folder.path(), &configs),
    };
    Ok(Prepared { new, shards, written })
}

/// The columns, with what is kept beside replies in their messages.
fn with_kept(mut columns: Vec<Column>, keeping: Keeping) -> Vec<Column> {
    let fields = MessageFields { reasoning: keeping.reasoning, logprobs: keeping.logprobs.is_some() };
    for column in columns.iter_mut().filter(|column| column.kind == ColumnType::Messages) {
        column.kind = ColumnType::MessagesWith(fields);
    }
    columns
}

/// Writes the files of one configuration; also returns the types of their columns where the files do not state them.
fn write_files(
    folder: &Path,
    format: FileFormat,
    columns: &[Column],
    rows: usize,
    content: impl Iterator<Item = Result<Map<String, Value>>>,
) -> Result<(Vec<Shard>, Option<Value>)> {
    if format == FileFormat::Parquet {
        return Ok((write_shards(folder, "train", columns, rows, ROWS_PER_SHARD, content)?, None));
    }
    let (files, columns) = write_json_files(folder, "train", format, rows, ROWS_PER_SHARD, content)?;
    Ok((files, columns.features()))
}

/// Writes the messages of all tasks together. Preference pairs are not conversations and are left out.
fn all_conversations(
    new: &Path,
    format: FileFormat,
    tasks: &[DedupedTask<'_>],
    configs: &[DatasetConfig],
) -> Result<DatasetConfig> {
    let columns = [("messages", ColumnType::Messages), ("source", ColumnType::Text)];
    let columns = columns.map(|(name, kind)| Column { name: name.to_owned(), kind });
    let keeping = tasks.first().map_or_else(Keeping::default, |deduped| deduped.setup.keeping);
    let columns = with_kept(columns.into(), keeping);
    // Configurations are in the order of their tasks.
    let chats = tasks.iter().zip(configs).filter(|(deduped, _)| deduped.recipe.task.has_messages());
    let begun = chats.clone().map(|(_, config)| config.begun).sum();
    let kept = chats.clone().map(|(_, config)| config.rows).sum();
    let rows = chats.flat_map(|(deduped, _)| deduped.rows()).map(|row| -> Result<_> {
        let mut row = row?;
        row.retain(|name, _| name == "messages" || name == "source");
        Ok(row)
    });
    let (shards, features) = write_files(&new.join("data/all"), format, &columns, kept, rows)?;
    Ok(DatasetConfig { name: "all", begun, rows: kept, drops: BTreeMap::new(), shards, features })
}

/// The content of `run.json`.
fn manifest(
    folder: &Path,
    setup: &Setup,
    configs: &[DatasetConfig],
    ledger: &[LedgerEntry],
    is_complete: bool,
) -> Value {
    let config = |config: &DatasetConfig| {
        let shards: Vec<Value> = config.shards.iter().map(|shard| shard.entry(folder)).collect();
        let body =
            json!({"begun": config.begun, "rows": config.rows, "dropped": config.drops, "shards": shards});
        (config.name.to_owned(), body)
    };
    let mut manifest = json!({
        "program": concat!("smoltalk ", env!("CARGO_PKG_VERSION")),
        "complete": is_complete,
        "configuration": setup.configuration,
        "configs": configs.iter().map(config).collect::<Map<_, _>>(),
        "calls": ledger,
    });
    if !setup.source_left_out.is_empty() {
        manifest["source_rows_left_out"] = json!(setup.source_left_out);
    }
    if setup.requests.as_object().is_some_and(|requests| !requests.is_empty()) {
        manifest["requests"] = setup.requests.clone();
    }
    manifest
}

/// A line for every task of which less than a tenth of the rows is kept, with the most frequent reason.
fn poor_yields(out: &Path, configs: &[DatasetConfig]) -> Vec<String> {
    let is_poor = |config: &&DatasetConfig| config.name != "all" && config.rows * 10 < config.begun;
    let line = |config: &DatasetConfig| {
        let (reason, count) = config.drops.iter().max_by_key(|(_, count)| **count)?;
        Some(format!(
            "{}: less than a tenth of the rows is kept, {} of {}; {count} are dropped as `{reason}`, see `smoltalk show {} \
             --dropped`",
            config.name,
            config.rows,
            config.begun,
            out.display()
        ))
    };
    configs.iter().filter(is_poor).filter_map(line).collect()
}

/// What is printed at the end.
fn summary(out: &Path, configs: &[DatasetConfig]) -> String {
    let mut text = String::new();
    for config in configs.iter().filter(|config| config.name != "all") {
        let drops: Vec<String> =
            config.drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let drops = match drops.is_empty() {
            true => String::new(),
            false => format!(" (dropped: {})", drops.join(", ")),
        };
        text.push_str(&format!("{}: {} of {} rows kept{drops}\n", config.name, config.rows, config.begun));
    }
    format!("{text}written to {0}; print rows with: smoltalk show {0}", out.display())
}
