//! The cleaned dataset: Parquet shards in the input's own columns, dropped.jsonl, contamination.json, the card, and
//! clean.json last, which vouches for all of it.

use super::survey::Survey;
use super::{Decisions, Options};
use anyhow::{Context, Result, bail};
use datasets::card::{Config, Front, card};
use datasets::write::{
    ROWS_PER_SHARD, Shard, remove, remove_others, write_atomic, write_jsonl, write_shards_as_found,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Refuses a folder that holds something else, or what is to be cleaned.
pub(super) fn check(input: &Path, out: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(out) {
        Ok(entries) => entries.count(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("--out {}", out.display())),
    };
    let (from, to) = (input.canonicalize(), out.canonicalize());
    if let (Ok(from), Ok(to)) = (from, to)
        && (from.starts_with(&to) || to.starts_with(&from))
    {
        bail!("--out {} and the input lie one within the other; name another --out", out.display());
    }
    if entries > 0 && !out.join("clean.json").is_file() {
        bail!("--out {} holds something that smoltalk clean did not write; name another", out.display());
    }
    Ok(())
}

/// Writes everything; returns what to tell the user.
pub(super) fn write(survey: &Survey, options: &Options, decisions: &Decisions) -> Result<String> {
    let out = &options.out;
    clear(out)?;
    let columns = survey.columns(|row| decisions.keeps(row))?;
    let kept = decisions.dropped.iter().filter(|dropped| dropped.is_none()).count();
    let rows = survey.objects()?.filter_map(|found| match found {
        Ok((row, found)) => decisions.keeps(row).then_some(Ok(found.object)),
        Err(error) => Some(Err(error)),
    });
    let shards = write_shards_as_found(&out.join("data"), "train", &columns, kept, ROWS_PER_SHARD, rows)?;
    let lines = (0..survey.rows.len())
        .filter_map(|row| dropped_line(survey, decisions, row).map(Ok::<_, anyhow::Error>));
    write_jsonl(&out.join("dropped.jsonl"), lines)?;
    let pretty = |value: &Value| serde_json::to_string_pretty(value).map(|text| format!("{text}\n"));
    if let Some(report) = &decisions.contamination {
        write_atomic(&out.join("contamination.json"), pretty(report)?.as_bytes())?;
    }
    let mut manifest = manifest(survey, options, decisions, &shards);
    manifest["written_as_json_text"] = json!(columns.as_json());
    write_atomic(&out.join("README.md"), body(kept, &manifest).as_bytes())?;
    write_atomic(&out.join("clean.json"), pretty(&manifest)?.as_bytes())?;
    Ok(summary(out, &manifest))
}

/// No file of an earlier run stays. The manifest goes first: without it nothing is vouched for.
fn clear(out: &Path) -> Result<()> {
    let data = out.join("data");
    std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    for name in ["clean.json", "contamination.json"] {
        remove(&out.join(name))?;
    }
    Ok(remove_others(&data, &[])?)
}

fn dropped_line(survey: &Survey, decisions: &Decisions, row: usize) -> Option<Map<String, Value>> {
    let dropped = decisions.dropped[row].as_ref()?;
    let mut line = Map::new();
    line.insert("row".to_owned(), survey.place(row).into());
    line.insert("id".to_owned(), json!(survey.rows[row].id));
    line.insert("reason".to_owned(), dropped.reason.into());
    line.extend(dropped.detail.as_object().cloned().unwrap_or_default());
    Some(line)
}

fn manifest(survey: &Survey, options: &Options, decisions: &Decisions, shards: &[Shard]) -> Value {
    let mut drops: BTreeMap<&str, usize> = BTreeMap::new();
    for dropped in decisions.dropped.iter().flatten() {
        *drops.entry(dropped.reason).or_default() += 1;
    }
    let near = (!options.no_near_duplicates).then(|| {
        let parameters = options.parameters();
        json!({
            "ngram": parameters.ngram, "bands": parameters.bands, "rows_per_band": parameters.rows_per_band,
            "similarity": options.similarity, "compare": format!("{:?}", options.compare).to_lowercase(),
        })
    });
    let embeddings = decisions.embedder.as_ref().map(|of| json!({"of": of, "distance": options.distance}));
    let input = survey.input.file_name().map(|name| name.to_string_lossy().into_owned());
    let contamination = decisions.contamination.as_ref().map(|report| {
        let fields = ["method", "sets", "questions_shorter_than_an_ngram", "rows_sharing_an_ngram"];
        Value::Object(fields.map(|field| (field.to_owned(), report[field].clone())).into_iter().collect())
    });
    json!({
        "program": concat!("smoltalk ", env!("CARGO_PKG_VERSION")),
        "input": input,
        "layouts": survey.layouts,
        "rows": survey.rows.len(),
        "kept": shards.iter().map(|shard| shard.rows).sum::<usize>(),
        "dropped": drops,
        "decontamination": contamination,
        "near_duplicates": near,
        "embeddings": embeddings,
        "kept_without_an_embedding": decisions.not_embedded,
        "skipped": survey.skipped,
        "shards": shards.iter().map(|shard| shard.entry(&options.out)).collect::<Vec<_>>(),
    })
}

fn body(kept: usize, manifest: &Value) -> String {
    let input = manifest["input"].as_str().unwrap_or("its input");
    let files = vec![("train".to_owned(), "data/train-*.parquet".to_owned())];
    let front = Front {
        pretty_name: format!("{input}, cleaned"),
        tags: vec!["smoltalk".to_owned()],
        rows: kept,
        configs: vec![Config { name: "default".to_owned(), data_files: files }],
        ..Front::default()
    };
    let mut text = format!(
        "# {input}, cleaned\n\nMade from {} rows by smoltalk clean {}; {kept} are kept. Every dropped row stands in `dropped.jsonl` with its reason.\n\n| dropped | rows |\n| --- | --- |\n",
        manifest["rows"],
        env!("CARGO_PKG_VERSION")
    );
    for (reason, rows) in manifest["dropped"].as_object().into_iter().flatten() {
        text.push_str(&format!("| {reason} | {rows} |\n"));
    }
    text.push_str("\n## How\n\n");
    for stage in ["decontamination", "near_duplicates", "embeddings"] {
        if !manifest[stage].is_null() {
            text.push_str(&format!("- {stage}: `{}`\n", manifest[stage]));
        }
    }
    for (field, said) in [
        ("skipped", "Could not be read"),
        ("kept_without_an_embedding", "Kept without an embedding"),
        ("written_as_json_text", "Written as JSON text, being of no one type"),
    ] {
        for entry in manifest[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            text.push_str(&format!("- {said}: {entry}\n"));
        }
    }
    card(&front, &text)
}

fn summary(out: &Path, manifest: &Value) -> String {
    let mut text = format!("{} of {} rows kept\n", manifest["kept"], manifest["rows"]);
    for (reason, rows) in manifest["dropped"].as_object().into_iter().flatten() {
        text.push_str(&format!("  {reason}: {rows} dropped\n"));
    }
    let decontamination = &manifest["decontamination"];
    if !decontamination.is_null() {
        text.push_str(&format!(
            "  {} rows share an n-gram with a question; {} questions are too short to be looked for\n",
            decontamination["rows_sharing_an_ngram"], decontamination["questions_shorter_than_an_ngram"]
        ));
    }
    for field in ["skipped", "kept_without_an_embedding", "written_as_json_text"] {
        let count = manifest[field].as_array().map_or(0, Vec::len);
        if count > 0 {
            text.push_str(&format!("  {}: {count}, named in clean.json\n", field.replace('_', " ")));
        }
    }
    format!("{text}written to {}", out.display())
}
