//! A claim: this worker's right to work on a shard until its lease is over, and the marker that ends the work. A claim saves
//! work, and the marker decides: a worker that was paused for longer than its lease finds that its shard is another's, or
//! that its marker exists, and what it made does not count.

use crate::create::create;
use crate::owner::Owner;
use anyhow::Result;
use files::hash::sha256_of_file;
use files::{atomic, owned};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use terminal::Stop;

/// The folders of a run.
pub(crate) const CLAIMS: &str = "claims";
pub(crate) const PARTS: &str = "parts";
pub(crate) const DONE: &str = "done";
/// A claim is renewed so many times in a lease: a few renewals may fail.
const RENEWALS: u32 = 4;
/// The longest pause between two attempts to use the folder of results.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// The content of a claim's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClaimFile {
    pub(crate) owner: Owner,
    pub(crate) worker: usize,
    /// Whether its owner gave it up.
    pub(crate) released: bool,
}

impl ClaimFile {
    /// The content of a claim; `None` for one that is damaged or gone.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// The content of a marker: the shard is done, and this is its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// The number of the claim under which it was done.
    pub epoch: u32,
    /// The file that counts, below the folder of parts, if there is one.
    pub part: Option<String>,
    /// Its SHA-256.
    pub sha256: Option<String>,
    /// What the command records.
    pub about: Value,
    owner: Owner,
}

/// The files that say whose a shard is.
#[derive(Debug, Clone)]
struct Files {
    claim: PathBuf,
    /// The claim of whoever takes the shard over.
    next: PathBuf,
    marker: PathBuf,
    /// The content of the claim.
    bytes: Vec<u8>,
}

impl Files {
    fn are_anothers(&self) -> bool {
        // The folder may have been set aside, and have another run since.
        let is_replaced = || match std::fs::read(&self.claim) {
            Ok(found) => found != self.bytes,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        self.next.exists() || self.marker.exists() || is_replaced()
    }

    /// Writes the same bytes again, so that the file's time changes.
    fn renew(&self) -> Result<()> {
        let mut file = owned::open_existing(&self.claim)?;
        file.write_all(&self.bytes)?;
        Ok(file.sync_all()?)
    }
}

/// A shard that this process works on. Dropped before it is completed, it is given up, and others may claim the shard.
#[derive(Debug)]
pub struct Claim {
    folder: PathBuf,
    unit: String,
    /// The number of the shard in its stage.
    pub shard: usize,
    /// How often the shard was claimed before.
    pub epoch: u32,
    content: ClaimFile,
    files: Files,
    lease: Duration,
    is_lost: Arc<AtomicBool>,
    is_settled: bool,
    /// Dropped, it ends the thread.
    renewals: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Claim {
    /// Creates the claim with this number; `None` if another process has it.
    pub(crate) fn create(
        folder: &Path,
        (unit, shard, epoch): (String, usize, u32),
        content: ClaimFile,
        lease: Duration,
    ) -> Result<Option<Self>> {
        let files = Files {
            claim: claim_file(folder, &unit, epoch),
            next: claim_file(folder, &unit, epoch + 1),
            marker: folder.join(DONE).join(&unit),
            bytes: content.bytes()?,
        };
        if !create(&files.claim, &files.bytes)? {
            return Ok(None);
        }
        let is_lost = Arc::new(AtomicBool::new(false));
        let (renewals, ended) = mpsc::channel();
        let (watched, lost) = (files.clone(), Arc::clone(&is_lost));
        let keep = move || {
            while ended.recv_timeout(lease / RENEWALS) == Err(RecvTimeoutError::Timeout) {
                if watched.are_anothers() {
                    lost.store(true, Ordering::SeqCst);
                    return;
                }
                // A failure is not the end: there are more renewals in a lease, and the marker decides.
                let _ = watched.renew();
            }
        };
        let thread = std::thread::Builder::new().name("claim".to_owned()).spawn(keep)?;
        Ok(Some(Self {
            folder: folder.to_owned(),
            unit,
            shard,
            epoch,
            content,
            files,
            lease,
            is_lost,
            is_settled: false,
            renewals: Some(renewals),
            thread: Some(thread),
        }))
    }

    /// Whether another worker has taken the shard over or finished it, because this one was paused for longer than its lease.
    /// Work and calls that cost should end. It is looked at with each renewal; asking costs nothing.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst)
    }

