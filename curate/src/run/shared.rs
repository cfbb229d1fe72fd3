//! A run of many processes. A shard of a pass is every N-th file of the input; a pass over all pages together is one shard, and
//! so is writing the dataset. A part of a file has the same bytes whoever makes it, so that workers which make one at the same
//! time need no names of their own.

use super::{FOLDER, Pass, Settings, WORK, file_pass, global, identity, open_work, output, passes};
use crate::page::Source;
use crate::stage::Ready;
use anyhow::{Result, ensure};
use files::checksum::{Algorithm, Content};
use files::output_folder::OutputFolder;
use serde_json::{Map, Value, json};
use shards::{Board, Stage};
use std::path::Path;
use terminal::Stop;

/// Works on the shards of each pass; returns a summary, or `None` if a signal stopped this process.
pub(super) fn run(
    settings: &Settings,
    sources: &[Source],
    stages: &[Option<Ready>],
    shards: usize,
    stop: &Stop,
) -> Result<Option<String>> {
    ensure!(!settings.restart, "`--restart` does not apply to a shared run; give another `--out`");
    // Where others work already, the folder was looked at, and one of them may be writing the dataset.
    if !shards::status::is_shared(&settings.out) {
        OutputFolder::look(&settings.out, &FOLDER)?;
    }
    let (identity, passes) = (identity(settings, sources), passes(&settings.recipe));
    let board = join(settings, &identity, &passes, shards)?;
    let work = settings.out.join(WORK);
    let last = passes.len();
    if !board.is_done(last)? {
        open_work(&work, &settings.out, &identity)?;
    }
    for (pass, kind) in passes.iter().enumerate() {
        while let Some(claim) = board.next(pass, stop)? {
            let about = match kind {
                Pass::Global(place) => {
                    global::run(&settings.recipe.stages[*place], &work, pass, sources.len())?;
                    json!({})
                }
                Pass::Pages(places) => {
                    let stages: Vec<&Ready> =
                        places.iter().filter_map(|place| stages[*place].as_ref()).collect();
                    let mut files = Map::new();
                    for number in (claim.shard..sources.len()).step_by(shards) {
                        let source = &sources[number];
                        if file_pass(source, &work, (pass, number), &stages, stop)?.is_none() {
                            return Ok(None);
                        }
                        if pass == 0 {
                            files.insert(source.name.clone(), content(source)?);
                        }
                    }
                    Value::Object(files)
                }
            };
            claim.complete(None, about)?;
        }
        if stop.is_requested() {
            return Ok(None);
        }
    }
    let Some(claim) = board.next(last, stop)? else {
        if stop.is_requested() {
            return Ok(None);
        }
        clear(&board, &work)?;
        return Ok(Some(format!("complete: {}", settings.out.display())));
    };
    let folder = OutputFolder::open(&settings.out, &FOLDER, settings.no_lock)?;
    let summary = output::write(&folder, settings, &identity, &work, passes.len(), sources.len())?;
    claim.complete(None, json!({}))?;
    clear(&board, &work)?;
    Ok(Some(summary))
}

/// Removes what is not needed once the dataset is written. The worker that wrote it may have been killed before it did, so all
/// do it, some at the same time.
fn clear(board: &Board, work: &Path) -> Result<()> {
    while let Err(reason) = std::fs::remove_dir_all(work) {
        if reason.kind() == std::io::ErrorKind::NotFound && !work.exists() {
            break;
        }
        ensure!(reason.kind() == std::io::ErrorKind::NotFound, "cannot remove {}: {reason}", work.display());
    }
    board.clear()
}

fn join(settings: &Settings, identity: &Value, passes: &[Pass], shards: usize) -> Result<Board> {
    let stage = |(number, pass): (usize, &Pass)| match pass {
        Pass::Pages(_) => Stage::new(format!("pass-{}", number + 1), shards),
        Pass::Global(_) => Stage::new(format!("pass-{}", number + 1), 1),
    };
    let mut stages: Vec<Stage> = passes.iter().enumerate().map(stage).collect();
    stages.push(Stage::new("finish", 1));
    Board::join(&settings.out, &settings.sharing, FOLDER.program, stages, identity.clone())
}

/// Length and hash of a file as it was read: the run's record has lengths alone, because hashing all of the input would take
/// longer than many a pass.
fn content(source: &Source) -> Result<Value> {
    Ok(serde_json::to_value(Content::of_file(&source.path, Algorithm::Xxh3)?)?)
}
