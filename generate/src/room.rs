//! Whether the disk has room for the answers of the calls in flight. An answer that cannot be recorded is paid for nothing,
//! so no call is sent when the room is nearly used up.

use files::disk::free_bytes;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Free bytes below which no call is sent: the answers of a thousand calls, and the log that they are written to first.
const LEAST: u64 = 8 << 20;
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(250);

/// The room in a run's folder.
pub(crate) struct Room {
    folder: PathBuf,
    looked: Mutex<Option<Instant>>,
}

impl Room {
    /// The room in this folder.
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), looked: Mutex::new(None) }
    }

    /// What is missing, in words; `None` while there is enough, or where that is unknown. Most calls do not look.
    pub(crate) fn shortage(&self) -> Option<String> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|looked| looked.elapsed() < INTERVAL) {
            return None;
        }
        let free = free_bytes(&self.folder)?;
        let shortage = shortage(&self.folder, free);
        // A shortage is looked for again by every call.
        *looked = shortage.is_none().then(Instant::now);
        shortage
    }
}

fn shortage(folder: &Path, free: u64) -> Option<String> {
    (free < LEAST).then(|| {
        format!(
            "{} has {} KiB of free space, and no call is sent below {} MiB; what is recorded is safe, make room and run the \
             same command again",
            folder.display(),
            free >> 10,
            LEAST >> 20
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_nearly_full_disk_is_said_with_what_to_do() {
        let text = shortage(Path::new("out"), 300 << 10).unwrap();
        assert!(text.starts_with("out has 300 KiB of free space") && text.contains("make room"), "{text}");
        assert_eq!(shortage(Path::new("out"), LEAST), None);
        assert_eq!(Room::of(Path::new("/nowhere/at/all")).shortage(), None);
    }
}