    /// The same, looked at now: before what cannot be undone, and when something failed, because whoever finishes a run removes
    /// the files of those that lost.
    pub fn is_lost_now(&self) -> bool {
        if !self.is_lost() && self.files.are_anothers() {
            self.is_lost.store(true, Ordering::SeqCst);
        }
        self.is_lost()
    }

    /// What came of the work: nothing in place of an error once the claim is lost, because whoever finishes a run removes the
    /// files of those that lost.
    ///
    /// # Errors
    /// The result's, while the claim is not lost.
    pub fn unless_lost<T>(&self, result: Result<Option<T>>) -> Result<Option<T>> {
        match result {
            Err(_) if self.is_lost_now() => Ok(None),
            result => result,
        }
    }

    /// Says that the claim is lost, and why.
    pub fn note_loss(&self) {
        terminal::message!(
            "note: another worker has shard {} by now, because this one was silent for longer than `--lease`",
            self.shard
        );
    }

    /// Opens the folder of results, and waits while it is in use: a worker that was paused while it wrote the result may hold its
    /// lock. The claim is kept meanwhile, so that the others wait for this worker alone. `None` once the claim is lost, or a
    /// signal asks to stop.
    ///
    /// # Errors
    /// Those of `open`, other than that the folder is in use.
    pub fn wait_for<T>(&self, stop: &Stop, open: impl Fn() -> Result<T>) -> Result<Option<T>> {
        let mut has_waited = false;
        while !stop.is_requested() && !self.is_lost_now() {
            let error = match open() {
                Err(error) if is_in_use(&error) => error,
                opened => return opened.map(Some),
            };
            if !has_waited {
                has_waited = true;
                terminal::message!("note: {error:#}; this worker waits for it");
            }
            let pause = Instant::now();
            while pause.elapsed() < LONGEST_PAUSE.min(self.lease / RENEWALS) && !stop.is_requested() {
                std::thread::sleep(LOOK.min(self.lease / RENEWALS));
            }
        }
        Ok(None)
    }

    /// A file of this claim alone, in the folder of parts.
    pub fn part(&self, ending: &str) -> PathBuf {
        self.of_epoch(self.epoch, ending)
    }

    /// The same file of each claim before this one, in their order; they may not exist.
    pub fn earlier_parts(&self, ending: &str) -> impl Iterator<Item = PathBuf> {
        (0..self.epoch).map(move |epoch| self.of_epoch(epoch, ending))
    }

    fn of_epoch(&self, epoch: u32, ending: &str) -> PathBuf {
        self.folder.join(PARTS).join(format!("{}.{epoch}.{ending}", self.unit))
    }

    /// Marks the shard as done, with the part that counts; returns whether it was this claim that did it. If another worker
    /// has, the part is removed.
    ///
    /// # Errors
    /// When the part cannot be read, or the marker cannot be written.
    pub fn complete(mut self, part: Option<&Path>, about: Value) -> Result<bool> {
        // The claim is renewed while a large part is read.
        let sha256 = part.map(sha256_of_file).transpose();
        self.end_renewals();
        if sha256.is_err() && self.is_lost_now() {
            // Another worker has finished, and removed what does not count.
            return Ok(false);
        }
        let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        let marker = Marker {
            epoch: self.epoch,
            part: part.and_then(name),
            sha256: sha256?,
            about,
            owner: self.content.owner.clone(),
        };
        let is_first = create(&self.files.marker, &serde_json::to_vec(&marker)?)?;
        self.is_settled = true;
        if let (false, Some(part)) = (is_first, part) {
            atomic::remove(part)?;
        }
        Ok(is_first)
    }

    fn end_renewals(&mut self) {
        drop(self.renewals.take());
        if let Some(thread) = self.thread.take() {
            // It holds nothing that a panic could spoil.
            let _ = thread.join();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.end_renewals();
        let given_up = ClaimFile { released: true, ..self.content.clone() };
        if !self.is_settled
            && !self.is_lost_now()
            && let Ok(bytes) = given_up.bytes()
        {
            // Where it cannot be written, others wait for the lease.
            let _ = atomic::write(&self.files.claim, bytes);
        }
    }
}

/// The file of a claim.
pub(crate) fn claim_file(folder: &Path, unit: &str, epoch: u32) -> PathBuf {
    folder.join(CLAIMS).join(format!("{unit}.{epoch}"))
}

/// Whether another process has locked the folder.
fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(files::Error::InUse { .. }))
}

#[cfg(test)]
mod tests;
