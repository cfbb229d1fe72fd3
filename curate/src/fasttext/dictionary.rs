//! The words and labels of a model, and the rows of the input matrix that a text selects: its words, their pieces, and
//! runs of words (`Dictionary` in fastText's dictionary.cc).

use super::{Settings, bytes, integer};
use std::collections::HashMap;
use std::io::{self, Read, Write};

/// The word at the end of a line.
const END: &str = "</s>";
/// Bytes of a word at most.
const LONGEST_WORD: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Dictionary {
    settings: Settings,
    word_count: i32,
    /// Words by id, with their counts.
    entries: Vec<(Vec<u8>, i64)>,
    /// The id of each word.
    words: HashMap<Vec<u8>, i32>,
    pub(super) labels: Vec<Label>,
    /// Buckets that were kept when the model was cut to size; `None` where all are there.
    kept: Option<HashMap<i32, i32>>,
}

#[derive(Debug)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) count: i64,
}

impl Dictionary {
    pub(super) fn read(reader: &mut impl Read, settings: Settings) -> io::Result<Self> {
        let [entries, words, labels] = [integer(reader)?, integer(reader)?, integer(reader)?];
        bytes::<8>(reader)?;
        let kept = i64::from_le_bytes(bytes(reader)?);
        if entries < 0
            || words < 0
            || labels < 1
            || i64::from(words) + i64::from(labels) != i64::from(entries)
            || settings.buckets < 0
        {
            return Err(io::Error::other(format!(
                "it declares {entries} entries, {words} words and {labels} labels"
            )));
        }
        let mut dictionary = Self {
            settings,
            word_count: words,
            entries: Vec::new(),
            words: HashMap::new(),
            labels: Vec::new(),
            kept: None,
        };
        for id in 0..entries {
            let word = read_word(reader)?;
            let occurrences = i64::from_le_bytes(bytes(reader)?);
            match bytes::<1>(reader)?[0] {
                0 => {
                    dictionary.words.insert(word.clone(), id);
                    dictionary.entries.push((word, occurrences));
                }
                _ => {
                    let name = String::from_utf8_lossy(&word).into_owned();
                    dictionary.labels.push(Label { name, count: occurrences });
                }
            }
        }
        if kept >= 0 {
            let mut rows = HashMap::new();
            for _ in 0..kept {
                rows.insert(integer(reader)?, integer(reader)?);
            }
            dictionary.kept = Some(rows);
        }
        Ok(dictionary)
    }

    /// A dictionary of words and labels, the most frequent first.
    pub(super) fn new(settings: Settings, entries: Vec<(Vec<u8>, i64)>, labels: Vec<Label>) -> Self {
        let words = entries.iter().enumerate().map(|(id, (word, _))| (word.clone(), id as i32)).collect();
        Self { settings, word_count: entries.len() as i32, entries, words, labels, kept: None }
    }

    /// The number of words.
    pub(super) fn word_count(&self) -> usize {
        self.word_count as usize
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings
    }

    /// Writes what [`Dictionary::read`] reads; a model that was cut to size cannot be written.
    pub(super) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let (words, labels) = (self.entries.len() as i32, self.labels.len() as i32);
        for number in [words + labels, words, labels] {
            writer.write_all(&number.to_le_bytes())?;
        }
        let tokens: i64 = self
            .entries
            .iter()
            .map(|(_, count)| count)
            .chain(self.labels.iter().map(|label| &label.count))
            .sum();
        writer.write_all(&tokens.to_le_bytes())?;
        writer.write_all(&(-1_i64).to_le_bytes())?;
        let labels = self.labels.iter().map(|label| (label.name.as_bytes(), label.count, 1));
        for (word, count, kind) in
            self.entries.iter().map(|(word, count)| (&word[..], *count, 0)).chain(labels)
        {
            writer.write_all(word)?;
            writer.write_all(&[0])?;
            writer.write_all(&count.to_le_bytes())?;
            writer.write_all(&[kind])?;
        }
        Ok(())
    }

    /// The words of a text, with the end of its line.
    pub(super) fn split(text: &str) -> impl Iterator<Item = &[u8]> {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0);
        text.as_bytes().split(is_space).filter(|word| !word.is_empty()).chain([END.as_bytes()])
    }

    /// The rows that a text selects, with the end of its line.
    pub(super) fn rows(&self, text: &str, rows: &mut Vec<i32>) {
        let mut hashes = Vec::new();
        for word in Self::split(text) {
            let id = self.words.get(word);
            if id.is_none() && word.starts_with(b"__label__") {
                continue;
            }
            rows.extend(id);
            if word != END.as_bytes() && self.settings.longest > 0 {
                self.add_pieces(word, rows);
            }
            hashes.push(hash(word) as i32);
            if word == END.as_bytes() {
                break;
            }
        }
        self.add_runs(&hashes, rows);
    }

    /// The pieces of a word between marks of its ends.
    fn add_pieces(&self, word: &[u8], rows: &mut Vec<i32>) {
        let marked = [b"<", word, b">"].concat();
        let is_inside = |at: usize| marked.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        for start in (0..marked.len()).filter(|start| !is_inside(*start)) {
            let mut end = start;
            for length in 1..=self.settings.longest {
                if end >= marked.len() {
                    break;
                }
                end += 1;
                while is_inside(end) {
                    end += 1;
                }
                let is_mark = length == 1 && (start == 0 || end == marked.len());
                if length >= self.settings.shortest && !is_mark && self.settings.buckets > 0 {
                    self.add_bucket(i64::from(hash(&marked[start..end])) % self.settings.buckets, rows);
                }
            }
        }
    }

    /// Runs of up to `word_ngrams` words.
    fn add_runs(&self, hashes: &[i32], rows: &mut Vec<i32>) {
        if self.settings.buckets == 0 {
            return;
        }
        for (at, first) in hashes.iter().enumerate() {
            let mut hash = i64::from(*first) as u64;
            for next in hashes.iter().skip(at + 1).take((self.settings.word_ngrams - 1).max(0) as usize) {
                hash = hash.wrapping_mul(116_049_371).wrapping_add(i64::from(*next) as u64);
                self.add_bucket((hash % self.settings.buckets as u64) as i64, rows);
            }
        }
    }

    fn add_bucket(&self, bucket: i64, rows: &mut Vec<i32>) {
        let bucket = bucket as i32;
        let row = match &self.kept {
            None => Some(bucket),
            Some(kept) => kept.get(&bucket).copied(),
        };
        rows.extend(row.map(|row| self.word_count.saturating_add(row)));
    }
}

fn read_word(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut word = Vec::new();
    loop {
        match bytes::<1>(reader)?[0] {
            0 => return Ok(word),
            byte if word.len() < LONGEST_WORD => word.push(byte),
            _ => return Err(io::Error::other(format!("it has a word of more than {LONGEST_WORD} bytes"))),
        }
    }
}

/// FNV-1a of 32 bits over signed bytes, as the original computes it.
fn hash(word: &[u8]) -> u32 {
    word.iter().fold(2_166_136_261, |hash: u32, byte| (hash ^ (*byte as i8) as u32).wrapping_mul(16_777_619))
}
