//! From a path to JSON objects: which files hold data, how they are packed, where each object stands.

use crate::Error;
use crate::configs::Choice;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// One object of a file, with its line (or row) number from 1.
pub(crate) type Object = Result<Numbered, Error>;

type Numbered = (usize, Map<String, Value>);

/// What a file's name says it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLines,
    Json,
    Parquet,
    Text,
}

impl Format {
    /// By extension, `.gz` and `.zst` looked through; `None` for anything else.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "json" => Some(Self::Json),
            "parquet" => Some(Self::Parquet),
            "txt" => Some(Self::Text),
            _ => None,
        }
    }

    /// How an error counts in this format.
    pub(crate) fn unit(self) -> &'static str {
        if self == Self::Parquet { "row" } else { "line" }
    }
}

/// The data files of a path: itself, or those below a folder that its card chooses, all without one; sorted.
///
/// # Errors
/// When the path is missing or holds no data file.
pub fn data_files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    chosen_files(path, Choice::default())
}

/// The data files of a path under a choice of configuration and split.
pub(crate) fn chosen_files(path: &Path, choice: Choice<'_>) -> Result<Vec<PathBuf>, Error> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::file("read", path, error))?;
    if metadata.is_file() {
        if let Some(asked) = choice.config.or(choice.split) {
            let reason = format!("one file has no configurations and splits, so none called {asked}");
            return Err(Error::NotData { path: path.to_owned(), reason });
        }
        return match Format::of(path) {
            Some(_) => Ok(vec![path.to_owned()]),
            None => Err(Error::NotData {
                path: path.to_owned(),
                reason: "not a data file; expected .jsonl, .json, .parquet or .txt, plain, .gz or .zst"
                    .to_owned(),
            }),
        };
    }
    let mut files = Vec::new();
    collect(path, &mut files, &mut HashSet::new())?;
    files.sort();
    let files = crate::configs::chosen(path, files, choice)?;
    if files.is_empty() {
        let reason = "the folder holds no .jsonl, .json, .parquet or .txt file".to_owned();
        return Err(Error::NotData { path: path.to_owned(), reason });
    }
    Ok(files)
}

/// Whether a file's name says that it holds rows.
pub fn is_data(name: &str) -> bool {
    Format::of(Path::new(name)).is_some()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>, seen: &mut HashSet<PathBuf>) -> Result<(), Error> {
    let real = folder.canonicalize().map_err(|error| Error::file("read", folder, error))?;
    // A link may lead back to a folder above it.
    if !seen.insert(real) {
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(|error| Error::file("read", folder, error))?;
    for entry in entries {
        let path = entry.map_err(|error| Error::file("read", folder, error))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, files, seen)?;
        } else if Format::of(&path).is_some() {
            files.push(path);
        }
    }
    Ok(())
}

