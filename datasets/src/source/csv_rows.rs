//! The rows of CSV and TSV files: every field is a text, and an empty one is null. Quotes and line breaks within them are
//! RFC 4180's.

use super::compression;
use super::text::{Lines, NumberedObject, Object};
use crate::Error;
use crate::limits::RowLimits;
use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use serde_json::Value;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

/// The rows of one file, each with the line on which it starts.
pub(super) struct CsvRows {
    path: PathBuf,
    reader: Reader<Bounded>,
    limits: RowLimits,
    names: StringRecord,
    is_over: bool,
}

impl CsvRows {
    /// Reads the header.
    ///
    /// # Errors
    /// When the file has no header, or two columns of it have one name.
    pub(super) fn open(path: &Path, delimiter: u8, limits: RowLimits) -> Result<Self, Error> {
        // An empty file has no first character; reading it as lines reports what it is compressed with.
        Lines::open(path, limits)?.first_character()?;
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(Bounded { reader: compression::open(path)?, left: limits.bytes() });
        let not_data = |reason: String| Error::NotData { path: path.to_owned(), reason };
        let names = reader.headers().map_err(|error| not_data(format!("has no header ({error})")))?;
        let mut names = names.clone();
        if let Some(first) = names.get(0).and_then(|first| first.strip_prefix('\u{feff}')).map(str::to_owned)
        {
            names = std::iter::once(first.as_str()).chain(names.iter().skip(1)).collect();
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
            return Err(not_data(format!("its header has two columns `{twice}`; rename one")));
        }
        Ok(Self { path: path.to_owned(), reader, limits, names, is_over: false })
    }
}

/// A stream of which one row takes a bounded number of bytes: a quote that is never closed makes all of it one field.
struct Bounded {
    reader: Box<dyn BufRead + Send>,
    left: usize,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let read = self.reader.read(buffer)?;
        self.left = self.left.saturating_sub(read);
        Ok(read)
    }
}

impl Iterator for CsvRows {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        if self.is_over {
            return None;
        }
        let mut record = StringRecord::new();
        self.reader.get_mut().left = self.limits.bytes();
        let number = self.reader.position().line() as usize;
        let error = |number: usize, reason: String| {
            let path = self.path.clone();
            Some(Err(Error::Row { path, unit: "line", number, reason }))
        };
        match self.reader.read_record(&mut record) {
            Ok(false) => None,
            Ok(true) => {
                let number = record.position().map_or(number, |position| position.line() as usize);
                let value = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
                let fields = self.names.iter().zip(&record);
                let object = fields.map(|(name, text)| (name.to_owned(), value(text))).collect();
                Some(Ok(NumberedObject { number, object, surrogates: 0 }))
            }
            Err(failure) => {
                self.is_over = matches!(failure.kind(), ErrorKind::Io(_));
                let line = failure.position().map_or(number, |position| position.line() as usize);
                match failure.kind() {
                    ErrorKind::Io(error) => {
                        let (path, unit, number) = (self.path.clone(), "line", line);
                        let reason = match error.kind() {
                            std::io::ErrorKind::FileTooLarge => self.limits.too_large(),
                            _ => format!("cannot be read: {error}"),
                        };
                        Some(Err(Error::Rest { path, unit, number, reason }))
                    }
                    ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        error(line, format!("has {len} fields, but the header has {expected_len}"))
                    }
                    ErrorKind::Utf8 { .. } => error(line, "not UTF-8".to_owned()),
                    _ => error(line, failure.to_string()),
                }
            }
        }
    }
}
