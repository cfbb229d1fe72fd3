//! The lines of text files, which may be compressed, and their paragraphs.

use super::compression;
use crate::Error;
use serde_json::{Map, Value};
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

/// An object of a file, or why it is none.
pub(crate) type Object = Result<NumberedObject, Error>;

/// An object with its location.
#[derive(Debug)]
pub(crate) struct NumberedObject {
    /// Its line (its row in Parquet and Arrow), from 1.
    pub(crate) number: usize,
    pub(crate) object: Map<String, Value>,
    /// Halves of surrogate pairs that became U+FFFD.
    pub(crate) surrogates: usize,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes of the longest row: a compressed file may hold any number of bytes without a line break.
const LONGEST_ROW: usize = 256 << 20;

/// The numbered lines of a text file, which may be compressed.
pub(super) struct Lines {
    pub(super) path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    pub(super) number: usize,
    /// Whether nothing more can be read.
    is_over: bool,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), reader: compression::open(path)?, number: 0, is_over: false })
    }

    pub(super) fn next(&mut self) -> Option<Result<String, Error>> {
        if self.is_over {
            return None;
        }
        let mut bytes = Vec::new();
        self.number += 1;
        let read = self.reader.by_ref().take(LONGEST_ROW as u64 + 1).read_until(b'\n', &mut bytes);
        if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        match read {
            Ok(0) => None,
            Ok(_) if bytes.len() > LONGEST_ROW => {
                self.is_over = true;
                let limit = LONGEST_ROW >> 20;
                Some(Err(self.error(format!("has more than {limit} MiB; the rest of the file is not read"))))
            }
            Ok(_) => Some(String::from_utf8(bytes).map_err(|error| {
                self.error(format!("not UTF-8 at byte {} of the line", error.utf8_error().valid_up_to()))
            })),
            Err(error) => {
                self.is_over = true;
                Some(Err(self.error(format!("cannot be read: {error}; the rest of the file is lost"))))
            }
        }
    }

    /// The first byte that is no white space, without consuming it. Looks at the first block only.
    ///
    /// # Errors
    /// When the block cannot be read.
    pub(super) fn first_character(&mut self) -> Result<Option<u8>, Error> {
        let block = self.reader.fill_buf().map_err(|error| Error::file("read", &self.path, error))?;
        let block = block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block);
        Ok(block.iter().copied().find(|byte| !byte.is_ascii_whitespace()))
    }

    /// All lines that are left, as one text.
    ///
    /// # Errors
    /// That of the first line that cannot be read; when they have more bytes than the longest row may have.
    pub(super) fn rest(&mut self) -> Result<String, Error> {
        let mut text = String::new();
        while let Some(line) = self.next() {
            text.push_str(&line?);
            if text.len() > 4 * LONGEST_ROW {
                let reason =
                    format!("a JSON array of more than {} MiB; write it as JSON lines", LONGEST_ROW >> 18);
                return Err(Error::NotData { path: self.path.clone(), reason });
            }
        }
        Ok(text)
    }

    pub(super) fn error(&self, reason: String) -> Error {
        Error::Row { path: self.path.clone(), unit: "line", number: self.number, reason }
    }
}

/// A text file as one object per paragraph; blank lines separate paragraphs.
pub(super) struct Paragraphs {
    lines: Lines,
}

impl Paragraphs {
    pub(super) fn new(lines: Lines) -> Self {
        Self { lines }
    }
}

impl Iterator for Paragraphs {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        let (mut text, mut first) = (String::new(), 0);
        loop {
            match self.lines.next() {
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(line)) if !line.trim().is_empty() => {
                    if text.is_empty() {
                        first = self.lines.number;
                    }
                    text.push_str(&line);
                }
                Some(Ok(_)) if text.is_empty() => {}
                None if text.is_empty() => return None,
                _ => {
                    let text = Value::from(text.trim_end());
                    let object = Map::from_iter([("text".to_owned(), text)]);
                    return Some(Ok(NumberedObject { number: first, object, surrogates: 0 }));
                }
            }
        }
    }
}
