//! Tokenized sequences on disk: written once, named by the hash of everything that decides them, and read by every run. A
//! folder contains `tokens.bin` (u32 little-endian, the highest bit set where a token is trained), `starts.bin` (u64, the
//! index of each sequence's first token, then the total), `dropped.jsonl`, and the list of these with the counts; where
//! tokens have fractions as weights also `weights.bin` (f32 of every token), and the files of [`distributions`] where those are
//! learned.

use anyhow::{Context, Result};
use files::atomic::{self, NewFolder};
use files::checksum::Content;
use files::manifest::{FILE_NAME, Manifest};
use report::numbers::separated;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use training::{Sequence, TopTokens};

mod distributions;
mod file;
mod store;

pub(crate) use store::Store;

use distributions::NewDistributions;
use file::NewFile;

/// The files of a folder beside its list.
const FILES: [&str; 3] = ["tokens.bin", "starts.bin", "dropped.jsonl"];
/// The file of weights, where a token has another one than 0 or 1.
const WEIGHTS: &str = "weights.bin";
/// Age from which on an unfinished store is removed where locks do not tell whether it is in use.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Age of a store that has no file yet, and so no lock.
const NOT_STARTED: Duration = Duration::from_secs(3600);

/// The bit of a stored token that is trained.
const TRAINED: u32 = 1 << 31;

/// How many rows became sequences, and how many were cut or dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// Tokens that were cut off.
    pub(crate) lost: usize,
    /// Rows without a sequence, by reason.
    pub(crate) dropped: BTreeMap<String, usize>,
    /// Rows with something odd about them that were used, by what it is.
    pub(crate) notes: BTreeMap<String, usize>,
    /// Characters that were halves of surrogate pairs and became U+FFFD.
    pub(crate) surrogates: usize,
}

impl Counts {
    /// Adds the counts of other rows.
    pub(crate) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.sequences += other.sequences;
        self.tokens += other.tokens;
        self.trained_tokens += other.trained_tokens;
        self.cut += other.cut;
        self.lost += other.lost;
        self.surrogates += other.surrogates;
        for (note, count) in &other.notes {
            *self.notes.entry(note.clone()).or_default() += count;
        }
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
        let cut = match self.lost {
            0 => format!("{} cut", number(self.cut)),
            lost => format!("{} cut ({} tokens lost)", number(self.cut), number(lost)),
        };
        let mut notes: Vec<String> =
            self.notes.iter().map(|(note, count)| note_text(note, &number(*count))).collect();
        if self.surrogates > 0 {
            notes.push(format!("{} halves of surrogate pairs became U+FFFD", number(self.surrogates)));
        }
        let notes =
            if notes.is_empty() { String::new() } else { format!("; of the rows used {}", notes.join(", ")) };
        format!(
            "{} rows: {} sequences, {} tokens, {} trained; {cut}, {dropped}{notes}",
            number(self.rows),
            number(self.sequences),
            number(self.tokens),
            number(self.trained_tokens),
        )
    }

    /// Counts what is odd about a row that is used.
    pub(crate) fn note(&mut self, note: &str) {
        *self.notes.entry(note.to_owned()).or_default() += 1;
    }
}

/// Returns a note in words, with its number of rows.
fn note_text(note: &str, rows: &str) -> String {
    let text = match note {
        "empty_replies" => "have an empty reply, which trains the stop token alone",
        "two_user_turns" => "have two messages of the user in a row",
        "special_tokens_in_text" => {
            "spell a special token, which is read as one (`--split-special-tokens` keeps it text)"
        }
        "reasoning_not_printed" => "have reasoning that the chat template does not print",
        "last_turn_only" => {
            "train their last turn only, because the chat template removes the thoughts of earlier ones"
        }
        "tokens_without_logprobs" => {
            "have trained tokens that nothing is stored for, which are learned as they are (cross-entropy)"
        }
        "tools_as_words" => "have tools or calls in words, because the chat template prints none",
        other => other,
    };
    format!("{rows} {text}")
}

