//! SHA-256 (FIPS 180-4) as lower-case hexadecimal, of bytes, of files and of anything written to a [`Hasher`].

use crate::Error;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// SHA-256 of bytes, 64 hexadecimal digits.
pub fn sha256(bytes: impl AsRef<[u8]>) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// SHA-256 of bytes.
pub fn sha256_bytes(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of a file, 64 hexadecimal digits. The file is read in pieces.
///
/// # Errors
/// Names the file that cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String, Error> {
    let mut hasher = Hasher::default();
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hasher));
    copied.map_err(|reason| Error::file("read", path, reason))?;
    Ok(hasher.finish())
}

/// SHA-256 of bytes that come in pieces; also a writer.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// The hash of all bytes added, 64 hexadecimal digits.
    pub fn finish(self) -> String {
        format!("{:x}", self.0.finalize())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn hashes_are_the_published_ones() {
        assert_eq!(sha256("abc"), OF_ABC);
        let mut hasher = Hasher::default();
        hasher.update("a");
        hasher.write_all(b"bc").unwrap();
        assert_eq!(hasher.finish(), OF_ABC);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(sha256_of_file(&path).unwrap(), OF_ABC);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = sha256_of_file(Path::new("/nowhere/a.bin")).unwrap_err();
        assert!(error.to_string().starts_with("cannot read /nowhere/a.bin: "), "{error}");
    }
}
