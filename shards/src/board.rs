//! The folder of a shared run, `.shards` in its output folder: the record, claims, parts and markers.

use crate::claim::{CLAIMS, Claim, ClaimFile, DONE, Marker, PARTS, claim_file};
use crate::listing::{latest_claims, names};
use crate::owner::Owner;
use crate::record::{Record, Stage};
use crate::silence::Silences;
use crate::{Options, Place};
use anyhow::{Context, Result, ensure};
use files::hash::sha256_of_file;
use files::{atomic, owned};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use terminal::Stop;

/// The folder of a shared run in its output folder; hidden from readers of datasets.
pub const FOLDER: &str = ".shards";
/// The record's file in it.
pub(crate) const RECORD: &str = "run.json";
/// The longest pause between two looks at shards that others work on.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Temporary files of a run that is done are removed when they are at least so old: another worker may be about to end.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A shared run that this process takes part in.
#[derive(Debug)]
pub struct Board {
    folder: PathBuf,
    record: Record,
    owner: Owner,
    place: Place,
    lease: Duration,
    silences: Silences,
    /// How many shards of each stage, in this worker's order, were looked at one by one.
    looked_at: Vec<AtomicUsize>,
}

impl Board {
    /// Joins the run in the folder `out`, or begins it, and says which worker this is. `settings` is an object of everything
    /// that decides the result.
    ///
    /// # Errors
    /// When there is a run with other settings, or the folder cannot be used.
    pub fn join(
        out: &Path,
        options: &Options,
        program: &str,
        stages: Vec<Stage>,
        settings: Value,
    ) -> Result<Self> {
        let (place, lease, folder) = (options.place()?, options.lease()?, out.join(FOLDER));
        for name in [CLAIMS, PARTS, DONE] {
            // What is behind a link is not ours to fill and to remove.
            owned::refuse_linked_folders(out, &Path::new(FOLDER).join(name))?;
            atomic::create_folder(&folder.join(name))?;
        }
        let record = Record::new(program, stages, settings, &place).agree(&folder.join(RECORD))?;
        let looked_at = record.stages.iter().map(|_| AtomicUsize::new(0)).collect();
        let (owner, silences) = (Owner::this(), Silences::default());
        let board = Self { folder, record, owner, place, lease, silences, looked_at };
        let done = names(&board.folder.join(DONE))?.len();
        let shards: usize = board.record.stages.iter().map(|stage| stage.shards).sum();
        terminal::message!("note: {}: {done} of {shards} shards in {} are done", board.place, out.display());
        Ok(board)
    }

