//! The cleaned dataset: Parquet shards with the columns of the input, `dropped.jsonl`, `contamination.json`, the
//! dataset card, and `clean.json` last, whose presence says that all other files are complete.

use super::decisions::Decisions;
use super::settings::CleanSettings;
use super::survey::Survey;
use crate::install::install;
use anyhow::{Result, bail};
use datasets::card::{Config, FrontMatter, card, plain};
use datasets::encoded::write_inferred_shards;
use datasets::export::{FileFormat, write_json_files};
use datasets::write::{ROWS_PER_SHARD, Shard, write_jsonl};
use files::atomic;
use files::output_folder::{FolderKind, OutputFolder};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The folder of a cleaned dataset.
pub(crate) const FOLDER: FolderKind = FolderKind {
    program: "smoltalk clean",
    description: "clean.json",
    files: &["README.md", "contamination.json", "dropped.jsonl"],
    working: &[],
};

/// Refuses a folder that contains anything else, or the input.
pub(super) fn check(input: &Path, out: &Path) -> Result<()> {
    // Resolved, so that links and `..` are no way around this.
    let resolved = (input.canonicalize(), out.canonicalize());
    if let (Ok(read), Ok(written)) = &resolved
        && (read.starts_with(written) || written.starts_with(read))
    {
        bail!("`--out {}` is inside the input, or the input inside it; give another folder", out.display());
    }
    Ok(OutputFolder::look(out, &FOLDER)?)
}

/// Writes all files; returns the summary for the user.
pub(super) fn write(survey: &Survey, settings: &CleanSettings, decisions: &Decisions) -> Result<String> {
    let folder = OutputFolder::open(&settings.out, &FOLDER, settings.no_lock)?;
    let new = folder.new_result()?;
    let path = |name: &str| new.path().join(name);
    let kept = decisions.dropped.iter().filter(|dropped| dropped.is_none()).count();
    let WrittenRows { shards, as_json, features } =
        write_rows(&path("data"), survey, settings.format, decisions, kept)?;
    let lines = (0..survey.rows.len())
        .filter_map(|row| dropped_line(survey, decisions, row).map(Ok::<_, anyhow::Error>));
    write_jsonl(&path("dropped.jsonl"), lines)?;
    let pretty = |value: &Value| serde_json::to_string_pretty(value).map(|text| format!("{text}\n"));
    if let Some(report) = &decisions.contamination {
        atomic::write(&path("contamination.json"), pretty(report)?)?;
    }
    let mut manifest = manifest(new.path(), survey, settings, decisions, &shards);
    manifest["written_as_json_text"] = json!(as_json);
    atomic::write(&path("README.md"), body(kept, (settings.format, features), &manifest))?;
    atomic::write(&path("clean.json"), pretty(&manifest)?)?;
    install(&folder, new, &shards)?;
    Ok(summary(&settings.out, &manifest))
}

/// The files of the rows that are kept.
struct WrittenRows {
    shards: Vec<Shard>,
    /// The columns that are written as JSON text.
    as_json: Vec<String>,
    /// The types of the columns, where the files do not state them.
    features: Option<Value>,
}

impl WrittenRows {
    fn of_parquet(shards: Vec<Shard>, as_json: Vec<String>) -> Self {
        Self { shards, as_json, features: None }
    }
}

/// Writes the rows that are kept. The rows of Parquet and Arrow files keep their columns as they are.
fn write_rows(
    folder: &Path,
    survey: &Survey,
    format: FileFormat,
    decisions: &Decisions,
    kept: usize,
) -> Result<WrittenRows> {
    let keeps: Vec<bool> = (0..survey.rows.len()).map(|row| decisions.keeps(row)).collect();
    let rows = || -> Result<_> {
        Ok(survey.raw_rows()?.filter_map(move |raw| match raw {
            Ok((index, raw)) => keeps.get(index).copied().unwrap_or_default().then_some(Ok(raw.object)),
            Err(error) => Some(Err(error)),
        }))
    };
    let unchanged = match format {
        FileFormat::Parquet => survey.unchanged_files()?.zip(survey.by_location(|row| decisions.keeps(row))),
        _ => None,
    };
    if unchanged.is_none() {
        survey.refuse_bytes()?;
    }
    if format != FileFormat::Parquet {
        let (shards, columns) = write_json_files(folder, "train", format, kept, ROWS_PER_SHARD, rows()?)?;
        return Ok(WrittenRows { shards, as_json: Vec::new(), features: columns.features() });
    }
    if let Some((files, keeps)) = unchanged {
        let shards = files.write(folder, "train", kept, ROWS_PER_SHARD, keeps)?;
        return Ok(WrittenRows::of_parquet(shards, Vec::new()));
    }
    let columns = survey.columns(|row| decisions.keeps(row))?;
    let as_json = columns.as_json();
    let shards = write_inferred_shards(folder, "train", columns.into(), kept, ROWS_PER_SHARD, rows()?)?;
    Ok(WrittenRows::of_parquet(shards, as_json))
}

fn dropped_line(survey: &Survey, decisions: &Decisions, row: usize) -> Option<Map<String, Value>> {
    let dropped = decisions.dropped[row].as_ref()?;
    let mut line = Map::new();
    line.insert("row".to_owned(), survey.location(row).into());
    line.insert("id".to_owned(), json!(survey.rows[row].id));
    line.insert("reason".to_owned(), dropped.reason.into());
    line.extend(dropped.detail.as_object().cloned().unwrap_or_default());
    Some(line)
}

