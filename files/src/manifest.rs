//! The list of what a folder consists of: each file's length and checksum. It is written last, so that a folder without
//! one is unfinished, and it carries a checksum of its own text, so that a damaged list is not taken for damaged files.

use crate::Error;
use crate::atomic;
use crate::checksum::{Algorithm, Content};
use crate::hash::sha256;
use crate::small_file;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The name of a folder's list. A list is written last.
pub const FILE_NAME: &str = "checksums.json";

/// What a folder consists of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What else the folder's owner wants to know of it, such as counts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub about: Map<String, Value>,
    /// Its files by their path relative to the folder, with slashes.
    pub files: BTreeMap<String, Content>,
}

/// The stored form: the list and the SHA-256 of its compact JSON.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    manifest: Manifest,
    sha256: String,
}

/// How thoroughly a folder is compared with its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Presence and lengths: no file is read.
    Lengths,
    /// Checksums: every file is read.
    Checksums,
}

/// How a file differs from the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The file's name in the list.
    pub file: String,
    /// What is wrong with it.
    pub kind: DifferenceKind,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It does not exist.
    Missing,
    /// It is longer or shorter.
    Length {
        /// The length in the list, in bytes.
        expected: u64,
        /// The file's length in bytes.
        actual: u64,
    },
    /// It has the same length and other bytes.
    Checksum,
    /// It cannot be read, or its checksum is of an unknown kind.
    Unreadable(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.kind {
            DifferenceKind::Missing => write!(formatter, "{file} is missing"),
            DifferenceKind::Length { expected, actual } => {
                write!(formatter, "{file} has {actual} bytes instead of {expected}")
            }
            DifferenceKind::Checksum => write!(formatter, "{file} contains other bytes than were written"),
            DifferenceKind::Unreadable(reason) => write!(formatter, "{reason}"),
        }
    }
}

impl Manifest {
    /// The list of these files of a folder, which are read.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn of(folder: &Path, names: &[&str], algorithm: Algorithm) -> Result<Self, Error> {
        let entry = |name: &&str| Ok(((*name).to_owned(), Content::of_file(&folder.join(name), algorithm)?));
        Ok(Self { about: Map::new(), files: names.iter().map(entry).collect::<Result<_, Error>>()? })
    }

    /// Adds a file.
    pub fn insert(&mut self, name: &str, content: Content) {
        self.files.insert(name.to_owned(), content);
    }

    /// Writes the list durably. Every file in it must be durable already.
    ///
    /// # Errors
    /// Names the file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let stored = Stored { manifest: self.clone(), sha256: self.sha256() };
        let text = serde_json::to_string_pretty(&stored).expect("maps with text keys are JSON");
        atomic::write(path, text + "\n")
    }

    /// Reads a list; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is not JSON of this form, or differs from its own checksum; [`Error::File`] when it
    /// cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let bytes = match small_file::read(path) {
            Ok(bytes) => bytes,
            Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(Error::file("read", path, reason)),
        };
        Self::parse(&bytes).map(Some).map_err(|reason| Error::Damaged { path: path.to_owned(), reason })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match stored.manifest.sha256() == stored.sha256 {
            true => Ok(stored.manifest),
            false => Err("its text differs from its own checksum".to_owned()),
        }
    }

    /// How the files of a folder differ from the list. Files that are not listed are ignored.
    pub fn differences(&self, folder: &Path, depth: Depth) -> Vec<Difference> {
        let check = |(name, content): (&String, &Content)| {
            let kind = difference(&folder.join(name), content, depth)?;
            Some(Difference { file: name.clone(), kind })
        };
        self.files.iter().filter_map(check).collect()
    }

    /// Compares a folder with the list.
    ///
    /// # Errors
    /// [`Error::Damaged`] with every difference.
    pub fn check(&self, folder: &Path, depth: Depth) -> Result<(), Error> {
        let differences: Vec<String> =
            self.differences(folder, depth).iter().map(Difference::to_string).collect();
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Error::Damaged { path: folder.to_owned(), reason: differences.join("; ") }),
        }
    }

    fn sha256(&self) -> String {
        sha256(serde_json::to_string(self).expect("maps with text keys are JSON"))
    }
}

fn difference(path: &Path, expected: &Content, depth: Depth) -> Option<DifferenceKind> {
    let actual = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => {
            return Some(DifferenceKind::Missing);
        }
        Err(reason) => return Some(unreadable(&Error::file("read", path, reason))),
    };
    if actual != expected.bytes {
        return Some(DifferenceKind::Length { expected: expected.bytes, actual });
    }
    if depth == Depth::Lengths {
        return None;
    }
    let Some(algorithm) = expected.algorithm() else {
        let reason = format!("{}: unknown checksum `{}`", path.display(), expected.checksum);
        return Some(DifferenceKind::Unreadable(reason));
    };
    match Content::of_file(path, algorithm) {
        Ok(content) if content == *expected => None,
        Ok(_) => Some(DifferenceKind::Checksum),
        Err(error) => Some(unreadable(&error)),
    }
}

fn unreadable(error: &Error) -> DifferenceKind {
    DifferenceKind::Unreadable(error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["same", "gone", "short", "other"] {
            std::fs::write(path(name), "0123456789").unwrap();
        }
        let names = ["same", "gone", "short", "other"];
        let mut manifest = Manifest::of(folder.path(), &names, Algorithm::Xxh3).unwrap();
        manifest.about.insert("rows".into(), 7.into());
        manifest.write(&path("manifest.json")).unwrap();
        assert_eq!(Manifest::read(&path("manifest.json")).unwrap(), Some(manifest.clone()));
        assert!(manifest.check(folder.path(), Depth::Checksums).is_ok());
        std::fs::remove_file(path("gone")).unwrap();
        std::fs::write(path("short"), "01234").unwrap();
        std::fs::write(path("other"), "0123456798").unwrap();
        let text = |depth| manifest.check(folder.path(), depth).unwrap_err().to_string();
        let cheap = text(Depth::Lengths);
        assert!(cheap.contains("gone is missing; short has 5 bytes instead of 10"), "{cheap}");
        assert!(!cheap.contains("other"), "{cheap}");
        assert!(text(Depth::Checksums).contains("other contains other bytes than were written; short"));
    }

    #[test]
    fn no_bit_of_a_list_flips_silently() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "content").unwrap();
        let manifest = Manifest::of(folder.path(), &["a"], Algorithm::Sha256).unwrap();
        let path = folder.path().join("manifest.json");
        assert_eq!(Manifest::read(&path).unwrap(), None);
        manifest.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // White space between the fields may change into other white space.
            let read = Manifest::parse(&damaged);
            assert!(read.is_err() || read == Ok(manifest.clone()), "bit {bit}");
        }
        std::fs::write(&path, "").unwrap();
        assert!(Manifest::read(&path).unwrap_err().to_string().contains("manifest.json is damaged"));
    }
}
