//! For how long claims have not been renewed, by the clock of the process that waits. The time of a file may be set by the
//! machine that wrote it (Lustre, GPFS and CephFS do), so that it is only compared with itself: as long as it changes, the
//! claim's worker lives.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What this process has seen of claims.
#[derive(Debug, Default)]
pub(crate) struct Silences {
    /// The time of each claim's file, and when it was first seen with this time.
    seen: Mutex<HashMap<PathBuf, (SystemTime, Instant)>>,
}

impl Silences {
    /// The time since which the file of a claim is known to be unchanged: zero at the first look. `None` if it is gone.
    pub(crate) fn of(&self, claim: &Path) -> Option<Duration> {
        let renewed = claim.metadata().ok()?.modified().ok()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, since) = seen.entry(claim.to_owned()).or_insert((renewed, Instant::now()));
        if *known != renewed {
            (*known, *since) = (renewed, Instant::now());
        }
        Some(since.elapsed())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn silence_is_measured_from_the_first_look_whatever_the_time_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, silences) = (folder.path().join("claim"), Silences::default());
        assert_eq!(silences.of(&path), None);
        let file = File::create(&path).unwrap();
        let (hour, pause) = (Duration::from_secs(3600), Duration::from_millis(30));
        // Written by a machine whose clock is behind, then by one whose clock is ahead.
        for time in [SystemTime::now() - hour, SystemTime::now() + hour] {
            file.set_modified(time).unwrap();
            assert!(silences.of(&path).unwrap() < hour, "a renewal, or the first look");
            std::thread::sleep(pause);
            let silence = silences.of(&path).unwrap();
            assert!(silence >= pause && silence < hour, "{silence:?}");
        }
    }
}
