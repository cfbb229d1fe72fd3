//! A small file with the keys of the calls in flight, so that calls interrupted by a kill can be counted.
//!
//! A slot of the file holds the key of a call from just before the call is sent until its answer is recorded. The
//! file is not synced: the kernel keeps what a killed process wrote, and a power failure costs no more than the
//! count.

use crate::store::CallKey;
use anyhow::{Context, Result};
use files::owned;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes of a slot.
const SLOT: u64 = size_of::<CallKey>() as u64;
/// The content of a slot without a call.
const FREE: CallKey = [0; 16];

/// The open file.
pub(crate) struct InFlightLog {
    file: File,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    free: Vec<u64>,
    count: u64,
}

/// The slot of a call in flight. Dropped without [`InFlightSlot::free`], it stays in the file and the call counts
/// as lost.
pub(crate) struct InFlightSlot<'a> {
    log: &'a InFlightLog,
    index: u64,
}

impl InFlightLog {
    /// Reads the keys of the calls that were in flight when the last process ended.
    pub(crate) fn interrupted(path: &Path) -> Result<Vec<CallKey>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let (keys, _) = bytes.as_chunks();
        Ok(keys.iter().copied().filter(|key| *key != FREE).collect())
    }

    /// Creates an empty file; the interrupted calls in an earlier one must have been counted.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = owned::open(path)?;
        file.set_len(0).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, slots: Mutex::default() })
    }

    /// Records that a call is about to be sent.
    pub(crate) fn record(&self, key: &CallKey) -> Result<InFlightSlot<'_>> {
        let index = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let next = slots.count;
            slots.free.pop().unwrap_or_else(|| {
                slots.count += 1;
                next
            })
        };
        self.file.write_all_at(key, index * SLOT).context("cannot record a call in flight")?;
        Ok(InFlightSlot { log: self, index })
    }
}

impl InFlightSlot<'_> {
    /// Frees the slot: the answer is recorded, or there is none.
    pub(crate) fn free(self) -> Result<()> {
        self.log.file.write_all_at(&FREE, self.index * SLOT).context("cannot record the end of a call")?;
        self.log.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.index);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn interrupted_calls_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        assert!(InFlightLog::interrupted(&path).unwrap().is_empty());
        let log = InFlightLog::create(&path).unwrap();
        let first = log.record(&[1; 16]).unwrap();
        let _second = log.record(&[2; 16]).unwrap();
        first.free().unwrap();
        let _third = log.record(&[3; 16]).unwrap(); // in the slot of the first one
        drop(log);
        // As often as they are read until the file is created again: their count may not have been recorded yet.
        for _ in 0..2 {
            let mut keys = InFlightLog::interrupted(&path).unwrap();
            keys.sort_unstable();
            assert_eq!(keys, [[2; 16], [3; 16]]);
        }
        drop(InFlightLog::create(&path).unwrap());
        assert!(InFlightLog::interrupted(&path).unwrap().is_empty());
    }
}
