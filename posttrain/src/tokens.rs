//! Tokenized sequences on disk: written once, named by the hash of everything that decides them, memory-mapped by every
//! run. A folder contains `tokens.bin` (u32 little-endian, the highest bit set where a token is trained), `starts.bin`
//! (u64, the index of each sequence's first token, then the total), `dropped.jsonl`, and `manifest.json`.

use anyhow::{Context, Result};
use files::atomic::NewFolder;
use memmap2::Mmap;
use report::numbers::separated;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use training::Sequence;

/// The bit of a stored token that is trained.
const TRAINED: u32 = 1 << 31;

/// How many rows became sequences, and how many were cut or dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Rows read.
    pub(crate) rows: usize,
    /// Sequences kept; two for a pair.
    pub(crate) sequences: usize,
    /// Tokens of the sequences.
    pub(crate) tokens: usize,
    /// Tokens that add to the loss.
    pub(crate) trained_tokens: usize,
    /// Sequences that were cut at `max_length`.
    pub(crate) cut: usize,
    /// Rows without a sequence, by reason.
    pub(crate) dropped: BTreeMap<String, usize>,
}

impl Counts {
    /// Adds the counts of other rows.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.sequences += other.sequences;
        self.tokens += other.tokens;
        self.trained_tokens += other.trained_tokens;
        self.cut += other.cut;
        for (reason, count) in &other.dropped {
            *self.dropped.entry(reason.clone()).or_default() += count;
        }
    }

    /// Returns the counts in one line.
    pub(crate) fn line(&self) -> String {
        let number = |count: usize| separated(count as u64);
        let reasons = self.dropped.iter().map(|(reason, count)| format!("{} {reason}", number(*count)));
        let dropped: Vec<String> = reasons.collect();
        let dropped =
            if dropped.is_empty() { "none dropped".into() } else { dropped.join(", ") + " dropped" };
        format!(
            "{} rows: {} sequences, {} tokens, {} trained; {} cut, {dropped}",
            number(self.rows),
            number(self.sequences),
            number(self.tokens),
            number(self.trained_tokens),
            number(self.cut)
        )
    }
}

/// Writes a store beside its folder; the folder appears with `finish`.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: PathBuf,
    /// The folder until `finish` renames it.
    new: NewFolder,
    tokens: BufWriter<File>,
    starts: BufWriter<File>,
    dropped: BufWriter<File>,
    /// The counts of what was written so far.
    pub(crate) counts: Counts,
}

impl Writer {
    /// Starts a store that will be `folder`.
    ///
    /// # Errors
    /// Names the folder when it cannot be written.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        let cannot = || format!("cannot write tokens to {}", folder.display());
        let new = NewFolder::create(folder).with_context(cannot)?;
        let file = |name: &str| File::create(new.path().join(name)).map(BufWriter::new).with_context(cannot);
        let (tokens, mut starts) = (file("tokens.bin")?, file("starts.bin")?);
        let dropped = file("dropped.jsonl")?;
        starts.write_all(&0u64.to_le_bytes()).with_context(cannot)?;
        Ok(Self { folder: folder.to_owned(), new, tokens, starts, dropped, counts: Counts::default() })
    }

    /// Adds a sequence.
    ///
    /// # Errors
    /// When it cannot be written, for example because the disk is full.
    pub(crate) fn push(&mut self, sequence: &Sequence<'_>) -> Result<()> {
        for (id, trained) in sequence.ids.iter().zip(sequence.trained.iter()) {
            let token = if *trained { id | TRAINED } else { *id };
            self.tokens.write_all(&token.to_le_bytes()).with_context(|| self.cannot())?;
        }
        self.counts.sequences += 1;
        self.counts.tokens += sequence.ids.len();
        self.counts.trained_tokens += sequence.trained_tokens();
        let end = (self.counts.tokens as u64).to_le_bytes();
        self.starts.write_all(&end).with_context(|| self.cannot())
    }

    /// Records a row without a sequence: its file, line and reason.
    ///
    /// # Errors
    /// As `push`.
    pub(crate) fn drop_row(&mut self, file: &Path, number: usize, reason: &str, detail: &str) -> Result<()> {
        *self.counts.dropped.entry(reason.to_owned()).or_default() += 1;
        let line = serde_json::json!({"file": file, "number": number, "reason": reason, "detail": detail})
            .to_string();
        writeln!(self.dropped, "{line}").with_context(|| self.cannot())
    }

    /// Makes the finished store appear.
    ///
    /// # Errors
    /// As `push`.
    pub(crate) fn finish(mut self) -> Result<Store> {
        let cannot = self.cannot();
        for file in [&mut self.tokens, &mut self.starts, &mut self.dropped] {
            file.flush().with_context(|| cannot.clone())?;
        }
        let manifest = serde_json::to_vec_pretty(&self.counts)?;
        std::fs::write(self.new.path().join("manifest.json"), manifest).with_context(|| cannot.clone())?;
        match self.new.commit() {
            Ok(()) => {}
            // Another run wrote the same store meanwhile, with the same bytes.
            Err(_) if self.folder.join("manifest.json").is_file() => {}
            Err(error) => return Err(error).context(cannot),
        }
        Store::open(&self.folder)?.context("the store was just written")
    }

    fn cannot(&self) -> String {
        format!("cannot write tokens to {}", self.folder.display())
    }
}