    /// Claims the next shard of a stage: this worker's own ones first, then those that nobody works on, then those whose
    /// worker ended or shows no sign of life. Waits while others work on all that is left. `None` once all are done, or a
    /// signal asks to stop.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn next(&self, stage: usize, stop: &Stop) -> Result<Option<Claim>> {
        if let Some(claim) = self.next_unclaimed(stage, stop)? {
            return Ok(Some(claim));
        }
        let stage = &self.record.stages[stage];
        let mut pause = Duration::from_millis(20);
        let mut has_waited = false;
        while !stop.is_requested() {
            let done = names(&self.folder.join(DONE))?;
            let open: Vec<usize> =
                self.in_order(stage).filter(|shard| !done.contains(&stage.unit(*shard))).collect();
            if open.is_empty() {
                return Ok(None);
            }
            if let Some(claim) = self.claim(stage, &open)? {
                return Ok(Some(claim));
            }
            if !has_waited && pause == LONGEST_PAUSE {
                has_waited = true;
                terminal::message!(
                    "note: other workers have the last {} shards; waiting for them",
                    open.len()
                );
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE).min(self.lease / 2);
        }
        Ok(None)
    }

    /// The next shard that nobody has claimed, each looked at once: with many thousand shards, a look at all of them for each
    /// claim would take longer than the claim.
    fn next_unclaimed(&self, stage: usize, stop: &Stop) -> Result<Option<Claim>> {
        let (looked_at, stage) = (&self.looked_at[stage], &self.record.stages[stage]);
        let left = self.in_order(stage).skip(looked_at.load(Ordering::Relaxed));
        for shard in left.take_while(|_| !stop.is_requested()) {
            looked_at.fetch_add(1, Ordering::Relaxed);
            let unit = stage.unit(shard);
            let is_taken =
                claim_file(&self.folder, &unit, 0).exists() || self.folder.join(DONE).join(unit).exists();
            if !is_taken && let Some(claim) = self.take(stage, shard, 0)? {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    }

    /// The shards of a stage in the order in which this worker looks at them.
    fn in_order(&self, stage: &Stage) -> impl Iterator<Item = usize> {
        let (shards, index, count) = (stage.shards, self.place.index, self.place.count);
        let own = (index..shards).step_by(count);
        // Helpers begin behind their own place, so that not all of them try the same ones.
        let others = (1..=shards).map(move |step| (index + step) % shards);
        own.chain(others.filter(move |shard| shard % count != index))
    }

    fn claim(&self, stage: &Stage, open: &[usize]) -> Result<Option<Claim>> {
        let latest = latest_claims(&self.folder.join(CLAIMS))?;
        let epoch_of = |shard: &usize| latest.get(&stage.unit(*shard)).copied();
        for shard in open.iter().filter(|shard| epoch_of(shard).is_none()) {
            if let Some(claim) = self.take(stage, *shard, 0)? {
                return Ok(Some(claim));
            }
        }
        // All are looked at before one is taken: a silence is measured from the first look on.
        let is_free = |(shard, epoch): &(usize, u32)| self.is_free(&stage.unit(*shard), *epoch);
        let claimed = open.iter().filter_map(|shard| Some((*shard, epoch_of(shard)?)));
        for (shard, epoch) in claimed.filter(is_free).collect::<Vec<_>>() {
            if let Some(claim) = self.take(stage, shard, epoch + 1)? {
                return Ok(Some(claim));
            }
        }
        Ok(None)
    }

    fn take(&self, stage: &Stage, shard: usize, epoch: u32) -> Result<Option<Claim>> {
        let record = self.folder.join(RECORD);
        // `--restart` may have set the folder aside while this worker was at work.
        ensure!(
            Record::read(&record)? == self.record,
            "{} is the record of another run by now; start this worker again",
            record.display()
        );
        let content = ClaimFile { owner: self.owner.clone(), worker: self.place.index, released: false };
        let unit = stage.unit(shard);
        let claim = Claim::create(&self.folder, (unit.clone(), shard, epoch), content, self.lease)?;
        // It may have been done since the markers were listed.
        Ok(claim.filter(|_| !self.folder.join(DONE).join(unit).exists()))
    }

    /// Whether the worker of a claim gave it up, ended, or shows no sign of life.
    fn is_free(&self, unit: &str, epoch: u32) -> bool {
        let path = claim_file(&self.folder, unit, epoch);
        // It is opened before its time is read: NFS keeps times of files, and asks for them again when a file is opened.
        let claim = ClaimFile::read(&path);
        let is_silent = self.silences.of(&path).is_some_and(|silence| silence > self.lease);
        is_silent || claim.is_some_and(|claim| claim.released || claim.owner.has_ended(&self.owner))
    }

    /// The number of shards of a stage.
    pub fn shards(&self, stage: usize) -> usize {
        self.record.stages[stage].shards
    }

    /// Whether all shards of a stage are done.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn is_done(&self, stage: usize) -> Result<bool> {
        let (done, stage) = (names(&self.folder.join(DONE))?, &self.record.stages[stage]);
        Ok((0..stage.shards).all(|shard| done.contains(&stage.unit(shard))))
    }

    /// The marker of a shard, and the part that counts, whose content is compared with its hash.
    ///
    /// # Errors
    /// When the shard is not done, or its part is damaged.
    pub fn result(&self, stage: usize, shard: usize) -> Result<(Marker, Option<PathBuf>)> {
        let path = self.folder.join(DONE).join(self.record.stages[stage].unit(shard));
        let name = || format!("{} cannot be read as a marker", path.display());
        let marker: Marker =
            serde_json::from_slice(&std::fs::read(&path).with_context(name)?).with_context(name)?;
        let part = marker.part.as_ref().map(|part| self.folder.join(PARTS).join(part));
        if let Some(part) = &part {
            ensure!(
                Some(sha256_of_file(part)?) == marker.sha256,
                "{} is damaged; remove it and {}, and the same command makes them again",
                part.display(),
                path.display()
            );
        }
        Ok((marker, part))
    }

    /// Removes the claims and parts of the run, and nothing else, once the last stage is done. The markers stay: a worker that
    /// wakes up later sees that there is nothing left to do.
    ///
    /// # Errors
    /// Names what cannot be removed.
    pub fn clear(&self) -> Result<()> {
        for folder in [CLAIMS, PARTS] {
            let folder = self.folder.join(folder);
            let names = names(&folder)?;
            let own = names.iter().filter(|name| self.record.has_named(name));
            own.map(|name| folder.join(name)).try_for_each(|path| atomic::remove(&path))?;
            atomic::remove_abandoned(&folder, ABANDONED.max(self.lease))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
