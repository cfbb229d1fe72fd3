//! The finished dataset: Parquet shards of the pages that are kept with all that was measured, `dropped.jsonl` with a reason
//! for each page that is not, `report.html`, and `curate.json` last, whose presence says that all is there.

use super::Settings;
use super::part::{Counts, Part};
use crate::report::Report;
use anyhow::Result;
use datasets::columns::Columns;
use datasets::write::{ROWS_PER_SHARD, contents, write_inferred_shards, write_jsonl};
use files::atomic::{self, NewFolder};
use files::checksum::Content;
use files::output_folder::{FolderKind, OutputFolder};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The pages that were dropped.
pub const DROPPED: &str = "dropped.jsonl";
/// The report.
pub const REPORT: &str = "report.html";

/// The folder of a curated dataset.
pub const FOLDER: FolderKind = FolderKind {
    program: "smoltalk curate",
    description: "curate.json",
    files: &[DROPPED, REPORT],
    working: &[],
};

/// A dataset whose files are written and not installed yet.
pub(super) struct Prepared {
    new: NewFolder,
    about: Map<String, Value>,
    known: BTreeMap<String, Content>,
    summary: String,
}

impl Prepared {
    /// Puts the files in the place of the earlier ones; returns the summary for the user.
    pub(super) fn install(self, folder: &OutputFolder) -> Result<String> {
        for aside in folder.install(self.new, self.about, self.known)? {
            terminal::message!(
                "note: a file was changed after it was written; it is kept as {}",
                aside.display()
            );
        }
        Ok(self.summary)
    }
}

/// Writes all files without installing them.
pub(super) fn prepare(
    folder: &OutputFolder,
    settings: &Settings,
    identity: &Value,
    work: &Path,
    passes: usize,
    parts: usize,
) -> Result<Prepared> {
    let kept = || {
        (0..parts).flat_map(move |number| match Part::new(work, passes - 1, number).kept() {
            Ok(rows) => Box::new(rows) as Box<dyn Iterator<Item = Result<Map<String, Value>>>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        })
    };
    // A page is dropped once, in one of the passes.
    let dropped = || {
        (0..parts).flat_map(move |number| (0..passes).map(move |pass| (number, pass))).flat_map(
            move |(number, pass)| match Part::new(work, pass, number).dropped() {
                Ok(rows) => Box::new(rows) as Box<dyn Iterator<Item = Result<Map<String, Value>>>>,
                Err(error) => Box::new(std::iter::once(Err(error))),
            },
        )
    };
    let mut losses = Counts::default();
    for number in 0..parts {
        let counts = Part::new(work, 0, number).counts()?;
        losses.damaged += counts.damaged;
        losses.too_large += counts.too_large;
        losses.named.extend(counts.named);
    }
    losses.named.truncate(50);
    let mut report = Report::new(&settings.recipe);
    let mut columns = Columns::default();
    let mut rows = 0;
    for row in kept() {
        let row = row?;
        columns.add(&row);
        report.add_kept(&row);
        rows += 1;
    }
    for row in dropped() {
        report.add_dropped(&row?);
    }
    report.measure();
    for row in kept() {
        report.draw_kept(&row?);
    }
    for row in dropped() {
        report.draw_dropped(&row?);
    }
    let new = folder.new_result()?;
    let path = |name: &str| new.path().join(name);
    let shards = write_inferred_shards(&path("data"), "train", &columns, rows, ROWS_PER_SHARD, kept())?;
    write_jsonl(&path(DROPPED), dropped())?;
    let manifest = json!({
        "program": FOLDER.program,
        "settings": identity,
        "pages": report.pages(),
        "kept": rows,
        "tokens": report.tokens(),
        "dropped": report.funnel(),
        "damaged_records": losses.damaged,
        "records_too_large": losses.too_large,
        "losses": losses.named,
        "shards": shards.iter().map(|shard| shard.entry(new.path())).collect::<Vec<_>>(),
    });
    atomic::write(&path(REPORT), report.render(&manifest))?;
    atomic::write(&path(FOLDER.description), format!("{}\n", serde_json::to_string_pretty(&manifest)?))?;
    let about = Map::from_iter([
        ("version".to_owned(), json!(env!("CARGO_PKG_VERSION"))),
        ("rows_in_shards".to_owned(), json!(rows)),
    ]);
    let known = contents(new.path(), &shards);
    Ok(Prepared { new, about, known, summary: summary(&settings.out, &manifest) })
}

/// The counts that a run ends with.
pub(super) fn summary(out: &Path, manifest: &Value) -> String {
    let number = |value: &Value| report::numbers::separated(value.as_u64().unwrap_or_default());
    let (pages, kept) =
        (manifest["pages"].as_u64().unwrap_or_default(), manifest["kept"].as_u64().unwrap_or_default());
    let mut lines = vec![format!(
        "{} pages, {} kept ({})",
        number(&manifest["pages"]),
        number(&manifest["kept"]),
        report::numbers::percent(kept, pages)
    )];
    if manifest["tokens"].is_u64() {
        lines.push(format!("  {} tokens are kept", number(&manifest["tokens"])));
    }
    for stage in manifest["dropped"].as_array().into_iter().flatten() {
        let reasons = stage["reasons"].as_object().into_iter().flatten();
        let reasons: Vec<String> =
            reasons.map(|(reason, count)| format!("{reason} {}", number(count))).collect();
        let name = stage["stage"].as_str().unwrap_or_default();
        lines.push(format!(
            "  {name}: {} dropped{}{}",
            number(&stage["dropped"]),
            if reasons.is_empty() { "" } else { ": " },
            reasons.join(", ")
        ));
    }
    for (name, unit) in
        [("damaged_records", "damaged records were skipped"), ("records_too_large", "records were too large")]
    {
        if manifest[name].as_u64() > Some(0) {
            lines.push(format!("  {} {unit}", number(&manifest[name])));
        }
    }
    lines.push(format!("{} and {} are in {}", REPORT, DROPPED, out.display()));
    lines.join("\n")
}
