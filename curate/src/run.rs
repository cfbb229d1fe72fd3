//! A run: the files of the input go through the stages in passes. A stage that looks at all pages together ends a pass. What
//! a pass made of a file is written whole, so that a run that was killed does again only what was in work, and the dataset
//! has the same bytes. Pages are worked on in small batches on all cores and written in their order.

mod global;
mod output;
mod part;
mod shared;

#[cfg(test)]
mod tests;

use crate::fate::Fate;
use crate::page::{Page, Source};
use crate::recipe::{Recipe, Stage};
use crate::stage::{Ready, ready};
use anyhow::{Context, Result, bail};
use files::atomic;
use files::output_folder::OutputFolder;
use files::run_folder::{changes, refuse_changes, set_aside};
use part::{Counts, NewPart, Part};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use terminal::{Progress, Stop};
use xxhash_rust::xxh3::xxh3_128;

pub use output::{DROPPED, FOLDER, REPORT};

/// The folder of what a run has not finished; hidden from readers of the dataset.
const WORK: &str = ".curate";
/// Pages, and bytes of them, that are worked on together.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 32 << 20;

/// What a run is made of.
#[derive(Debug)]
pub struct Settings {
    /// A file or a folder.
    pub input: PathBuf,
    /// The folder of the dataset.
    pub out: PathBuf,
    /// What is done.
    pub recipe: Recipe,
    /// Start over.
    pub restart: bool,
    /// Do not lock the folder.
    pub no_lock: bool,
    /// Whether other processes work on the same run.
    pub sharing: shards::Options,
}

/// Stages that are applied together.
enum Pass {
    /// Stages that look at one page.
    Pages(Vec<usize>),
    /// One stage that looks at all pages.
    Global(usize),
}

/// Runs a recipe; returns a summary, or `None` if a signal stopped the run.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(settings: &Settings, stop: &Stop) -> Result<Option<String>> {
    refuse_nested(&settings.input, &settings.out)?;
    let (sources, skipped) = Source::list(&settings.input)?;
    let stages = ready(&settings.recipe)?;
    if let Some(shards) = settings.sharing.shards()? {
        return shared::run(settings, (&sources, &skipped), &stages, shards, stop);
    }
    if !settings.restart {
        shards::status::refuse_unfinished(&settings.out)?;
    }
    let folder = OutputFolder::open(&settings.out, &FOLDER, settings.no_lock)?;
    let work = settings.out.join(WORK);
    if settings.restart {
        // The earlier dataset stays until the new one is whole.
        set_aside(&settings.out, &[shards::FOLDER, WORK])?;
    }
    let identity = identity(settings, &sources);
    if let Some(summary) = finished(settings, &identity)? {
        remove_work(&work)?;
        return Ok(Some(summary));
    }
    open_work(&work, &settings.out, &identity)?;
    note_skipped(&skipped);
    let passes = passes(&settings.recipe);
    for (number, pass) in passes.iter().enumerate() {
        let done = match pass {
            Pass::Pages(places) => pages_pass(&sources, &work, number, places, &stages, stop)?,
            Pass::Global(place) => {
                global::run(&settings.recipe.stages[*place], &work, number, sources.len())?;
                !stop.is_requested()
            }
        };
        if !done {
            return Ok(None);
        }
    }
    let dataset = output::prepare(&folder, settings, &identity, &work, passes.len(), sources.len())?;
    let summary = dataset.install(&folder)?;
    remove_work(&work)?;
    Ok(Some(summary))
}

fn note_skipped(names: &[String]) {
    for name in names {
        terminal::message!("note: {name} is not read; expected .warc, .wet, .html, .parquet or .jsonl");
    }
}

/// Refuses a dataset inside its input, which the next run would read.
fn refuse_nested(input: &Path, out: &Path) -> Result<()> {
    if let (Ok(read), Ok(written)) = (input.canonicalize(), out.canonicalize())
        && (read.starts_with(&written) || written.starts_with(&read))
    {
        bail!("`--out {}` is inside the input, or the input inside it; give another folder", out.display());
    }
    Ok(())
}

/// What decides the bytes of the dataset. Files that the recipe reads are named with their content, not with their place.
fn identity(settings: &Settings, sources: &[Source]) -> Value {
    let inputs: Vec<Value> = sources.iter().map(|source| json!([source.name, source.bytes])).collect();
    let mut recipe = settings.recipe.clone();
    for file in recipe.stages.iter_mut().flat_map(Stage::files) {
        let path = Path::new(file);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        *file = format!("{name} (xxh3 {:032x})", xxh3_128(&content(path)));
    }
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "recipe": recipe,
        "inputs": inputs,
    })
}

/// The content of a file; of a folder the names and the hashes of its files.
fn content(path: &Path) -> Vec<u8> {
    if !path.is_dir() {
        return std::fs::read(path).unwrap_or_default();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    let line = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        format!("{name} {:032x}\n", xxh3_128(&content(path)))
    };
    entries.iter().map(line).collect::<String>().into_bytes()
}

/// The summary of a dataset that is finished; `None` where there is none. One of other settings is refused.
fn finished(settings: &Settings, identity: &Value) -> Result<Option<String>> {
    let path = settings.out.join(FOLDER.description);
    if settings.restart || !path.exists() {
        return Ok(None);
    }
    let manifest: Value = serde_json::from_slice(&std::fs::read(&path)?)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    refuse_changes(&settings.out, &changes(&manifest["settings"], identity), false)?;
    Ok(Some(output::summary(&settings.out, &manifest)))
}

