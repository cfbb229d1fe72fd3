//! Tokenized sequences on disk: made once, kept under the hash of all that decided them, memory-mapped by every
//! run. A folder holds `tokens.bin` (u32 little-endian, the highest bit says that a token is trained),
//! `starts.bin` (u64, where each sequence begins, then the total), `dropped.jsonl`, and `manifest.json`.

use anyhow::{Context, Result};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::model::Sequence;

/// Set in a stored token that the model is to learn to write.
const TRAINED: u32 = 1 << 31;

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows read.
    pub rows: usize,
    /// Sequences kept; two for a pair.
    pub sequences: usize,
    /// Tokens of those.
    pub tokens: usize,
    /// Tokens that add to the loss.
    pub trained_tokens: usize,
    /// Sequences that lost their end to `max_length`.
    pub cut: usize,
    /// Rows that gave no sequence, by reason.
    pub dropped: BTreeMap<String, usize>,
}

impl Counts {
    /// Adds the rows of other files.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.sequences += other.sequences;
        self.tokens += other.tokens;
        self.trained_tokens += other.trained_tokens;
        self.cut += other.cut;
        for (reason, count) in &other.dropped {
            *self.dropped.entry(reason.clone()).or_default() += count;
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let dropped: Vec<String> = self.dropped.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let dropped =
            if dropped.is_empty() { "none dropped".into() } else { dropped.join(", ") + " dropped" };
        format!(
            "{} rows: {} sequences, {} tokens, {} trained; {} cut, {dropped}",
            self.rows, self.sequences, self.tokens, self.trained_tokens, self.cut
        )
    }
}

/// Sequences on their way to disk; absent until `finish`.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    beside: tempfile::TempDir,
    tokens: BufWriter<File>,
    starts: BufWriter<File>,
    dropped: BufWriter<File>,
    /// What was written so far.
    pub counts: Counts,
}

impl Writer {
    /// Begins a store that will be `folder`.
    ///
    /// # Errors
    /// Names the folder when it cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        let parent = folder.parent().unwrap_or(Path::new("."));
        let cannot = || format!("cannot write tokens below {}", parent.display());
        std::fs::create_dir_all(parent).with_context(cannot)?;
        let beside = tempfile::Builder::new().prefix(".tokens-").tempdir_in(parent).with_context(cannot)?;
        let file =
            |name: &str| File::create(beside.path().join(name)).map(BufWriter::new).with_context(cannot);
        let (tokens, mut starts) = (file("tokens.bin")?, file("starts.bin")?);
        let dropped = file("dropped.jsonl")?;
        starts.write_all(&0u64.to_le_bytes()).with_context(cannot)?;
        Ok(Self { folder: folder.to_owned(), beside, tokens, starts, dropped, counts: Counts::default() })
    }

    /// Adds a sequence.
    ///
    /// # Errors
    /// When the disk is full, say.
    pub fn push(&mut self, sequence: &Sequence<'_>) -> Result<()> {
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

    /// Records a row that gave nothing: its file, line and why.
    ///
    /// # Errors
    /// As `push`.
    pub fn drop_row(&mut self, file: &Path, number: usize, reason: &str, detail: &str) -> Result<()> {
        *self.counts.dropped.entry(reason.to_owned()).or_default() += 1;
        let line = serde_json::json!({"file": file, "number": number, "reason": reason, "detail": detail})
            .to_string();
        writeln!(self.dropped, "{line}").with_context(|| self.cannot())
    }

    /// Makes the store appear, whole.
    ///
    /// # Errors
    /// As `push`.
    pub fn finish(mut self) -> Result<Store> {
        let cannot = self.cannot();
        for file in [&mut self.tokens, &mut self.starts, &mut self.dropped] {
            file.flush().and_then(|()| file.get_ref().sync_all()).with_context(|| cannot.clone())?;
        }
        let manifest = serde_json::to_vec_pretty(&self.counts)?;
        std::fs::write(self.beside.path().join("manifest.json"), manifest).with_context(|| cannot.clone())?;
        match std::fs::rename(self.beside.path(), &self.folder) {
            Ok(()) => drop(self.beside.keep()),
            // Another run made the same store meanwhile: it holds the same bytes.
            Err(_) if self.folder.join("manifest.json").is_file() => {}
            Err(error) => return Err(error).context(cannot),
        }
        Store::open(&self.folder)?.context("the store was just written")
    }

    fn cannot(&self) -> String {
        format!("cannot write tokens to {}", self.folder.display())
    }
}