/// The objects of one file, as a stream. Whether JSON comes as an array or as lines is seen from its first
/// character, whatever the name says.
pub(crate) fn objects(path: &Path) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    match Format::of(path) {
        Some(Format::Parquet) => parquet_objects(path),
        Some(Format::Text) => Ok(Box::new(Paragraphs { lines: Lines::open(path)? })),
        _ => {
            let mut lines = Lines::open(path)?;
            match lines.first_character() {
                Some(b'[') => Ok(Box::new(Elements::read(lines)?)),
                Some(b'{') if Format::of(path) == Some(Format::Json) => {
                    Ok(Box::new(lines.whole_objects()?.into_iter()))
                }
                _ => Ok(Box::new(std::iter::from_fn(move || lines.next_object()))),
            }
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Lines of a possibly compressed text file, counted.
struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    number: usize,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Error> {
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

    /// The first byte that is no white space, without taking it; of the first block, which is enough.
    fn first_character(&mut self) -> Option<u8> {
        let block = self.reader.fill_buf().ok()?;
        let block = block.strip_prefix(BYTE_ORDER_MARK).unwrap_or(block);
        block.iter().copied().find(|byte| !byte.is_ascii_whitespace())
    }

    fn next_object(&mut self) -> Option<Object> {
        loop {
            let line = match self.next()? {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            return Some(match serde_json::from_str(&line) {
                Ok(Value::Object(object)) => Ok((self.number, object)),
                Ok(other) => Err(self.error(format!("expected a JSON object, found {}", kind(&other)))),
                Err(error) => Err(self.error(format!("not JSON ({error})"))),
            });
        }
    }

    /// Objects one after another, each over as many lines as it likes.
    fn whole_objects(mut self) -> Result<Vec<Object>, Error> {
        let mut text = String::new();
        while let Some(line) = self.next() {
            text.push_str(&line?);
        }
        let mut values = serde_json::Deserializer::from_str(&text).into_iter::<Map<String, Value>>();
        let (mut objects, mut line, mut counted) = (Vec::new(), 1, 0);
        while let Some(value) = values.next() {
            let begins = counted + text[counted..].len() - text[counted..].trim_start().len();
            line += text[counted..begins].matches('\n').count();
            let number = line;
            objects.push(value.map(|object| (number, object)).map_err(|error| {
                self.number = error.line();
                self.error(format!("not JSON ({error})"))
            }));
            counted = values.byte_offset().max(begins);
            line += text[begins..counted].matches('\n').count();
        }
        Ok(objects)
    }

    fn error(&self, reason: String) -> Error {
        Error::Row { path: self.path.clone(), unit: "line", number: self.number, reason }
    }
}

/// A text file as one object a paragraph; blank lines lie between paragraphs.
struct Paragraphs {
    lines: Lines,
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

/// The objects of a JSON array, each with the line it begins on.
struct Elements {
    path: PathBuf,
    text: String,
    /// Bytes of the text read, and the line they end on.
    position: usize,
    line: usize,
    first: bool,
    over: bool,
}

impl Elements {
    fn read(mut lines: Lines) -> Result<Self, Error> {
        let mut text = String::new();
        let read = lines.reader.read_to_string(&mut text);
        read.map_err(|error| Error::file("read", &lines.path, error))?;
        let position = text.find('[').map_or(text.len(), |start| start + 1);
        let line = 1 + text[..position].matches('\n').count();
        Ok(Self { path: lines.path, text, position, line, first: true, over: false })
    }

    /// The next character that is no white space, its line counted.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.position..];
        let space = rest.len() - rest.trim_start().len();
        self.line += rest[..space].matches('\n').count();
        self.position += space;
        self.text[self.position..].chars().next()
    }

    /// The text of the next element's start, or nothing after the last.
    fn advance(&mut self) -> Result<bool, String> {
        match (self.peek(), self.first) {
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
        self.first = false;
        let begins = self.line;
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
        Ok(Some((begins, object)))
    }
}

impl Iterator for Elements {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        if self.over {
            return None;
        }
        let found = self.element();
        self.over = !matches!(found, Ok(Some(_)));
        let (path, number) = (self.path.clone(), self.line);
        found.map_err(|reason| Error::Row { path, unit: "line", number, reason }).transpose()
    }
}

fn parquet_objects(path: &Path) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    let not_data = |error: parquet::errors::ParquetError| Error::NotData {
        path: path.to_owned(),
        reason: format!("not a whole Parquet file ({error})"),
    };
    let file = File::open(path).map_err(|error| Error::file("read", path, error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(not_data)?;
    let batches = builder.with_batch_size(256).build().map_err(not_data)?;
    let path = path.to_owned();
    let mut number = 0;
    Ok(Box::new(batches.flat_map(move |batch| {
        let rows: Vec<Object> =
            match batch.map_err(|error| error.to_string()).and_then(|batch| batch_objects(&batch)) {
                Ok(objects) => objects
                    .into_iter()
                    .map(|object| {
                        number += 1;
                        Ok((number, object))
                    })
                    .collect(),
                Err(reason) => {
                    vec![Err(Error::Row { path: path.clone(), unit: "row", number: number + 1, reason })]
                }
            };
        rows
    })))
}

fn batch_objects(batch: &arrow::array::RecordBatch) -> Result<Vec<Map<String, Value>>, String> {
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
    serde_json::from_slice(&writer.into_inner()).map_err(|error| error.to_string())
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

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
