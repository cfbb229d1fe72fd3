//! The calls that are on their way, in a small file: what a kill interrupts can be counted afterwards.
//!
//! A slot holds the key of a call from just before it is sent until its answer is recorded. The file is
//! written without syncing: the kernel keeps what a killed process wrote, and a count is all that is lost
//! with the machine's power.

use crate::store::Key;
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const SLOT: u64 = size_of::<Key>() as u64;
const FREE: Key = [0; 16];

pub(crate) struct FlightLog {
    file: File,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    free: Vec<u64>,
    count: u64,
}

/// A call on its way. Dropped without [`InFlight::landed`], it stays in the file and counts as lost.
pub(crate) struct InFlight<'a> {
    log: &'a FlightLog,
    slot: u64,
}

impl FlightLog {
    /// The keys of the calls that were on their way when the last process ended.
    pub(crate) fn left(path: &Path) -> Result<Vec<Key>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let (keys, _) = bytes.as_chunks();
        Ok(keys.iter().copied().filter(|key| *key != FREE).collect())
    }

    /// Begins the file anew: what was left in it is counted by now.
    pub(crate) fn begin_anew(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, slots: Mutex::default() })
    }

    /// Notes that a call goes out.
    pub(crate) fn begin(&self, key: &Key) -> Result<InFlight<'_>> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let newest = slots.count;
            slots.free.pop().unwrap_or_else(|| {
                slots.count += 1;
                newest
            })
        };
        self.file.write_all_at(key, slot * SLOT).context("cannot note a call in flight")?;
        Ok(InFlight { log: self, slot })
    }
}

impl InFlight<'_> {
    /// Its answer is recorded, or there is none.
    pub(crate) fn landed(self) -> Result<()> {
        self.log.file.write_all_at(&FREE, self.slot * SLOT).context("cannot note a call's end")?;
        self.log.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.slot);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_landed_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        assert!(FlightLog::left(&path).unwrap().is_empty());
        let log = FlightLog::begin_anew(&path).unwrap();
        let first = log.begin(&[1; 16]).unwrap();
        let _second = log.begin(&[2; 16]).unwrap();
        first.landed().unwrap();
        let _third = log.begin(&[3; 16]).unwrap(); // in the first one's slot
        drop(log);
        // Until it is begun anew, as often as it is asked: the count may not have been written down yet.
        for _ in 0..2 {
            let mut left = FlightLog::left(&path).unwrap();
            left.sort_unstable();
            assert_eq!(left, [[2; 16], [3; 16]]);
        }
        drop(FlightLog::begin_anew(&path).unwrap());
        assert!(FlightLog::left(&path).unwrap().is_empty());
    }
}
