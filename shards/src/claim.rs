//! A claim: this worker's right to work on a shard until its lease is over, and the marker that ends the work. A claim saves
//! work, and the marker decides: a worker that was paused for longer than its lease finds that its shard is another's, or
//! that its marker exists, and what it made does not count.

use crate::create::create;
use crate::owner::Owner;
use anyhow::{Context, Result};
use files::atomic;
use files::hash::sha256_of_file;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// The folders of a run.
pub(crate) const CLAIMS: &str = "claims";
pub(crate) const PARTS: &str = "parts";
pub(crate) const DONE: &str = "done";
/// A claim is renewed so many times in a lease: a few renewals may fail.
const RENEWALS: u32 = 4;

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
        let path = claim_file(folder, &unit, epoch);
        if !create(&path, &content.bytes()?)? {
            return Ok(None);
        }
        let is_lost = Arc::new(AtomicBool::new(false));
        let (renewals, ended) = mpsc::channel();
        let (next, bytes, lost) =
            (claim_file(folder, &unit, epoch + 1), content.bytes()?, Arc::clone(&is_lost));
        let keep = move || {
            while ended.recv_timeout(lease / RENEWALS) == Err(RecvTimeoutError::Timeout) {
                if next.exists() {
                    lost.store(true, Ordering::SeqCst);
                    return;
                }
                // A failure is not the end: there are more renewals in a lease, and the marker decides.
                let _ = renew(&path, &bytes);
            }
        };
        let thread = std::thread::Builder::new().name("claim".to_owned()).spawn(keep)?;
        Ok(Some(Self {
            folder: folder.to_owned(),
            unit,
            shard,
            epoch,
            content,
            is_lost,
            is_settled: false,
            renewals: Some(renewals),
            thread: Some(thread),
        }))
    }

    /// Whether another worker has taken the shard over, because this one was paused for longer than its lease. Work and calls
    /// that cost should end.
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst)
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
        self.end_renewals();
        let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        let marker = Marker {
            epoch: self.epoch,
            part: part.and_then(name),
            sha256: part.map(sha256_of_file).transpose()?,
            about,
            owner: self.content.owner.clone(),
        };
        let path = self.folder.join(DONE).join(&self.unit);
        let is_first = create(&path, &serde_json::to_vec(&marker)?)?;
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
        if let (false, Ok(bytes)) = (self.is_settled, given_up.bytes()) {
            // Where it cannot be written, others wait for the lease.
            let _ = atomic::write(&claim_file(&self.folder, &self.unit, self.epoch), bytes);
        }
    }
}

/// The file of a claim.
pub(crate) fn claim_file(folder: &Path, unit: &str, epoch: u32) -> PathBuf {
    folder.join(CLAIMS).join(format!("{unit}.{epoch}"))
}

/// Writes the same bytes again: the file's time becomes the file system's present, whatever this machine's clock says.
fn renew(path: &Path, bytes: &[u8]) -> Result<()> {
    let renew = || {
        let mut file = File::options().write(true).open(path)?;
        file.rewind()?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    renew().with_context(|| format!("cannot write {}", path.display()))
}