/// Sequences on disk, mapped.
#[derive(Debug)]
pub struct Store {
    /// Where it lies.
    pub folder: PathBuf,
    /// What it holds and what was left out.
    pub counts: Counts,
    tokens: Bytes,
    starts: Bytes,
}

/// A mapped file; an empty one cannot be mapped.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Empty,
}

impl Bytes {
    fn open(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot map {}", path.display());
        let file = File::open(path).with_context(cannot)?;
        if file.metadata().with_context(cannot)?.len() == 0 {
            return Ok(Self::Empty);
        }
        // SAFETY: stores are never changed once they have their name.
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
    /// Opens a store; none if there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("manifest.json");
        if !path.is_file() {
            return Ok(None);
        }
        let broken = || format!("{} is broken; delete the folder and run again", folder.display());
        let counts: Counts = serde_json::from_slice(&std::fs::read(&path)?).with_context(broken)?;
        let tokens = Bytes::open(&folder.join("tokens.bin"))?;
        let starts = Bytes::open(&folder.join("starts.bin"))?;
        anyhow::ensure!(
            tokens.get().len() == 4 * counts.tokens && starts.get().len() == 8 * (counts.sequences + 1),
            broken()
        );
        Ok(Some(Self { folder: folder.to_owned(), counts, tokens, starts }))
    }

    /// The hash of all that decided it.
    pub fn name(&self) -> String {
        self.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The first row that was dropped, and why.
    pub fn first_dropped(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.folder.join("dropped.jsonl")).ok()?;
        let row: serde_json::Value = serde_json::from_str(text.lines().next()?).ok()?;
        let [file, reason, detail] =
            ["file", "reason", "detail"].map(|name| row[name].as_str().unwrap_or_default());
        Some(format!("{file}, row at {}: {reason} ({detail})", row["number"]))
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.counts.sequences
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where sequence `index` begins in the row of all tokens; `len()` gives the total.
    pub fn start(&self, index: usize) -> usize {
        let (starts, _) = self.starts.get().as_chunks::<8>();
        u64::from_le_bytes(starts[index]) as usize
    }

    /// Tokens of a sequence.
    pub fn length(&self, index: usize) -> usize {
        self.start(index + 1) - self.start(index)
    }

    /// One sequence.
    pub fn sequence(&self, index: usize) -> Sequence<'static> {
        self.tokens(self.start(index), self.start(index + 1))
    }

    /// Any stretch of the row of all tokens.
    pub fn tokens(&self, from: usize, to: usize) -> Sequence<'static> {
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
    fn what_was_written_is_read_and_nothing_shows_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a/store");
        let sequences = [
            Sequence { ids: vec![1, 2, 3].into(), trained: vec![false, true, false].into() },
            Sequence { ids: vec![(1 << 31) - 1].into(), trained: vec![true].into() },
        ];
        let mut writer = Writer::create(&place).unwrap();
        sequences.iter().for_each(|sequence| writer.push(sequence).unwrap());
        writer.drop_row(Path::new("rows.jsonl"), 7, "no_trained_token", "").unwrap();
        assert!(Store::open(&place).unwrap().is_none());
        let store = writer.finish().unwrap();
        assert_eq!((store.len(), store.length(0), store.counts.trained_tokens), (2, 3, 1));
        assert_eq!([store.sequence(0), store.sequence(1)], sequences);
        assert!(store.counts.line().contains("1 no_trained_token dropped"), "{}", store.counts.line());
        assert_eq!(std::fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_store_cut_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("store");
        let mut writer = Writer::create(&place).unwrap();
        writer.push(&Sequence { ids: vec![1, 2].into(), trained: vec![true, true].into() }).unwrap();
        writer.finish().unwrap();
        std::fs::write(place.join("tokens.bin"), [0; 4]).unwrap();
        assert!(Store::open(&place).unwrap_err().to_string().contains("delete the folder"));
    }
}