fn open_work(work: &Path, out: &Path, identity: &Value) -> Result<()> {
    atomic::create_folder(work)?;
    let path = work.join("settings.json");
    if path.exists() {
        let before: Value = serde_json::from_slice(&std::fs::read(&path)?)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        refuse_changes(out, &changes(&before, identity), false)?;
        return Ok(());
    }
    atomic::write(&path, serde_json::to_vec_pretty(identity)?)?;
    Ok(())
}

fn remove_work(work: &Path) -> Result<()> {
    if work.exists() {
        std::fs::remove_dir_all(work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    Ok(())
}

fn passes(recipe: &Recipe) -> Vec<Pass> {
    let mut passes = vec![Pass::Pages(Vec::new())];
    for (place, stage) in recipe.stages.iter().enumerate() {
        if stage.is_global() {
            passes.push(Pass::Global(place));
        } else if let Some(Pass::Pages(places)) = passes.last_mut() {
            places.push(place);
        } else {
            passes.push(Pass::Pages(vec![place]));
        }
    }
    passes
}

/// Applies stages to every page of every file; returns whether all are done.
fn pages_pass(
    sources: &[Source],
    work: &Path,
    pass: usize,
    places: &[usize],
    stages: &[Option<Ready>],
    stop: &Stop,
) -> Result<bool> {
    let stages: Vec<&Ready> = places.iter().filter_map(|place| stages[*place].as_ref()).collect();
    let total: u64 = sources.iter().map(|source| source.bytes).sum();
    let progress = Progress::new(format!("pass {}", pass + 1), "bytes of input", Some(total));
    let mut pages = 0;
    for (number, source) in sources.iter().enumerate() {
        let Some(new) = file_pass(source, work, (pass, number), &stages, stop)? else { return Ok(false) };
        pages += new;
        progress.advance_with(source.bytes, || format!("{} pages", report::numbers::separated(pages)));
    }
    progress.finish();
    Ok(true)
}

/// Applies stages to every page of one file, unless that is done; returns the number of pages, or `None` if a signal asked to
/// stop.
fn file_pass(
    source: &Source,
    work: &Path,
    (pass, number): (usize, usize),
    stages: &[&Ready],
    stop: &Stop,
) -> Result<Option<u64>> {
    let part = Part::new(work, pass, number);
    if part.is_done() {
        return Ok(Some(0));
    }
    let mut new = NewPart::create(&part)?;
    let input = Input::open(source, work, pass, number)?;
    let Some(counts) = apply(input, stages, &mut new, stop)? else { return Ok(None) };
    new.commit(&counts)?;
    Ok(Some(counts.kept + counts.dropped))
}

/// Where a pass takes its pages from.
enum Input {
    Source(crate::page::Pages),
    Part(part::Rows),
}

impl Input {
    fn open(source: &Source, work: &Path, pass: usize, number: usize) -> Result<Self> {
        match pass {
            0 => Ok(Self::Source(source.pages()?)),
            _ => Ok(Self::Part(Part::new(work, pass - 1, number).kept()?)),
        }
    }

    fn next(&mut self) -> Option<Result<Page>> {
        match self {
            Self::Source(pages) => pages.next(),
            Self::Part(rows) => rows.next().map(|row| row.map(Page::from_object)),
        }
    }

    fn counts(&self) -> Counts {
        match self {
            Self::Source(pages) => Counts::of(pages.losses()),
            Self::Part(_) => Counts::default(),
        }
    }
}

/// Works on the pages of one file; `None` if a signal asked to stop.
fn apply(mut input: Input, stages: &[&Ready], new: &mut NewPart, stop: &Stop) -> Result<Option<Counts>> {
    let (mut kept, mut dropped) = (0, 0);
    loop {
        if stop.is_requested() {
            return Ok(None);
        }
        let batch = next_batch(&mut input)?;
        if batch.is_empty() {
            return Ok(Some(Counts { kept, dropped, ..input.counts() }));
        }
        let decided = decide(batch, stages);
        for (page, fate) in decided {
            match fate {
                None => {
                    new.keep(&page.object())?;
                    kept += 1;
                }
                Some(fate) => {
                    new.drop(&page.dropped(&fate))?;
                    dropped += 1;
                }
            }
        }
    }
}

/// Applies the stages in their order: those that look at a page by itself on all cores, the others to all pages that are left.
fn decide(batch: Vec<Page>, stages: &[&Ready]) -> Vec<(Page, Option<Fate>)> {
    let mut decided: Vec<(Page, Option<Fate>)> = batch.into_iter().map(|page| (page, None)).collect();
    for group in stages.chunk_by(|one, other| !one.is_batched() && !other.is_batched()) {
        if let [stage] = group
            && stage.is_batched()
        {
            let (mut pages, mut fates): (Vec<&mut Page>, Vec<&mut Option<Fate>>) = decided
                .iter_mut()
                .filter(|(_, fate)| fate.is_none())
                .map(|(page, fate)| (page, fate))
                .unzip();
            for (fate, found) in fates.iter_mut().zip(stage.apply_all(&mut pages)) {
                **fate = found;
            }
            continue;
        }
        decided.par_iter_mut().filter(|(_, fate)| fate.is_none()).for_each(|(page, fate)| {
            *fate = group.iter().find_map(|stage| stage.apply(page));
        });
    }
    decided
}

fn next_batch(input: &mut Input) -> Result<Vec<Page>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH
        && bytes < BATCH_BYTES
        && let Some(page) = input.next()
    {
        let page = page?;
        bytes += page.bytes();
        batch.push(page);
    }
    Ok(batch)
}
