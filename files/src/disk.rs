//! The room that is left on a disk, and errors for lack of it.

use std::io::ErrorKind;
use std::path::Path;

/// The bytes that this user may still write to the file system of a folder; `None` where the system does not say.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> Option<u64> {
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

/// The bytes that this user may still write to the file system of a folder; `None` where the system does not say.
#[cfg(not(unix))]
pub fn free_bytes(_: &Path) -> Option<u64> {
    None
}

/// Whether an error is one that more room would have prevented: on the disk, in the user's quota, or in one file.
pub fn is_shortage(error: &crate::Error) -> bool {
    let kinds = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
    matches!(error, crate::Error::File { reason, .. } if kinds.contains(&reason.kind()))
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn room_is_known_and_its_lack_is_told_from_other_errors() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert_eq!(free_bytes(Path::new("/nowhere/at/all")), None);
        let error =
            |code| crate::Error::file("write", Path::new("a"), std::io::Error::from_raw_os_error(code));
        for code in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
            assert!(is_shortage(&error(code)));
        }
        assert!(!is_shortage(&error(libc::EACCES)));
    }
}
