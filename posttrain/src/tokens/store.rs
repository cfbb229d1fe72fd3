//! A store that is read: checked whole against its list when it is opened, then read one range at a time. It is not
//! memory-mapped, so that a failing disk or a truncated file is an error, after which the run can still be saved.

use super::distributions::Distributions;
use super::file::{PIECE, damaged, read_checked, read_starts, shorter};
use super::{Counts, FILES, TRAINED, WEIGHTS};
use anyhow::{Context, Result};
use files::Error;
use files::checksum::{Algorithm, Checksummer, Content};
use files::manifest::{Depth, FILE_NAME, Manifest};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use training::{Sequence, TopTokens};

/// Sequences on disk.
#[derive(Debug)]
pub(crate) struct Store {
    /// The store's folder.
    pub(crate) folder: PathBuf,
    /// The counts of its rows.
    pub(crate) counts: Counts,
    /// Seeking and reading are one operation.
    tokens: Mutex<File>,
    /// The weights of the tokens, where not all are 0 or 1.
    weights: Option<Mutex<File>>,
    /// What is stored of the tokens, where that is learned.
    distributions: Option<Distributions>,
    /// The index of each sequence's first token, then the number of tokens.
    starts: Vec<u64>,
    /// Ids are below it.
    vocabulary: usize,
}

impl Store {
    /// Opens a store, if the folder has a finished one, for ids below `vocabulary`. All of it is read: its checksums are
    /// compared, and ids and starts are checked.
    ///
    /// # Errors
    /// When it cannot be read or is damaged; it can be made again.
    pub(crate) fn open(folder: &Path, vocabulary: usize) -> Result<Option<Self>> {
        let Some(manifest) = Manifest::read(&folder.join(FILE_NAME))? else { return Ok(None) };
        manifest.check(folder, Depth::Lengths)?;
        let counts: Counts = serde_json::from_value(Value::Object(manifest.about.clone()))
            .with_context(|| format!("{} is damaged", folder.join(FILE_NAME).display()))?;
        let starts_content = manifest.files.get(FILES[1]);
        let starts =
            read_starts(&folder.join(FILES[1]), starts_content, counts.sequences, counts.tokens as u64)?;
        let path = folder.join(FILES[0]);
        let mut tokens = File::open(&path).map_err(|reason| Error::file("read", &path, reason))?;
        let content = check_tokens(&mut tokens, &path, vocabulary)?;
        if manifest.files.get(FILES[0]) != Some(&content) {
            return Err(damaged(&path, "contains other bytes than were written").into());
        }
        let weights = match manifest.files.get(WEIGHTS) {
            Some(content) => Some(Mutex::new(read_checked(&folder.join(WEIGHTS), content)?.0)),
            None => None,
        };
        let distributions = Distributions::open(folder, &manifest, counts.sequences)?;
        let (folder, tokens) = (folder.to_owned(), Mutex::new(tokens));
        Ok(Some(Self { folder, counts, tokens, weights, distributions, starts, vocabulary }))
    }

    /// Returns its name, the hash of everything that decides it.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Returns the first dropped row and its reason.
    pub(crate) fn first_dropped(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join(FILES[2])).ok()?;
        let row: Value = serde_json::from_str(text.lines().next()?).ok()?;
        let [file, reason, detail] =
            ["file", "reason", "detail"].map(|name| row[name].as_str().unwrap_or_default());
        Some(format!("{file}, row at {}: {reason} ({detail})", row["number"]))
    }

    /// Returns the number of sequences.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns whether there are no sequences.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the index of a sequence's first token among all tokens; for `len()` the number of all tokens.
    pub(crate) fn start(&self, index: usize) -> usize {
        self.starts[index] as usize
    }

    /// Returns the number of tokens of a sequence.
    pub(crate) fn length(&self, index: usize) -> usize {
        self.start(index + 1) - self.start(index)
    }

    /// Returns a sequence.
    ///
    /// # Errors
    /// As `tokens`.
    pub(crate) fn sequence(&self, index: usize) -> Result<Sequence<'static>, Error> {
        self.tokens(self.start(index), self.start(index + 1))
    }

    /// Returns the weights of a sequence's tokens in the loss; `None` where all that are trained have 1.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub(crate) fn weights(&self, index: usize) -> Result<Option<Vec<f32>>, Error> {
        let Some(file) = &self.weights else { return Ok(None) };
        let mut bytes = vec![0; 4 * self.length(index)];
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let start = SeekFrom::Start(4 * self.start(index) as u64);
        let read = file.seek(start).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|reason| Error::file("read", &self.folder.join(WEIGHTS), shorter(reason)))?;
        Ok(Some(bytes.as_chunks::<4>().0.iter().map(|weight| f32::from_le_bytes(*weight)).collect()))
    }

    /// Returns what is stored of a sequence's tokens; `None` where that is not learned.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub(crate) fn distributions(&self, index: usize) -> Result<Option<Vec<TopTokens>>, Error> {
        let read = |all: &Distributions| all.read(index, self.length(index), self.vocabulary);
        self.distributions.as_ref().map(read).transpose()
    }

    /// Returns a range of all tokens as one sequence.
    ///
    /// # Errors
    /// Names the file that cannot be read, or that contains an id beyond the vocabulary.
    pub(crate) fn tokens(&self, from: usize, to: usize) -> Result<Sequence<'static>, Error> {
        let path = || self.folder.join(FILES[0]);
        let mut bytes = vec![0; 4 * (to - from)];
        {
            let mut file = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            let read = file.seek(SeekFrom::Start(4 * from as u64)).and_then(|_| file.read_exact(&mut bytes));
            read.map_err(|reason| Error::file("read", &path(), shorter(reason)))?;
        }
        let tokens = bytes.as_chunks::<4>().0.iter().map(|token| u32::from_le_bytes(*token));
        let (ids, trained): (Vec<u32>, Vec<bool>) =
            tokens.map(|token| (token & !TRAINED, token & TRAINED != 0)).unzip();
        match ids.iter().find(|id| **id as usize >= self.vocabulary) {
            Some(id) => Err(beyond_vocabulary(&path(), *id, self.vocabulary)),
            None => Ok(Sequence { ids: ids.into(), trained: trained.into() }),
        }
    }
}

/// Reads all tokens once: returns their length and checksum.
fn check_tokens(file: &mut File, path: &Path, vocabulary: usize) -> Result<Content, Error> {
    let mut piece = Vec::with_capacity(PIECE);
    let (mut summer, mut largest) = (Checksummer::new(Algorithm::Xxh3), 0);
    loop {
        piece.clear();
        let count = file.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let count = count.map_err(|reason| Error::file("read", path, reason))?;
        summer.update(&piece);
        let ids = piece.as_chunks::<4>().0.iter().map(|token| u32::from_le_bytes(*token) & !TRAINED);
        largest = ids.fold(largest, u32::max);
        if count < PIECE {
            break;
        }
    }
    match largest as usize >= vocabulary && largest > 0 {
        true => Err(beyond_vocabulary(path, largest, vocabulary)),
        false => Ok(summer.finish()),
    }
}

fn beyond_vocabulary(path: &Path, id: u32, vocabulary: usize) -> Error {
    damaged(path, &format!("it contains token {id}, but the vocabulary has {vocabulary}"))
}
