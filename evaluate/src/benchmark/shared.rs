//! Benchmark tasks scored by many processes: a shard is every N-th document of each task. Its records are appended to a file of
//! the claim, from which a worker that takes the shard over continues; the last worker hands all records to the task's files
//! and goes on as one that has scored them.

use super::job::Job;
use super::model::Model;
use super::record::Record;
use super::store::{self, Store};
use anyhow::{Context, Result, ensure};
use files::hash::sha256;
use serde_json::{Map, Value, json};
use shards::{Board, Claim, Stage};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use terminal::Stop;

/// The stages of the work.
const DOCUMENTS: usize = 0;
pub(super) const FINISH: usize = 1;

/// Scores documents with other processes until all are scored, or a signal stops this one.
///
/// # Errors
/// When the folder has a run of other documents, or the model cannot be asked.
pub(super) fn score(
    folder: &Path,
    model: &mut Model,
    jobs: &[Job<'_>],
    (sharing, shards): (&shards::Options, usize),
    stop: &Stop,
) -> Result<Board> {
    let stages = vec![Stage::new("documents", shards), Stage::new("finish", 1)];
    let board = Board::join(folder, sharing, "smoleval score", stages, settings(jobs))?;
    while let Some(claim) = board.next(DOCUMENTS, stop)? {
        match claim.unless_lost(score_shard(model, jobs, &claim, shards, stop))? {
            Some(part) => drop(claim.complete(Some(&part), json!({}))?),
            None if claim.is_lost() => claim.note_loss(),
            None => {}
        }
    }
    Ok(board)
}

/// What decides the scores: the keys of a task's documents contain the model, the prompts and the rows.
fn settings(jobs: &[Job<'_>]) -> Value {
    let hash = |job: &Job<'_>| {
        let keys: Vec<&str> = job.documents.iter().map(|document| document.key.as_str()).collect();
        (job.task.name.clone(), json!(sha256(keys.join("\n"))))
    };
    json!(jobs.iter().map(hash).collect::<Map<_, _>>())
}

/// Scores the documents of a shard that no earlier claim has scored; returns their file, or `None` if it was stopped.
fn score_shard(
    model: &mut Model,
    jobs: &[Job<'_>],
    claim: &Claim,
    shards: usize,
    stop: &Stop,
) -> Result<Option<PathBuf>> {
    let path = claim.part("jsonl");
    let mut known = HashMap::new();
    for earlier in claim.earlier_parts("jsonl") {
        known.extend(store::read(&earlier)?.into_iter().map(|record| (record.key.clone(), record)));
    }
    let failed = || format!("cannot write {}", path.display());
    let mut file = File::options().append(true).create_new(true).open(&path).with_context(failed)?;
    let mut append = |record: &Record| -> Result<()> {
        let line = format!("{}\n", serde_json::to_string(record)?);
        file.write_all(line.as_bytes()).with_context(failed)
    };
    for job in jobs {
        let mut missing = Vec::new();
        for index in (claim.shard..job.documents.len()).step_by(shards) {
            match known.get(&job.documents[index].key) {
                Some(record) => append(record)?,
                None => missing.push(index),
            }
        }
        model.score(job, &missing, stop, |record| {
            append(&record)?;
            // No document more is paid for; the caller sees that it is no failure.
            ensure!(!claim.is_lost(), "another worker has the shard");
            Ok(())
        })?;
        if stop.is_requested() {
            return Ok(None);
        }
    }
    File::open(&path).and_then(|file| file.sync_all()).with_context(failed)?;
    Ok(Some(path))
}

/// Writes the records of all shards to the files of their tasks.
///
/// # Errors
/// When a part is damaged, or a file cannot be written.
pub(super) fn hand_in(board: &Board, folder: &Path, jobs: &[Job<'_>]) -> Result<()> {
    let mut records: HashMap<String, Vec<Record>> = HashMap::new();
    for shard in 0..board.shards(DOCUMENTS) {
        let (_, part) = board.result(DOCUMENTS, shard)?;
        for record in store::read(&part.with_context(|| format!("shard {shard} has no part"))?)? {
            records.entry(record.task.clone()).or_default().push(record);
        }
    }
    for job in jobs {
        let mut store = Store::open(folder, &job.task.name, false)?;
        for record in records.remove(&job.task.name).unwrap_or_default() {
            if !store.contains(&record.key) {
                store.append(record)?;
            }
        }
    }
    Ok(())
}
