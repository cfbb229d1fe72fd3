//! The lines of text files, which may be compressed, and their paragraphs.

use super::compression;
use crate::Error;
use crate::limits::RowLimits;
use serde_json::{Map, Value};
use std::io::{BufRead, Read};
use std::ops::Range;
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

/// Bytes of blank lines in a row: a compressed file may have any number of them.
const MAX_BLANK: usize = 32 << 20;

/// The numbered lines of a text file, which may be compressed.
pub(super) struct Lines {
    pub(super) path: PathBuf,
    pub(super) reader: Box<dyn BufRead + Send>,
    pub(super) limits: RowLimits,
    pub(super) number: usize,
    /// Bytes of blank lines since the last other one.
    blank: usize,
    /// Whether nothing more can be read.
    is_over: bool,
}

impl Lines {
    pub(super) fn open(path: &Path, limits: RowLimits) -> Result<Self, Error> {
        Ok(Self::of(path.to_owned(), compression::open(path)?, limits))
    }

    /// The lines of a stream.
    pub(super) fn of(path: PathBuf, reader: Box<dyn BufRead + Send>, limits: RowLimits) -> Self {
        Self { path, reader, limits, number: 0, blank: 0, is_over: false }
    }

    pub(super) fn next(&mut self) -> Option<Result<String, Error>> {
        let mut bytes = Vec::new();
        Some(self.append(&mut bytes)?.and_then(|_| {
            String::from_utf8(bytes).map_err(|error| self.error(not_utf8(&error.utf8_error())))
        }))
    }

    /// Appends the bytes of the next line to a text; returns where they are.
    pub(super) fn append(&mut self, text: &mut Vec<u8>) -> Option<Result<Range<usize>, Error>> {
        if self.is_over {
            return None;
        }
        self.number += 1;
        let (start, limit) = (text.len(), self.limits.bytes());
        let read = self.reader.by_ref().take(limit as u64 + 1).read_until(b'\n', text);
        if self.number == 1 && text[start..].starts_with(BYTE_ORDER_MARK) {
            text.drain(start..start + BYTE_ORDER_MARK.len());
        }
        let length = text.len() - start;
        match read {
            Ok(0) => None,
            Ok(_) if length > limit => {
                text.truncate(start);
                Some(Err(self.too_large()))
            }
            Ok(_) => {
                let is_blank = text[start..].iter().all(u8::is_ascii_whitespace);
                self.blank = if is_blank { self.blank + length } else { 0 };
                if self.blank > MAX_BLANK {
                    return Some(Err(self.rest(format!("more than {} MiB of blank lines", MAX_BLANK >> 20))));
                }
                Some(Ok(start..text.len()))
            }
            Err(error) => {
                text.truncate(start);
                Some(Err(self.rest(format!("cannot be read: {error}"))))
            }
        }
    }

    /// Passes over the rest of a line that is too long; the file is given up where the line does not end.
    fn too_large(&mut self) -> Error {
        let mut left = 4 * self.limits.bytes();
        loop {
            let (taken, ends) = match self.reader.fill_buf() {
                Ok([]) | Err(_) => break,
                Ok(block) => match memchr::memchr(b'\n', block) {
                    Some(end) => (end + 1, true),
                    None => (block.len(), false),
                },
            };
            self.reader.consume(taken);
            match (ends, left.checked_sub(taken)) {
                (true, _) => break,
                (false, Some(rest)) => left = rest,
                (false, None) => return self.rest(self.limits.too_large()),
            }
        }
        self.error(self.limits.too_large())
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

    /// The first block of bytes, without consuming it; `None` for an empty file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn first_block(&mut self) -> Result<Option<&[u8]>, Error> {
        let block = self.reader.fill_buf().map_err(|error| Error::file("read", &self.path, error))?;
        let block = block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block);
        Ok((!block.is_empty()).then_some(block))
    }

    /// The stream after a byte order mark.
    pub(super) fn into_reader(mut self) -> Box<dyn BufRead + Send> {
        if self.reader.fill_buf().is_ok_and(|block| block.starts_with(BYTE_ORDER_MARK)) {
            self.reader.consume(BYTE_ORDER_MARK.len());
        }
        self.reader
    }

    pub(super) fn error(&self, reason: String) -> Error {
        Error::Row { path: self.path.clone(), unit: "line", number: self.number, reason }
    }

    /// Gives the rest of the file up.
    pub(super) fn rest(&mut self, reason: String) -> Error {
        self.is_over = true;
        Error::Rest { path: self.path.clone(), unit: "line", number: self.number, reason }
    }
}

/// Why a line is no text.
pub(super) fn not_utf8(error: &std::str::Utf8Error) -> String {
    format!("not UTF-8 at byte {} of the line", error.valid_up_to())
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
        let limit = self.lines.limits.bytes();
        loop {
            match self.lines.next() {
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(line)) if !line.trim().is_empty() => {
                    if text.is_empty() {
                        first = self.lines.number;
                    }
                    if text.len() + line.len() > limit {
                        return Some(Err(self.lines.rest(self.lines.limits.too_large())));
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
