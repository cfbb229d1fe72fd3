//! Files that describe others: cards, manifests, states. Folders come from strangers, and a name in them may be a pipe, which never
//! ends, or a device.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes that such a file has.
const MAX_BYTES: u64 = 64 << 20;

/// Reads a regular file of at most 64 MiB.
///
/// # Errors
/// The system's; [`io::ErrorKind::InvalidInput`] for anything but a regular file, [`io::ErrorKind::FileTooLarge`] for a larger
/// one.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe waits for its writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 64 MiB")),
        false => Ok(bytes),
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::read;
    use std::io::ErrorKind;

    #[test]
    fn what_is_no_regular_file_or_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("README.md");
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(read(folder.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
        let status = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(status.success());
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::InvalidInput);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "# Card").unwrap();
        assert_eq!(read(&path).unwrap(), b"# Card");
        std::fs::File::options().write(true).open(&path).unwrap().set_len(65 << 20).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }
}