/// Writes a store beside its folder; the folder appears with `finish`.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: PathBuf,
    /// The folder until `finish` renames it.
    new: NewFolder,
    /// The writers of [`FILES`]. The first file is locked, so that other runs see that the store is being written.
    files: [NewFile; 3],
    /// The writer of [`WEIGHTS`], from the first sequence with weights on.
    weights: Option<NewFile>,
    /// The writers of what is stored of the tokens, if it is learned.
    distributions: Option<NewDistributions>,
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
        let create = |name: &str| NewFile::create(&new.path().join(name)).with_context(cannot);
        let files = [create(FILES[0])?, create(FILES[1])?, create(FILES[2])?];
        // Without locks, what a killed run leaves is removed later.
        let _ = files[0].file.get_ref().try_lock();
        let counts = Counts::default();
        let mut writer =
            Self { folder: folder.to_owned(), new, files, weights: None, distributions: None, counts };
        writer.write(1, &0u64.to_le_bytes())?;
        Ok(writer)
    }

    fn write(&mut self, file: usize, bytes: &[u8]) -> Result<()> {
        self.files[file].write(bytes).with_context(|| self.cannot())
    }

    /// Adds a sequence with the weights of its tokens, all 1 by default.
    ///
    /// # Errors
    /// When it cannot be written, for example because the disk is full.
    pub(crate) fn push(&mut self, sequence: &Sequence<'_>, weights: Option<&[f32]>) -> Result<()> {
        self.push_weights(sequence.ids.len(), weights)?;
        let stored = |(id, trained): (&u32, &bool)| if *trained { id | TRAINED } else { *id };
        let tokens = sequence.ids.iter().zip(sequence.trained.iter()).map(stored);
        let bytes: Vec<u8> = tokens.flat_map(u32::to_le_bytes).collect();
        self.write(0, &bytes)?;
        self.counts.sequences += 1;
        self.counts.tokens += sequence.ids.len();
        self.counts.trained_tokens += sequence.trained_tokens();
        self.write(1, &(self.counts.tokens as u64).to_le_bytes())
    }

    /// Adds the weights of a sequence once there are any; those of the sequences before it are 1.
    fn push_weights(&mut self, tokens: usize, weights: Option<&[f32]>) -> Result<()> {
        let cannot = self.cannot();
        if weights.is_some() && self.weights.is_none() {
            let mut file = NewFile::create(&self.new.path().join(WEIGHTS)).with_context(|| cannot.clone())?;
            (0..self.counts.tokens)
                .try_for_each(|_| file.write(&1f32.to_le_bytes()))
                .with_context(|| cannot.clone())?;
            self.weights = Some(file);
        }
        let Some(file) = &mut self.weights else { return Ok(()) };
        let weight = |token: usize| weights.map_or(1.0, |weights| weights[token]);
        let bytes: Vec<u8> = (0..tokens).flat_map(|token| weight(token).to_le_bytes()).collect();
        file.write(&bytes).with_context(|| cannot)
    }

    /// Adds the distributions of the next sequence's tokens. A store has those of all its sequences or of none.
    ///
    /// # Errors
    /// As `push`.
    pub(crate) fn push_distributions(&mut self, of_tokens: &[TopTokens]) -> Result<()> {
        let cannot = self.cannot();
        let new = match &mut self.distributions {
            Some(new) => new,
            none => none.insert(NewDistributions::create(self.new.path()).with_context(|| cannot.clone())?),
        };
        new.push(of_tokens).with_context(|| cannot)
    }

    /// Records a row without a sequence: its file, line and reason.
    ///
    /// # Errors
    /// As `push`.
    pub(crate) fn drop_row(&mut self, file: &Path, number: usize, reason: &str, detail: &str) -> Result<()> {
        *self.counts.dropped.entry(reason.to_owned()).or_default() += 1;
        let line = serde_json::json!({"file": file, "number": number, "reason": reason, "detail": detail});
        self.write(2, format!("{line}\n").as_bytes())
    }

    /// Makes the finished store appear.
    ///
    /// # Errors
    /// As `push`.
    pub(crate) fn finish(self) -> Result<()> {
        let cannot = self.cannot();
        let Self { folder, new, files, weights, distributions, counts } = self;
        let about = serde_json::to_value(&counts)?.as_object().cloned().unwrap_or_default();
        let mut manifest = Manifest { about, ..Manifest::default() };
        // The lock lasts until the store has its name.
        let _lock = files[0].file.get_ref().try_clone();
        let weights = weights.map(|weights| (WEIGHTS, weights));
        let distributions =
            distributions.into_iter().flat_map(|new| distributions::FILES.into_iter().zip(new.files));
        for (name, mut written) in FILES.into_iter().zip(files).chain(weights).chain(distributions) {
            let synced = written.file.flush().and_then(|()| written.file.get_ref().sync_all());
            synced.with_context(|| cannot.clone())?;
            let content: Content = written.content.finish();
            manifest.insert(name, content);
        }
        manifest.write(&new.path().join(FILE_NAME)).with_context(|| cannot.clone())?;
        match new.commit() {
            // Another run wrote the same store meanwhile, with the same bytes.
            Err(_) if folder.join(FILE_NAME).is_file() => Ok(()),
            committed => committed.context(cannot),
        }
    }

    fn cannot(&self) -> String {
        format!("cannot write tokens to {}", self.folder.display())
    }
}

