//! Checksums of stored files. SHA-256 identifies what is named, published or compared between machines. XXH3 in 128 bits
//! runs at the speed of memory and finds what a disk damages; it is for files of gigabytes that are checked whenever they
//! are read. It does not protect from anybody who wants to deceive.

use crate::Error;
use crate::hash::Hasher;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are read at once.
const PIECE: usize = 1 << 18;

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256, 64 hexadecimal digits.
    Sha256,
    /// XXH3 in 128 bits, 32 hexadecimal digits.
    Xxh3,
}

impl Algorithm {
    fn prefix(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256:",
            Self::Xxh3 => "xxh3:",
        }
    }
}

/// Length and checksum of a file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Length in bytes.
    pub bytes: u64,
    /// The algorithm's name, a colon and hexadecimal digits, such as `sha256:ba78...`.
    pub checksum: String,
}

impl Content {
    /// The length and checksum of bytes.
    pub fn of_bytes(bytes: &[u8], algorithm: Algorithm) -> Self {
        let mut summer = Checksummer::new(algorithm);
        summer.update(bytes);
        summer.finish()
    }

    /// The length and checksum of a file, which is read in pieces.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn of_file(path: &Path, algorithm: Algorithm) -> Result<Self, Error> {
        let read = || {
            let (mut file, mut piece) = (File::open(path)?, vec![0; PIECE]);
            let mut summer = Checksummer::new(algorithm);
            loop {
                match file.read(&mut piece) {
                    Ok(0) => return Ok(summer.finish()),
                    Ok(count) => summer.update(&piece[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        };
        read().map_err(|reason| Error::file("read", path, reason))
    }

    /// The algorithm of the checksum; `None` for one that this program does not know.
    pub fn algorithm(&self) -> Option<Algorithm> {
        let known = [Algorithm::Sha256, Algorithm::Xxh3];
        known.into_iter().find(|algorithm| self.checksum.starts_with(algorithm.prefix()))
    }
}

/// Computes length and checksum of bytes that come in pieces.
#[derive(Clone)]
pub struct Checksummer {
    state: State,
    bytes: u64,
}

#[derive(Clone)]
enum State {
    Sha256(Hasher),
    Xxh3(Box<Xxh3>),
}

impl Checksummer {
    /// The checksum of nothing so far.
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Hasher::default()),
            Algorithm::Xxh3 => State::Xxh3(Box::default()),
        };
        Self { state, bytes: 0 }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        match &mut self.state {
            State::Sha256(hasher) => hasher.update(bytes),
            State::Xxh3(hasher) => hasher.update(bytes),
        }
    }

    /// Length and checksum of everything added.
    pub fn finish(self) -> Content {
        let checksum = match self.state {
            State::Sha256(hasher) => format!("{}{}", Algorithm::Sha256.prefix(), hasher.finish()),
            State::Xxh3(hasher) => format!("{}{:032x}", Algorithm::Xxh3.prefix(), hasher.digest128()),
        };
        Content { bytes: self.bytes, checksum }
    }
}

impl std::fmt::Debug for Checksummer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Checksummer").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones_however_the_bytes_are_split() {
        // FIPS 180-2, appendix B.1; https://github.com/Cyan4973/xxHash, XXH3_128bits of "abc" (`xxhsum -H2`).
        let sha256 = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let xxh3 = "xxh3:06b05ab6733a618578af5f94892f3950";
        for (algorithm, expected) in [(Algorithm::Sha256, sha256), (Algorithm::Xxh3, xxh3)] {
            let whole = Content::of_bytes(b"abc", algorithm);
            assert_eq!(whole, Content { bytes: 3, checksum: expected.to_owned() });
            assert_eq!(whole.algorithm(), Some(algorithm));
            let long: Vec<u8> = (0..3 * PIECE + 5).map(|index| (index * 7 % 251) as u8).collect();
            let mut summer = Checksummer::new(algorithm);
            long.chunks(1000).for_each(|piece| summer.update(piece));
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("a"), &long).unwrap();
            let of_file = Content::of_file(&folder.path().join("a"), algorithm).unwrap();
            assert_eq!((&of_file, &of_file), (&summer.finish(), &Content::of_bytes(&long, algorithm)));
        }
        assert_eq!(Content { bytes: 0, checksum: "crc:0".into() }.algorithm(), None);
    }
}
