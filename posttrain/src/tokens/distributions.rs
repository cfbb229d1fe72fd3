//! The stored distributions of a store's tokens: of each token a count and as many ids (u32) with log-probabilities (f32),
//! little-endian, in `distributions.bin`; where each sequence's begin (u64), and their end, in `distribution_starts.bin`.

use super::file::{NewFile, damaged, read_checked, read_starts, shorter};
use files::Error;
use files::manifest::Manifest;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use training::TopTokens;

/// The files.
pub(super) const FILES: [&str; 2] = ["distributions.bin", "distribution_starts.bin"];

/// The writers of [`FILES`].
#[derive(Debug)]
pub(super) struct NewDistributions {
    pub(super) files: [NewFile; 2],
    bytes: u64,
}

impl NewDistributions {
    /// Creates the files in a folder.
    pub(super) fn create(folder: &Path) -> std::io::Result<Self> {
        let mut files = [NewFile::create(&folder.join(FILES[0]))?, NewFile::create(&folder.join(FILES[1]))?];
        files[1].write(&0u64.to_le_bytes())?;
        Ok(Self { files, bytes: 0 })
    }

    /// Adds those of a sequence's tokens.
    pub(super) fn push(&mut self, of_tokens: &[TopTokens]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for top in of_tokens {
            let top = &top[..top.len().min(usize::from(u8::MAX))];
            bytes.push(top.len() as u8);
            for (id, logprob) in top {
                bytes.extend(id.to_le_bytes());
                bytes.extend(logprob.to_le_bytes());
            }
        }
        self.bytes += bytes.len() as u64;
        self.files[0].write(&bytes)?;
        self.files[1].write(&self.bytes.to_le_bytes())
    }
}

/// The distributions of a store that is read.
#[derive(Debug)]
pub(super) struct Distributions {
    path: PathBuf,
    file: Mutex<File>,
    starts: Vec<u64>,
}

impl Distributions {
    /// Opens those of a store of so many sequences, if it has any. All of them are read once and compared with their
    /// checksums.
    pub(super) fn open(folder: &Path, manifest: &Manifest, sequences: usize) -> Result<Option<Self>, Error> {
        let [path, starts_path] = FILES.map(|name| folder.join(name));
        let Some(content) = manifest.files.get(FILES[0]) else { return Ok(None) };
        let (file, length) = read_checked(&path, content)?;
        let starts = read_starts(&starts_path, manifest.files.get(FILES[1]), sequences, length)?;
        Ok(Some(Self { path, file: Mutex::new(file), starts }))
    }

    /// Returns the distributions of a sequence's `tokens` tokens over ids below `vocabulary`.
    pub(super) fn read(
        &self,
        index: usize,
        tokens: usize,
        vocabulary: usize,
    ) -> Result<Vec<TopTokens>, Error> {
        let (start, end) = (self.starts[index], self.starts[index + 1]);
        let mut bytes = vec![0; (end - start) as usize];
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes));
            read.map_err(|reason| Error::file("read", &self.path, shorter(reason)))?;
        }
        let mut rest = bytes.as_slice();
        let all: Option<Vec<TopTokens>> = (0..tokens).map(|_| one(&mut rest, vocabulary)).collect();
        all.filter(|_| rest.is_empty())
            .ok_or_else(|| damaged(&self.path, "contains something else than the tokens' distributions"))
    }
}

/// Takes the distribution of one token from the bytes.
fn one(bytes: &mut &[u8], vocabulary: usize) -> Option<TopTokens> {
    let (count, rest) = bytes.split_first()?;
    let (entries, rest) = rest.split_at_checked(8 * usize::from(*count))?;
    *bytes = rest;
    let entries = entries.as_chunks::<8>().0.iter().map(|entry| {
        let [id, logprob] = [0, 4].map(|at| [entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        (u32::from_le_bytes(id), f32::from_le_bytes(logprob))
    });
    let entries: TopTokens = entries.collect();
    entries.iter().all(|(id, logprob)| (*id as usize) < vocabulary && !logprob.is_nan()).then_some(entries)
}
