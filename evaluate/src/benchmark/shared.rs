//! Benchmark tasks scored by many processes: a shard is every N-th document of each task. Its records are appended to a file of
//! the claim, from which a worker that takes the shard over continues; the last worker hands all records to the task's files
//! and goes on as one that has scored them.

use super::job::Job;
use super::model::Model;
use super::record::Record;
use super::store::{self, Store};
use anyhow::{Context, Result};
use files::hash::sha256;
use serde_json::{Map, Value, json};
use shards::{Board, Claim, Stage};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use terminal::Stop;

/// The stages of the work.
const DOCUMENTS: usize = 0;
const FINISH: usize = 1;

/// How the work of this process ended.
pub(super) enum Ended {
    /// A signal stopped it.
    Stopped,
    /// All documents are scored, and another process has written the results.
    Complete,
    /// All documents are scored, and this process writes the results.
    Finish(Box<(Board, Claim)>),
}

/// Scores documents with other processes until all are scored.
///
/// # Errors
/// When the folder has a run of other documents, or the model cannot be asked.
pub(super) fn score(
    folder: &Path,
    model: &mut Model,
    jobs: &[Job<'_>],
    (sharing, shards): (&shards::Options, usize),
    stop: &Stop,
) -> Result<Ended> {
    let stages = vec![Stage::new("documents", shards), Stage::new("finish", 1)];
    let board = Board::join(folder, sharing, "smoleval score", stages, settings(jobs))?;
    while let Some(claim) = board.next(DOCUMENTS, stop)? {
        score_shard(model, jobs, claim, shards, stop)?;
    }
    Ok(match board.next(FINISH, stop)? {
        Some(claim) => Ended::Finish(Box::new((board, claim))),
        None if stop.is_requested() => Ended::Stopped,
        None => {
            // The worker that wrote the results may have been killed before it did this.
            board.clear()?;
            Ended::Complete
        }
    })
}

/// What decides the scores: the keys of a task's documents contain the model, the prompts and the rows.
fn settings(jobs: &[Job<'_>]) -> Value {
    let hash = |job: &Job<'_>| {
        let keys: Vec<&str> = job.documents.iter().map(|document| document.key.as_str()).collect();
        (job.task.name.clone(), json!(sha256(keys.join("\n"))))
    };
    json!(jobs.iter().map(hash).collect::<Map<_, _>>())
}

/// Scores the documents of a shard that no earlier claim has scored.
fn score_shard(model: &mut Model, jobs: &[Job<'_>], claim: Claim, shards: usize, stop: &Stop) -> Result<()> {
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
        model.score(job, &missing, stop, |record| append(&record))?;
        if stop.is_requested() || claim.is_lost() {
            return Ok(());
        }
    }
    File::open(&path).and_then(|file| file.sync_all()).with_context(failed)?;
    claim.complete(Some(&path), json!({}))?;
    Ok(())
}

/// Writes the records of all shards to the files of their tasks.
///
/// # Errors
/// When a part is damaged, or a file cannot be written.
pub(super) fn hand_in(board: &Board, shards: usize, folder: &Path, jobs: &[Job<'_>]) -> Result<()> {
    let mut records: HashMap<String, Vec<Record>> = HashMap::new();
    for shard in 0..shards {
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