/// Sequences on disk, memory-mapped.
#[derive(Debug)]
pub(crate) struct Store {
    /// The store's folder.
    pub(crate) folder: PathBuf,
    /// The counts of its rows.
    pub(crate) counts: Counts,
    tokens: Bytes,
    starts: Bytes,
}

/// A memory-mapped file; an empty one cannot be mapped.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Empty,
}

impl Bytes {
    fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(cannot)?;
        if file.metadata().with_context(cannot)?.len() == 0 {
            return Ok(Self::Empty);
        }
        // SAFETY: a store never changes once it has its name.
        Ok(Self::Mapped(unsafe { Mmap::map(&file) }.with_context(cannot)?))
    }

    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Empty => &[],
        }
    }
}

impl Store {
    /// Opens a store, if the folder has one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("manifest.json");
        if !path.is_file() {
            return Ok(None);
        }
        let damaged = || format!("{} is damaged; delete the folder and run again", folder.display());
        let counts: Counts = serde_json::from_slice(&std::fs::read(&path)?).with_context(damaged)?;
        let tokens = Bytes::open(&folder.join("tokens.bin"))?;
        let starts = Bytes::open(&folder.join("starts.bin"))?;
        anyhow::ensure!(
            tokens.get().len() == 4 * counts.tokens && starts.get().len() == 8 * (counts.sequences + 1),
            damaged()
        );
        Ok(Some(Self { folder: folder.to_owned(), counts, tokens, starts }))
    }

    /// Returns its name, the hash of everything that decides it.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Returns the first dropped row and its reason.
    pub(crate) fn first_dropped(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join("dropped.jsonl")).ok()?;
        let row: serde_json::Value = serde_json::from_str(text.lines().next()?).ok()?;
        let [file, reason, detail] =
            ["file", "reason", "detail"].map(|name| row[name].as_str().unwrap_or_default());
        Some(format!("{file}, row at {}: {reason} ({detail})", row["number"]))
    }

    /// Returns the number of sequences.
    pub(crate) fn len(&self) -> usize {
        self.counts.sequences
    }

    /// Returns whether there are no sequences.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the index of a sequence's first token among all tokens; for `len()` the number of all tokens.
    pub(crate) fn start(&self, index: usize) -> usize {
        let (starts, _) = self.starts.get().as_chunks::<8>();
        u64::from_le_bytes(starts[index]) as usize
    }

    /// Returns the number of tokens of a sequence.
    pub(crate) fn length(&self, index: usize) -> usize {
        self.start(index + 1) - self.start(index)
    }

    /// Returns a sequence.
    pub(crate) fn sequence(&self, index: usize) -> Sequence<'static> {
        self.tokens(self.start(index), self.start(index + 1))
    }

    /// Returns a range of all tokens as one sequence.
    pub(crate) fn tokens(&self, from: usize, to: usize) -> Sequence<'static> {
        let (tokens, _) = self.tokens.get().as_chunks::<4>();
        let tokens = tokens[from..to].iter().map(|token| u32::from_le_bytes(*token));
        let (ids, trained): (Vec<u32>, Vec<bool>) =
            tokens.map(|token| (token & !TRAINED, token & TRAINED != 0)).unzip();
        Sequence { ids: ids.into(), trained: trained.into() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_read_as_written_and_absent_until_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/store");
        let sequences = [
            Sequence { ids: vec![1, 2, 3].into(), trained: vec![false, true, false].into() },
            Sequence { ids: vec![(1 << 31) - 1].into(), trained: vec![true].into() },
        ];
        let mut writer = Writer::create(&path).unwrap();
        sequences.iter().for_each(|sequence| writer.push(sequence).unwrap());
        writer.drop_row(Path::new("rows.jsonl"), 7, "no_trained_token", "").unwrap();
        assert!(Store::open(&path).unwrap().is_none());
        let store = writer.finish().unwrap();
        assert_eq!((store.len(), store.length(0), store.counts.trained_tokens), (2, 3, 1));
        assert_eq!([store.sequence(0), store.sequence(1)], sequences);
        assert!(store.counts.line().contains("1 no_trained_token dropped"), "{}", store.counts.line());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_truncated_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let mut writer = Writer::create(&path).unwrap();
        writer.push(&Sequence { ids: vec![1, 2].into(), trained: vec![true, true].into() }).unwrap();
        writer.finish().unwrap();
        std::fs::write(path.join("tokens.bin"), [0; 4]).unwrap();
        assert!(Store::open(&path).unwrap_err().to_string().contains("delete the folder"));
    }
}
