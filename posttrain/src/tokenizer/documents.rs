//! The texts that a tokenizer is trained on, counted while they are read.

use anyhow::{Result, anyhow, bail};
use datasets::{Row, Rows};
use std::collections::VecDeque;
use std::path::PathBuf;
use terminal::Progress;

/// Documents whose bytes per token are reported.
pub(super) const SAMPLE_DOCUMENTS: usize = 1000;
/// The trainer counts pairs in an i32 and does not report an overflow.
const MAX_PAIR_COUNT: u64 = i32::MAX as u64;

/// The texts of all rows, as an iterator. It ends early when something fails, and keeps the error.
pub(super) struct Documents<'a> {
    pub(super) paths: &'a [PathBuf],
    /// Rows that are not read to their end yet.
    rows: VecDeque<Rows>,
    /// Texts of the current row that are still to be returned.
    pending: VecDeque<String>,
    pub(super) count: usize,
    max_count: usize,
    pub(super) bytes: u64,
    /// How often two bytes are adjacent (256 x 256). A pair of tokens cannot be more frequent than the two bytes where
    /// they meet.
    byte_pairs: Vec<u64>,
    /// The texts of the first documents.
    pub(super) sample: Vec<String>,
    pub(super) error: Option<anyhow::Error>,
    pub(super) progress: Progress,
}

impl<'a> Documents<'a> {
    /// Opens all paths before any of them is read.
    pub(super) fn open(paths: &'a [PathBuf], max_count: Option<usize>) -> Result<Self> {
        let rows: Result<VecDeque<Rows>, _> = paths.iter().map(|path| datasets::read(path)).collect();
        Ok(Self {
            paths,
            // The text of the error has its cause already; as the cause of a context it would be printed twice.
            rows: rows.map_err(|error| anyhow!("--data: {error}"))?,
            pending: VecDeque::new(),
            count: 0,
            max_count: max_count.unwrap_or(usize::MAX),
            bytes: 0,
            byte_pairs: vec![0; 1 << 16],
            sample: Vec::new(),
            error: None,
            progress: Progress::new("counting words", "documents", None),
        })
    }

    /// Returns the texts of the next row that has any; none at the end of the data.
    fn next_document(&mut self) -> Result<Option<VecDeque<String>>> {
        while let Some(rows) = self.rows.front_mut() {
            if self.count == self.max_count {
                return Ok(None);
            }
            let Some(located) = rows.next() else {
                for (file, reason) in rows.skipped() {
                    self.progress.line(&format!("warning: {} is skipped: {reason}", file.display()));
                }
                self.rows.pop_front();
                continue;
            };
            let located = located.map_err(|error| anyhow!("--data: {error}"))?;
            let texts = texts_of(located.row);
            if !texts.is_empty() {
                return Ok(Some(texts));
            }
        }
        Ok(None)
    }

    fn count_document(&mut self, texts: &VecDeque<String>) -> Result<()> {
        self.count += 1;
        let mut most_frequent = 0;
        for text in texts {
            self.bytes += text.len() as u64;
            for pair in text.as_bytes().windows(2) {
                let frequency = &mut self.byte_pairs[usize::from(pair[0]) << 8 | usize::from(pair[1])];
                *frequency += 1;
                most_frequent = most_frequent.max(*frequency);
            }
        }
        if self.count <= SAMPLE_DOCUMENTS {
            self.sample.extend(texts.iter().cloned());
        }
        let (count, bytes) = (self.count, self.bytes);
        self.progress.set_with(count as u64, || format!("{:.1} MB", bytes as f64 / 1e6));
        if most_frequent > MAX_PAIR_COUNT {
            bail!(
                "with document {count} of `--data` two bytes are adjacent {most_frequent} times, but the trainer cannot count beyond {MAX_PAIR_COUNT}; give `--max-documents {}`",
                count - 1
            );
        }
        Ok(())
    }
}

impl Iterator for Documents<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.pending.is_empty() && self.error.is_none() {
            let texts = self.next_document().and_then(|texts| match texts {
                Some(texts) => self.count_document(&texts).map(|()| texts),
                None => Ok(VecDeque::new()),
            });
            match texts {
                Ok(texts) => self.pending = texts,
                Err(error) => self.error = Some(error),
            }
        }
        self.pending.pop_front()
    }
}

/// Returns the texts of a row: a document's text, or every message's content.
fn texts_of(row: Row) -> VecDeque<String> {
    let contents = |messages: Vec<datasets::Message>| messages.into_iter().map(|message| message.content);
    let texts: VecDeque<String> = match row {
        Row::Text(row) => VecDeque::from([row.text]),
        Row::Chat(row) => contents(row.messages).collect(),
        Row::Preference(row) => {
            contents(row.prompt).chain(contents(row.chosen)).chain(contents(row.rejected)).collect()
        }
    };
    texts.into_iter().filter(|text| !text.is_empty()).collect()
}

/// Returns an amount of text in words.
pub(super) fn amount(documents: usize, bytes: u64) -> String {
    format!("{documents} documents, {bytes} bytes ({:.1} MB)", bytes as f64 / 1e6)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use datasets::{ChatRow, Message, PreferenceRow};

    #[test]
    fn a_row_gives_every_content_that_is_not_empty() {
        let message = |content: &str| Message::new("user", content);
        let chat = ChatRow { messages: ["a", "", "b"].map(message).into(), metadata: Default::default() };
        assert_eq!(texts_of(Row::Chat(chat)), ["a", "b"]);
        let preference = PreferenceRow {
            prompt: vec![message("p")],
            chosen: vec![message("c")],
            rejected: vec![message("r")],
            metadata: Default::default(),
        };
        assert_eq!(texts_of(Row::Preference(preference)), ["p", "c", "r"]);
    }

    #[test]
    fn a_pair_the_trainer_cannot_count_ends_the_reading() {
        let mut documents = Documents::open(&[], None).unwrap();
        documents.byte_pairs[usize::from(b'a') << 8 | usize::from(b'b')] = MAX_PAIR_COUNT;
        documents.count_document(&VecDeque::from(["a b".to_owned()])).unwrap();
        let error = documents.count_document(&VecDeque::from(["ab".to_owned()])).unwrap_err().to_string();
        assert!(error.contains("2147483648 times") && error.ends_with("`--max-documents 1`"), "{error}");
    }
}
