//! A small file with the calls in flight, so that calls interrupted by a kill or a full disk can be counted and charged.
//!
//! A slot of the file holds the key of a call and its worst-case cost, from just before the call is sent until its answer
//! is recorded. The file is not synced: the kernel keeps what a killed process wrote, and a power failure costs no more
//! than the count.

use crate::budget::Cost;
use crate::store::CallKey;
use anyhow::{Context, Result};
use files::owned;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes of a slot: the key, tokens and microdollars, and the checksum of these.
const SLOT: usize = 40;
/// The content of a slot without a call.
const FREE: [u8; SLOT] = [0; SLOT];
/// The first slot; files of earlier versions have keys alone and begin with one.
const HEADER: &[u8; SLOT] = b"smoltalk, calls in flight, version 2   \n";

/// A call that was in flight when the last process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InterruptedCall {
    pub(crate) key: CallKey,
    /// Its worst-case cost; zero in files of earlier versions.
    pub(crate) worst_cost: Cost,
}

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
    /// Reads the calls that were in flight when the last process ended. Slots that are damaged are left out.
    pub(crate) fn interrupted(path: &Path) -> Result<Vec<InterruptedCall>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if let Some(slots) = bytes.strip_prefix(HEADER) {
            let (slots, _) = slots.as_chunks();
            return Ok(slots.iter().filter_map(parse).collect());
        }
        let (keys, _) = bytes.as_chunks();
        let calls = keys.iter().filter(|key| **key != [0; 16]);
        Ok(calls.map(|key| InterruptedCall { key: *key, worst_cost: Cost::default() }).collect())
    }

    /// Creates an empty file; the interrupted calls in an earlier one must have been counted.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = owned::open(path)?;
        let cleared = file.set_len(0).and_then(|()| file.write_all_at(HEADER, 0));
        cleared.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, slots: Mutex::default() })
    }

    /// Records that a call is about to be sent.
    pub(crate) fn record(&self, key: &CallKey, worst_cost: Cost) -> Result<InFlightSlot<'_>> {
        let index = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let next = slots.count;
            slots.free.pop().unwrap_or_else(|| {
                slots.count += 1;
                next
            })
        };
        self.file
            .write_all_at(&slot(key, worst_cost), place(index))
            .context("cannot record a call in flight")?;
        Ok(InFlightSlot { log: self, index })
    }
}

impl InFlightSlot<'_> {
    /// Frees the slot: the answer is recorded, or there is none.
    pub(crate) fn free(self) -> Result<()> {
        self.log.file.write_all_at(&FREE, place(self.index)).context("cannot record the end of a call")?;
        self.log.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.index);
        Ok(())
    }
}

/// The place of a slot in the file, behind the header.
fn place(index: u64) -> u64 {
    (index + 1) * SLOT as u64
}

fn slot(key: &CallKey, worst_cost: Cost) -> [u8; SLOT] {
    let mut slot = FREE;
    slot[..16].copy_from_slice(key);
    slot[16..24].copy_from_slice(&worst_cost.tokens.to_le_bytes());
    slot[24..32].copy_from_slice(&worst_cost.microdollars.to_le_bytes());
    let checksum = Sha256::digest(&slot[..32]);
    slot[32..].copy_from_slice(&checksum[..8]);
    slot
}

/// The call of a slot; `None` if it is free or damaged.
fn parse(bytes: &[u8; SLOT]) -> Option<InterruptedCall> {
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
    let key: CallKey = std::array::from_fn(|index| bytes[index]);
    let worst_cost = Cost { tokens: number(16), microdollars: number(24) };
    (*bytes != FREE && slot(&key, worst_cost) == *bytes).then_some(InterruptedCall { key, worst_cost })
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
        let cost = |tokens| Cost { tokens, microdollars: 2 * tokens };
        let first = log.record(&[1; 16], cost(1)).unwrap();
        let _second = log.record(&[2; 16], cost(2)).unwrap();
        first.free().unwrap();
        let _third = log.record(&[3; 16], cost(3)).unwrap(); // in the slot of the first one
        drop(log);
        // As often as they are read until the file is created again: their count may not have been recorded yet.
        for _ in 0..2 {
            let mut calls = InFlightLog::interrupted(&path).unwrap();
            calls.sort_unstable_by_key(|call| call.key);
            let expected = [2, 3].map(|n| InterruptedCall { key: [n; 16], worst_cost: cost(n.into()) });
            assert_eq!(calls, expected);
        }
        // A damaged slot is no call.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[SLOT + 5] ^= 1;
        std::fs::write(&path, [&bytes[..], &[9; 3 * SLOT]].concat()).unwrap();
        assert_eq!(InFlightLog::interrupted(&path).unwrap().len(), 1);
        drop(InFlightLog::create(&path).unwrap());
        assert!(InFlightLog::interrupted(&path).unwrap().is_empty());
        // A file of an earlier version.
        std::fs::write(&path, [[7; 16], [0; 16], [8; 16]].concat()).unwrap();
        assert_eq!(InFlightLog::interrupted(&path).unwrap().len(), 2);
    }
}
