//! A run of many processes. A shard of a pass is every N-th file of the input; a pass over all pages together is one shard, and
//! so is writing the dataset. A part of a file has the same bytes whoever makes it, so that workers which make one at the same
//! time need no names of their own.

use super::output::{self, FOLDER};
use super::{Pass, Settings, WORK, file_pass, finished, global, identity, note_skipped, open_work, passes};
use crate::page::Source;
use crate::stage::Ready;
use anyhow::{Result, ensure};
use files::output_folder::OutputFolder;
use serde_json::{Value, json};
use shards::{Board, Claim, Stage};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use terminal::Stop;

/// The time that the worker that comes first has to write the record of the run.
const FIRST_WORKER: Duration = Duration::from_secs(10);
/// Between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// A run that this process shares with others.
struct Shared<'a> {
    settings: &'a Settings,
    sources: &'a [Source],
    stages: &'a [Option<Ready>],
    shards: usize,
    stop: &'a Stop,
    identity: Value,
    passes: Vec<Pass>,
    work: PathBuf,
}

/// How a run begins for this process.
enum Begun {
    /// The dataset is there already, with this summary.
    Finished(String),
    Joined(Box<Board>),
}

/// Works on the shards of each pass; returns a summary, or `None` if a signal stopped this process.
pub(super) fn run(
    settings: &Settings,
    (sources, skipped): (&[Source], &[String]),
    stages: &[Option<Ready>],
    shards: usize,
    stop: &Stop,
) -> Result<Option<String>> {
    ensure!(!settings.restart, "`--restart` does not apply to a shared run; give another `--out`");
    let (identity, passes) = (identity(settings, sources), passes(&settings.recipe));
    let work = settings.out.join(WORK);
    let shared = Shared { settings, sources, stages, shards, stop, identity, passes, work };
    let board = match shared.begin()? {
        Begun::Finished(summary) => return Ok(Some(summary)),
        Begun::Joined(board) => board,
    };
    note_skipped(skipped);
    let last = shared.passes.len();
    if !board.is_done(last)? {
        open_work(&shared.work, &settings.out, &shared.identity)?;
    }
    for pass in 0..last {
        while let Some(claim) = board.next(pass, stop)? {
            shared.work_on(pass, claim)?;
        }
    }
    while let Some(claim) = board.next(last, stop)? {
        if let Some(summary) = shared.finish(claim)? {
            clear(&board, &shared.work)?;
            return Ok(Some(summary));
        }
    }
    if !board.is_done(last)? {
        return Ok(None);
    }
    clear(&board, &shared.work)?;
    Ok(Some(format!("complete: {}", settings.out.display())))
}

impl Shared<'_> {
    /// Joins the run or begins it, unless the folder has its dataset. What else is there is refused.
    fn begin(&self) -> Result<Begun> {
        let (out, start) = (&self.settings.out, Instant::now());
        // Where others work already, the folder was looked at, and one of them may be writing the dataset.
        while !shards::status::is_shared(out) {
            match OutputFolder::open(out, &FOLDER, self.settings.no_lock) {
                // Locked until the record is there: a run of one process that comes now is told of it.
                Ok(_locked) => {
                    let summary = finished(self.settings, &self.identity)?;
                    let is_new = !shards::status::is_shared(out);
                    return match summary.filter(|_| is_new) {
                        Some(summary) => Ok(Begun::Finished(summary)),
                        None => self.joined(),
                    };
                }
                Err(files::Error::InUse { .. }) if start.elapsed() < FIRST_WORKER => std::thread::sleep(LOOK),
                Err(error) => return Err(error.into()),
            }
        }
        self.joined()
    }

    fn joined(&self) -> Result<Begun> {
        let stage = |(number, pass): (usize, &Pass)| match pass {
            Pass::Pages(_) => Stage::new(format!("pass-{}", number + 1), self.shards),
            Pass::Global(_) => Stage::new(format!("pass-{}", number + 1), 1),
        };
        let mut stages: Vec<Stage> = self.passes.iter().enumerate().map(stage).collect();
        stages.push(Stage::new("finish", 1));
        let Settings { out, sharing, .. } = self.settings;
        let board = Board::join(out, sharing, FOLDER.program, stages, self.identity.clone())?;
        Ok(Begun::Joined(Box::new(board)))
    }

    /// Does a shard of a pass, unless a signal stops this process or another worker takes the shard over.
    fn work_on(&self, pass: usize, claim: Claim) -> Result<()> {
        match self.parts_of(pass, &claim) {
            Ok(true) if !claim.is_lost_now() => drop(claim.complete(None, json!({}))?),
            // Whoever finished the run has removed what this worker was writing.
            Err(error) if !claim.is_lost_now() => return Err(error),
            _ if claim.is_lost_now() => claim.note_loss(),
            _ => {}
        }
        Ok(())
    }

    /// Makes the parts of a shard; returns whether all are there.
    fn parts_of(&self, pass: usize, claim: &Claim) -> Result<bool> {
        let places = match &self.passes[pass] {
            Pass::Pages(places) => places,
            Pass::Global(place) => {
                global::run(&self.settings.recipe.stages[*place], &self.work, pass, self.sources.len())?;
                return Ok(true);
            }
        };
        let stages: Vec<&Ready> = places.iter().filter_map(|place| self.stages[*place].as_ref()).collect();
        for number in (claim.shard..self.sources.len()).step_by(self.shards) {
            if claim.is_lost_now()
                || file_pass(&self.sources[number], &self.work, (pass, number), &stages, self.stop)?.is_none()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the dataset; returns its summary, or `None` if another worker does, or a signal stopped this one.
    fn finish(&self, claim: Claim) -> Result<Option<String>> {
        let summary = claim.unless_lost(self.write(&claim))?;
        if summary.is_some() {
            claim.complete(None, json!({}))?;
        }
        Ok(summary)
    }

    fn write(&self, claim: &Claim) -> Result<Option<String>> {
        let Self { settings, identity, work, .. } = self;
        let open = || Ok(OutputFolder::open(&settings.out, &FOLDER, settings.no_lock)?);
        let Some(folder) = claim.wait_for(self.stop, open)? else { return Ok(None) };
        let (passes, parts) = (self.passes.len(), self.sources.len());
        let dataset = output::prepare(&folder, settings, identity, work, passes, parts)?;
        // This worker may have been paused, and what is there may be another's, or a later run's.
        if claim.is_lost_now() {
            return Ok(None);
        }
        dataset.install(&folder).map(Some)
    }
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
