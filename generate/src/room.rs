//! Whether the disk has room for the answers of the calls in flight. An answer that cannot be recorded is paid for nothing,
//! so no call is sent when the room is nearly used up.

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

/// The bytes that this user may still write to the file system of a folder.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut space = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and `space` has the size of what is written to it; all-zero bytes are a
    // valid `statvfs`, should the call fail.
    let (result, space) = unsafe { (libc::statvfs(path.as_ptr(), space.as_mut_ptr()), space.assume_init()) };
    // Other systems have narrower types here.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "a conversion elsewhere")]
    (result == 0).then(|| (space.f_bavail as u64).saturating_mul(space.f_frsize as u64))
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
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert_eq!(free_bytes(Path::new("/nowhere/at/all")), None);
        assert_eq!(Room::of(Path::new("/nowhere/at/all")).shortage(), None);
    }
}