fn manifest(
    folder: &Path,
    survey: &Survey,
    settings: &CleanSettings,
    decisions: &Decisions,
    shards: &[Shard],
) -> Value {
    let mut drops: BTreeMap<&str, usize> = BTreeMap::new();
    for dropped in decisions.dropped.iter().flatten() {
        *drops.entry(dropped.reason).or_default() += 1;
    }
    let near_duplicates = settings.near_duplicates.map(|near_duplicates| {
        let parameters = near_duplicates.parameters;
        json!({
            "ngram": parameters.ngram, "bands": parameters.bands, "rows_per_band": parameters.rows_per_band,
            "similarity": near_duplicates.similarity, "compare": settings.compare.name(),
        })
    });
    let embeddings =
        decisions.embedder.as_ref().map(|model| json!({"of": model, "distance": settings.distance}));
    let contamination = decisions.contamination.as_ref().map(|report| {
        let fields = ["method", "sets", "questions_shorter_than_an_ngram", "rows_sharing_an_ngram"];
        Value::Object(fields.map(|field| (field.to_owned(), report[field].clone())).into_iter().collect())
    });
    json!({
        "program": concat!("smoltalk ", env!("CARGO_PKG_VERSION")),
        "input": survey.name,
        "layouts": survey.layouts,
        "rows": survey.rows.len(),
        "kept": shards.iter().map(|shard| shard.rows).sum::<usize>(),
        "dropped": drops,
        "decontamination": contamination,
        "near_duplicates": near_duplicates,
        "embeddings": embeddings,
        "kept_without_an_embedding": decisions.not_embedded,
        "skipped": survey.skipped,
        "odd": survey.odd.counted().map(|(kind, count)| (kind.to_owned(), json!(count))).collect::<Map<_, _>>(),
        "repeated_ids": survey.repeated_ids,
        "surrogates_replaced": survey.surrogates,
        "shards": shards.iter().map(|shard| shard.entry(folder)).collect::<Vec<_>>(),
    })
}

/// The body of the dataset card.
fn body(kept: usize, (format, features): (FileFormat, Option<Value>), manifest: &Value) -> String {
    let input = manifest["input"].as_str().unwrap_or("the input");
    let files = vec![("train".to_owned(), format.pattern("data"))];
    let front = FrontMatter {
        pretty_name: format!("{input}, cleaned"),
        tags: vec!["smoltalk".to_owned()],
        rows: kept,
        configs: vec![Config { name: "default".to_owned(), data_files: files, features }],
        ..FrontMatter::default()
    };
    let mut text = format!(
        "# {}, cleaned\n\nMade from {} rows by smoltalk clean {}; {kept} are kept. `dropped.jsonl` contains every dropped row with the reason.\n\n| dropped | rows |\n| --- | --- |\n",
        plain(input),
        manifest["rows"],
        env!("CARGO_PKG_VERSION")
    );
    for (reason, rows) in manifest["dropped"].as_object().into_iter().flatten() {
        text.push_str(&format!("| {reason} | {rows} |\n"));
    }
    text.push_str("\n## Settings\n\n");
    for stage in ["decontamination", "near_duplicates", "embeddings"] {
        if !manifest[stage].is_null() {
            text.push_str(&format!("- {stage}: `{}`\n", manifest[stage]));
        }
    }
    for (field, title) in [
        ("skipped", "Could not be read"),
        ("kept_without_an_embedding", "Kept without an embedding"),
        ("written_as_json_text", "Written as JSON text, because its values have no single type"),
    ] {
        for entry in manifest[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            text.push_str(&format!("- {title}: {}\n", plain(entry)));
        }
    }
    card(&front, &text)
}

/// What is printed at the end.
fn summary(out: &Path, manifest: &Value) -> String {
    let mut text = format!("{} of {} rows kept\n", manifest["kept"], manifest["rows"]);
    for (reason, rows) in manifest["dropped"].as_object().into_iter().flatten() {
        text.push_str(&format!("  {reason}: {rows} dropped\n"));
    }
    let decontamination = &manifest["decontamination"];
    if !decontamination.is_null() {
        text.push_str(&format!(
            "  {} rows share an n-gram with a question; {} questions are shorter than an n-gram and cannot be found\n",
            decontamination["rows_sharing_an_ngram"], decontamination["questions_shorter_than_an_ngram"]
        ));
    }
    for (kind, rows) in manifest["odd"].as_object().into_iter().flatten() {
        text.push_str(&format!("  {rows} rows {kind}\n"));
    }
    for (field, what) in [
        ("repeated_ids", "rows have an id that an earlier row has and are kept"),
        ("surrogates_replaced", "halves of surrogate pairs became U+FFFD"),
    ] {
        if manifest[field].as_u64().is_some_and(|count| count > 0) {
            text.push_str(&format!("  {} {what}\n", manifest[field]));
        }
    }
    for field in ["skipped", "kept_without_an_embedding", "written_as_json_text"] {
        let count = manifest[field].as_array().map_or(0, Vec::len);
        if count > 0 {
            text.push_str(&format!("  {}: {count}, listed in clean.json\n", field.replace('_', " ")));
        }
    }
    format!("{text}written to {}", out.display())
}