/// Removes the unfinished stores of killed runs. What cannot be removed only takes space.
pub(crate) fn remove_abandoned(cache: &Path) {
    let is_abandoned = |folder: &Path| match File::open(folder.join(FILES[0])) {
        Err(_) => atomic::is_older(folder, NOT_STARTED),
        Ok(file) => match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(_)) => atomic::is_older(folder, ABANDONED),
        },
    };
    let _ = atomic::remove_abandoned_if(cache, is_abandoned);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use files::checksum::Algorithm;

    fn sequences() -> [Sequence<'static>; 2] {
        [
            Sequence { ids: vec![1, 2, 3].into(), trained: vec![false, true, false].into() },
            Sequence { ids: vec![99].into(), trained: vec![true].into() },
        ]
    }

    fn written(path: &Path) -> Store {
        let mut writer = Writer::create(path).unwrap();
        sequences().iter().for_each(|sequence| writer.push(sequence, None).unwrap());
        writer.drop_row(Path::new("rows.jsonl"), 7, "no_trained_token", "").unwrap();
        writer.finish().unwrap();
        Store::open(path, 100).unwrap().unwrap()
    }

    #[test]
    fn a_store_is_read_as_written_and_absent_until_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/store");
        assert!(Store::open(&path, 100).unwrap().is_none());
        let store = written(&path);
        assert_eq!((store.len(), store.length(0), store.counts.trained_tokens), (2, 3, 1));
        assert_eq!([store.sequence(0).unwrap(), store.sequence(1).unwrap()], sequences());
        assert!(store.counts.line().contains("1 no_trained_token dropped"), "{}", store.counts.line());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn weights_are_stored_from_the_first_one_on_and_damage_to_them_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let [one, two] = sequences();
        let mut writer = Writer::create(&path).unwrap();
        writer.push(&two, None).unwrap();
        writer.push(&one, Some(&[0.0, 0.25, 0.0])).unwrap();
        writer.push(&two, None).unwrap();
        writer.finish().unwrap();
        let store = Store::open(&path, 100).unwrap().unwrap();
        let weights = |index: usize| store.weights(index).unwrap().unwrap();
        assert_eq!([weights(0), weights(1), weights(2)], [vec![1.0], vec![0.0, 0.25, 0.0], vec![1.0]]);
        assert_eq!(written(&folder.path().join("plain")).weights(0).unwrap(), None);
        let file = path.join(WEIGHTS);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert!(format!("{:#}", Store::open(&path, 100).unwrap_err()).contains("damaged"));
    }

    #[test]
    fn an_unfinished_store_is_removed_once_nobody_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        let writer = Writer::create(&folder.path().join("store")).unwrap();
        remove_abandoned(folder.path());
        assert_eq!(count(), 1, "another run is writing it");
        // What a killed run leaves: its lock ends with it.
        let Writer { new, files, .. } = writer;
        std::mem::forget(new);
        drop(files);
        remove_abandoned(folder.path());
        assert_eq!(count(), 0);
    }

    /// One bit each in a hundred places, the bytes of lost writes, and files that are gone.
    #[test]
    fn no_damage_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        written(&path);
        for name in [FILES[0], FILES[1], FILE_NAME] {
            let file = path.join(name);
            let whole = std::fs::read(&file).unwrap();
            let flipped = (0..100).map(|flip| {
                let (mut bytes, bit) = (whole.clone(), flip * 7919 % (8 * whole.len()));
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            });
            let half = whole.len() / 2;
            let torn = [
                Vec::new(),
                vec![0; whole.len()],
                whole[..half].to_vec(),
                [&whole[..half], &vec![0; whole.len() - half]].concat(),
            ];
            for bytes in flipped.chain(torn) {
                std::fs::write(&file, bytes).unwrap();
                match Store::open(&path, 100) {
                    Err(error) => assert!(format!("{error:#}").contains("damaged"), "{error:#}"),
                    // A bit of white space in the list.
                    Ok(store) => assert_eq!(store.unwrap().sequence(0).unwrap(), sequences()[0], "{name}"),
                }
            }
            std::fs::write(&file, whole).unwrap();
        }
        std::fs::remove_file(path.join(FILES[1])).unwrap();
        assert!(Store::open(&path, 100).is_err());
        std::fs::remove_file(path.join(FILE_NAME)).unwrap();
        assert!(Store::open(&path, 100).unwrap().is_none());
    }

    /// Whoever writes a list that fits can still not make a run read beyond the embedding or the tokens.
    #[test]
    fn ids_and_starts_are_checked_even_where_the_checksums_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let store = written(&path);
        assert!(
            Store::open(&path, 99).unwrap_err().to_string().contains("token 99, but the vocabulary has 99")
        );
        let list = path.join(FILE_NAME);
        let mut manifest = Manifest::read(&list).unwrap().unwrap();
        for starts in [[0u64, 9, 4], [0, 3, 5], [1, 3, 4]] {
            let bytes: Vec<u8> = starts.iter().flat_map(|start| start.to_le_bytes()).collect();
            manifest.insert(FILES[1], Content::of_bytes(&bytes, Algorithm::Xxh3));
            std::fs::write(path.join(FILES[1]), bytes).unwrap();
            manifest.write(&list).unwrap();
            assert!(Store::open(&path, 100).unwrap_err().to_string().contains("starts.bin"));
        }
        // What changes under a run.
        std::fs::write(path.join(FILES[0]), 100u32.to_le_bytes()).unwrap();
        assert!(store.tokens(0, 1).unwrap_err().to_string().contains("token 100"));
        assert!(store.sequence(1).unwrap_err().to_string().contains("cannot read"));
    }
}
