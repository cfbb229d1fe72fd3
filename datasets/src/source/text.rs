//! The objects of text files, which may be compressed: JSON lines, JSON in sequence, a JSON array, paragraphs.

use crate::Error;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// An object of a file with its line (or row) number, from 1.
pub(crate) type Object = Result<Numbered, Error>;

/// A line (or row) number and the object there.
type Numbered = (usize, Map<String, Value>);

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The numbered lines of a text file, which may be compressed.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    number: usize,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), reader: open(path)?, number: 0 })
    }

    fn next(&mut self) -> Option<Result<String, Error>> {
        let mut bytes = Vec::new();
        self.number += 1;
        let read = self.reader.read_until(b'\n', &mut bytes);
        if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        match read {
            Ok(0) => None,
            Ok(_) => Some(String::from_utf8(bytes).map_err(|error| {
                self.error(format!("not UTF-8 at byte {} of the line", error.utf8_error().valid_up_to()))
            })),
            Err(error) => Some(Err(self.error(format!("cannot be read: {error}")))),
        }
    }

    /// The first byte that is no white space, without consuming it. Looks at the first block only.
    pub(super) fn first_character(&mut self) -> Option<u8> {
        let block = self.reader.fill_buf().ok()?;
        let block = block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block);
        block.iter().copied().find(|byte| !byte.is_ascii_whitespace())
    }

    pub(super) fn next_object(&mut self) -> Option<Object> {
        loop {
            let line = match self.next()? {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            return Some(match serde_json::from_str(&line) {
                Ok(Value::Object(object)) => Ok((self.number, object)),
                Ok(other) => Err(self.error(format!("expected a JSON object, found {}", type_name(&other)))),
                Err(error) => Err(self.error(format!("not JSON ({error})"))),
            });
        }
    }

    /// Objects in sequence, each over any number of lines.
    pub(super) fn whole_objects(mut self) -> Result<Vec<Object>, Error> {
        let mut text = String::new();
        while let Some(line) = self.next() {
            text.push_str(&line?);
        }
        let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Map<String, Value>>();
        let (mut objects, mut line, mut end) = (Vec::new(), 1, 0);
        while let Some(value) = values.next() {
            let start = end + text[end..].len() - text[end..].trim_start().len();
            line += text[end..start].matches('\n').count();
            let number = line;
            objects.push(value.map(|object| (number, object)).map_err(|error| {
                self.number = error.line();
                self.error(format!("not JSON ({error})"))
            }));
            end = values.byte_offset().max(start);
            line += text[start..end].matches('\n').count();
        }
        Ok(objects)
    }

    fn error(&self, reason: String) -> Error {
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
                    return Some(Ok((first, Map::from_iter([("text".to_owned(), text)]))));
                }
            }
        }
    }
}

/// The objects of a JSON array, each with the line on which it starts.
pub(super) struct Elements {
    path: PathBuf,
    text: String,
    /// Bytes of the text that were read, and the line on which they end.
    position: usize,
    line: usize,
    is_first: bool,
    is_over: bool,
}

impl Elements {
    pub(super) fn read(mut lines: Lines) -> Result<Self, Error> {
        let mut text = String::new();
        let read = lines.reader.read_to_string(&mut text);
        read.map_err(|error| Error::file("read", &lines.path, error))?;
        let position = text.find('[').map_or(text.len(), |start| start + 1);
        let line = 1 + text[..position].matches('\n').count();
        Ok(Self { path: lines.path, text, position, line, is_first: true, is_over: false })
    }

    /// The next character that is no white space; advances to it.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.position..];
        let space = rest.len() - rest.trim_start().len();
        self.line += rest[..space].matches('\n').count();
        self.position += space;
        self.text[self.position..].chars().next()
    }

    /// Advances to the next element; returns whether there is one.
    fn advance(&mut self) -> Result<bool, String> {
        match (self.peek(), self.is_first) {
            (Some(']'), _) => {
                self.position += 1;
                match self.peek() {
                    None => Ok(false),
                    Some(found) => Err(format!("{found:?} after the end of the array")),
                }
            }
            (Some(_), true) => Ok(true),
            (Some(','), false) => {
                self.position += 1;
                self.peek();
                Ok(true)
            }
            (Some(found), false) => Err(format!("{found:?} where a comma or ] was expected")),
            (None, _) => Err("the array is cut short".to_owned()),
        }
    }

    fn element(&mut self) -> Result<Option<Numbered>, String> {
        if !self.advance()? {
            return Ok(None);
        }
        self.is_first = false;
        let start_line = self.line;
        let rest = &self.text[self.position..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Map<String, Value>>();
        let object = match values.next() {
            Some(Ok(object)) => object,
            Some(Err(error)) => return Err(format!("not an object of a JSON array ({error})")),
            None => return Err("the array is cut short".to_owned()),
        };
        let length = values.byte_offset();
        self.line += rest[..length].matches('\n').count();
        self.position += length;
        Ok(Some((start_line, object)))
    }
}

impl Iterator for Elements {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        if self.is_over {
            return None;
        }
        let element = self.element();
        self.is_over = !matches!(element, Ok(Some(_)));
        let (path, number) = (self.path.clone(), self.line);
        element.map_err(|reason| Error::Row { path, unit: "line", number, reason }).transpose()
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, Error> {
    let file = File::open(path).map_err(|error| Error::file("read", path, error))?;
    Ok(match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
        Some("zst") => Box::new(BufReader::new(
            zstd::Decoder::new(file).map_err(|error| Error::file("read", path, error))?,
        )),
        _ => Box::new(BufReader::new(file)),
    })
}

/// The type of a JSON value, for errors.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
