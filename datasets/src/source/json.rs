//! The objects of JSON files: one per line, in sequence over any number of lines, in an array, in a list of a single
//! object, or by columns.

use super::mend::{Mended, parse};
use super::quick_object::{NumberedPlain, Origin, Quick, QuickObject};
use super::text::{Lines, NumberedObject, Object, not_utf8};
use super::values::{Fault, Scanner, is_sequence};
use crate::Error;
use crate::ahead::ahead;
use crate::limits::{MAX_DEPTH, RowLimits};
use crate::plain::{Beside, Plain};
use serde_json::{Map, Value};
use std::io::{BufRead, Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether an object is a row by itself.
pub(crate) type IsRow = fn(&Map<String, Value>) -> bool;

/// Bytes of a first line that are looked at to tell an array of rows from a conversation per line.
const LOOKED_AT: usize = 4 << 20;

/// The objects of a file. The first character decides what they are in, and of objects the first one; `is_whole` says that the
/// file's name promises one value and not lines.
pub(super) fn objects(
    mut lines: Lines,
    is_whole: bool,
    is_row: IsRow,
) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    match lines.first_character()? {
        Some(b'[') => array_or_lines(lines),
        Some(b'{') if is_whole || lines.first_block()?.is_some_and(is_sequence) => sequence(lines, is_row),
        _ => Ok(line_objects(lines)),
    }
}

/// Bytes of the lines that are parsed together.
const CHUNK: usize = 256 << 10;

/// Lines of a file that are parsed together.
struct Chunk {
    text: Vec<u8>,
    /// The number of each line and its bytes, or why it is none.
    lines: Vec<Result<(usize, Range<usize>), Error>>,
}

/// The next lines; `None` at the end.
fn next_chunk(lines: &mut Lines) -> Option<Chunk> {
    let mut chunk = Chunk { text: Vec::with_capacity(CHUNK + CHUNK / 4), lines: Vec::new() };
    while chunk.text.len() < CHUNK {
        let Some(line) = lines.append(&mut chunk.text) else { break };
        chunk.lines.push(line.map(|range| (lines.number, range)));
    }
    (!chunk.lines.is_empty()).then_some(chunk)
}

/// The objects of lines that are not blank, parsed ahead.
fn line_objects(lines: Lines) -> Box<dyn Iterator<Item = Object> + Send> {
    line_items(lines, |path, text, (number, range)| line_object(path, text, number, range))
}

/// As [`objects`]; lines that are plain conversations are not made objects.
pub(super) fn quick_objects(
    mut lines: Lines,
    is_whole: bool,
    is_row: IsRow,
    beside: Beside,
) -> Result<Box<dyn Iterator<Item = QuickObject> + Send>, Error> {
    let is_lines = match lines.first_character()? {
        Some(b'{') => !is_whole && !lines.first_block()?.is_some_and(is_sequence),
        _ => false,
    };
    if !is_lines {
        return Ok(Box::new(objects(lines, is_whole, is_row)?.map(|object| object.map(Quick::Object))));
    }
    let max_messages = lines.limits.max_row_messages;
    let is_expected = Expected::default();
    Ok(line_items(lines, move |path, text, (number, range)| {
        let line = std::str::from_utf8(&text[range.clone()]).ok().filter(|_| is_expected.next());
        let plain = line.and_then(|line| Plain::of_line(line, beside));
        match plain.filter(|plain| plain.count <= max_messages) {
            Some(plain) => {
                is_expected.hit();
                let origin = Origin::Line { path: path.clone(), text: text.clone(), range };
                Some(Ok(Quick::Plain(NumberedPlain { number, plain, origin })))
            }
            None => Some(line_object(path, text, number, range)?.map(Quick::Object)),
        }
    }))
}

/// Whether a line is tried as a plain conversation: few are, where none of those before was one.
#[derive(Default)]
struct Expected {
    /// Lines since the last plain one.
    misses: AtomicUsize,
}

impl Expected {
    fn next(&self) -> bool {
        let misses = self.misses.fetch_add(1, Ordering::Relaxed);
        misses < 32 || misses.is_multiple_of(32)
    }

    fn hit(&self) {
        self.misses.store(0, Ordering::Relaxed);
    }
}

/// The number of a line and its bytes.
type Line = (usize, Range<usize>);

/// What `item` makes of the lines, ahead; it has the path of the file, the text that contains the line, and the line.
fn line_items<T: Send + 'static>(
    mut lines: Lines,
    item: impl Fn(&Arc<Path>, &Arc<Vec<u8>>, Line) -> Option<Result<T, Error>> + Send + Sync + 'static,
) -> Box<dyn Iterator<Item = Result<T, Error>> + Send> {
    let path: Arc<Path> = lines.path.as_path().into();
    let chunks = std::iter::from_fn(move || next_chunk(&mut lines));
    let items = move |Chunk { text, lines }: Chunk| -> Vec<Result<T, Error>> {
        let text = Arc::new(text);
        let item = |line: Result<Line, Error>| match line {
            Ok(line) => item(&path, &text, line),
            Err(error) => Some(Err(error)),
        };
        lines.into_iter().filter_map(item).collect()
    };
    Box::new(ahead(chunks, items).flatten())
}

/// The object of a line; `None` for a blank one.
pub(crate) fn line_object(path: &Path, text: &[u8], number: usize, range: Range<usize>) -> Option<Object> {
    let line = std::str::from_utf8(&text[range]).map_err(|error| not_utf8(&error));
    if line.as_ref().is_ok_and(|line| line.trim().is_empty()) {
        return None;
    }
    let found = line.and_then(parsed).and_then(|mended| object(mended, number));
    Some(found.map_err(|reason| Error::Row { path: path.to_owned(), unit: "line", number, reason }))
}

/// Parses the text of a row.
fn parsed(text: &str) -> Result<Mended, String> {
    RowLimits::check_text(text.as_bytes())?;
    parse(text).map_err(|error| match error.to_string() {
        text if text.starts_with("recursion limit") => {
            format!("lists and objects are more than {MAX_DEPTH} deep in one another")
        }
        text => format!("not JSON ({text})"),
    })
}

/// An array of rows; or lines, each of them the messages of one conversation.
fn array_or_lines(lines: Lines) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    let (path, limits) = (lines.path.clone(), lines.limits);
    let mut reader = lines.into_reader();
    let mut start = Vec::new();
    // The array may begin after blank lines.
    while start.iter().all(u8::is_ascii_whitespace) && start.len() < LOOKED_AT {
        let mut line = reader.by_ref().take(LOOKED_AT as u64);
        let read = line.read_until(b'\n', &mut start);
        if read.map_err(|error| Error::file("read", &path, error))? == 0 {
            break;
        }
    }
    let is_more = start.ends_with(b"\n")
        && reader.fill_buf().is_ok_and(|next| matches!(next.trim_ascii_start().first(), Some(b'[' | b'{')));
    let is_lines = starts_with_line(&start, is_more);
    let reader: Box<dyn BufRead + Send> = Box::new(Cursor::new(start).chain(reader));
    if is_lines {
        return Ok(line_objects(Lines::of(path, reader, limits)));
    }
    Ok(Box::new(Elements::new(path, Scanner::new(reader, limits))))
}

/// Whether a text that begins with `[` begins with a line of its own, such as the messages of a conversation, and not with
/// rows; `is_more` says that something follows the first line. Where the end of the line is not in the text, the first
/// element decides.
fn starts_with_line(start: &[u8], is_more: bool) -> bool {
    if start.ends_with(b"\n") || start.len() < LOOKED_AT {
        let first = std::str::from_utf8(start).ok().and_then(|first| parse(first).ok());
        // Nothing follows an array.
        return first.is_some_and(|mended| is_more || is_conversation(&mended.value));
    }
    let text = start.trim_ascii_start().get(1..).unwrap_or_default();
    let first = serde_json::Deserializer::from_slice(text).into_iter::<Value>().next();
    first.and_then(Result::ok).is_some_and(|first| is_conversation(&Value::Array(vec![first])))
}

/// A value as a row: an object, or the messages of a conversation.
fn object(mended: Mended, number: usize) -> Result<NumberedObject, String> {
    let Mended { value, surrogates } = mended;
    match value {
        Value::Object(object) => Ok(NumberedObject { number, object, surrogates }),
        value if is_conversation(&value) => {
            let object = Map::from_iter([("messages".to_owned(), value)]);
            Ok(NumberedObject { number, object, surrogates })
        }
        other => Err(format!("expected a JSON object, found {}", type_name(&other))),
    }
}

/// Whether a value is a list of messages.
fn is_conversation(value: &Value) -> bool {
    let is_message = |message: &Value| {
        let has = |name: &str| message.get(name).is_some();
        (has("role") || has("from")) && (has("content") || has("value") || has("tool_calls"))
    };
    value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(is_message))
}

/// Objects in sequence, each over any number of lines; of a single one that is no row its rows.
fn sequence(lines: Lines, is_row: IsRow) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    let (path, limits) = (lines.path.clone(), lines.limits);
    let mut sequence = Sequence { path, scanner: Scanner::new(lines.into_reader(), limits), is_over: false };
    let first = sequence.next();
    if let Some(Ok(only)) = &first
        && matches!(sequence.scanner.peek(), Ok(None))
        && let Some(rows) = rows_within(&only.object, is_row)
    {
        let numbered = |(object, number): (Map<String, Value>, usize)| {
            Ok(NumberedObject { number, object, surrogates: 0 })
        };
        return Ok(Box::new(rows.into_iter().zip(1..).map(numbered)));
    }
    Ok(Box::new(first.into_iter().chain(sequence)))
}

/// JSON values one after another.
struct Sequence {
    path: PathBuf,
    scanner: Scanner,
    is_over: bool,
}

impl Iterator for Sequence {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        if self.is_over {
            return None;
        }
        let mut text = Vec::new();
        let (path, unit) = (self.path.clone(), "line");
        let peeked = self.scanner.peek();
        let line = self.scanner.line;
        match peeked.and_then(|next| next.map(|_| self.scanner.value(&mut text)).transpose()) {
            Ok(None) => None,
            Ok(Some(())) => {
                let mended = utf8(text).map_err(|reason| (line, reason)).and_then(|text| {
                    let number = |error: &serde_json::Error| line + error.line().saturating_sub(1);
                    parse(&text).map_err(|error| (number(&error), format!("not JSON ({error})")))
                });
                Some(match mended {
                    Ok(mended) => {
                        object(mended, line).map_err(|reason| Error::Row { path, unit, number: line, reason })
                    }
                    Err((number, reason)) => {
                        // What is no JSON may end anywhere: the values after it are not looked for.
                        self.is_over = true;
                        Err(Error::Rest { path, unit, number, reason })
                    }
                })
            }
            Err(fault) => {
                self.is_over = true;
                Some(Err(rest(path, line, fault)))
            }
        }
    }
}

fn utf8(text: Vec<u8>) -> Result<String, String> {
    String::from_utf8(text)
        .map_err(|error| format!("not UTF-8 at byte {} of the row", error.utf8_error().valid_up_to()))
}

/// The error of a file that cannot be read from a line on.
fn rest(path: PathBuf, number: usize, fault: Fault) -> Error {
    let reason = match fault {
        Fault::Io(error) => format!("cannot be read: {error}"),
        Fault::TooLarge(reason) => reason,
    };
    Error::Rest { path, unit: "line", number, reason }
}

/// The rows of an object that is none itself: those of its only list of objects, or one for each index of its columns.
fn rows_within(object: &Map<String, Value>, is_row: IsRow) -> Option<Vec<Map<String, Value>>> {
    let is_rows = |value: &&Value| {
        value.as_array().is_some_and(|list| {
            !list.is_empty() && list.iter().all(|row| row.is_object() && !is_message(row))
        })
    };
    let lists: Vec<&Value> = object.values().filter(is_rows).collect();
    if !is_row(object) {
        let [rows] = lists.as_slice() else { return None };
        return Some(rows.as_array()?.iter().filter_map(|row| row.as_object().cloned()).collect());
    }
    // Columns: lists of one length, of which the first two are of texts.
    let length = object.values().next()?.as_array()?.len();
    let is_columns = object.len() > 1
        && object.values().all(|column| column.as_array().is_some_and(|list| list.len() == length))
        && object
            .values()
            .take(2)
            .all(|column| column.as_array().is_some_and(|list| list.iter().all(Value::is_string)));
    let row =
        |index: usize| object.iter().map(|(name, column)| (name.clone(), column[index].clone())).collect();
    is_columns.then(|| (0..length).map(row).collect())
}

fn is_message(value: &Value) -> bool {
    value.get("role").is_some() || value.get("from").is_some()
}

/// The objects of a JSON array, each with the line on which it starts.
struct Elements {
    path: PathBuf,
    scanner: Scanner,
    text: Vec<u8>,
    is_first: bool,
    is_over: bool,
}

/// Why an array ends early.
enum End {
    Fault(Fault),
    Syntax(String),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Elements {
    /// The elements of the array at which a stream begins.
    fn new(path: PathBuf, scanner: Scanner) -> Self {
        Self { path, scanner, text: Vec::new(), is_first: true, is_over: false }
    }

    /// Advances to the next element; returns whether there is one.
    fn advance(&mut self) -> Result<bool, End> {
        if self.is_first {
            self.scanner.peek()?;
            // The bracket that made this an array.
            self.scanner.take();
        }
        match (self.scanner.peek()?.map(char::from), std::mem::take(&mut self.is_first)) {
            (Some(']'), _) => {
                self.scanner.take();
                match self.scanner.peek()?.map(char::from) {
                    None => Ok(false),
                    Some(found) => Err(End::Syntax(format!("{found:?} after the end of the array"))),
                }
            }
            (Some(_), true) => Ok(true),
            (Some(','), false) => {
                self.scanner.take();
                match self.scanner.peek()? {
                    Some(_) => Ok(true),
                    None => Err(End::Syntax("the array is cut short".to_owned())),
                }
            }
            (Some(found), false) => Err(End::Syntax(format!("{found:?} where a comma or ] was expected"))),
            (None, _) => Err(End::Syntax("the array is cut short".to_owned())),
        }
    }

    /// The next element. The outer error ends the array, the inner one is of this element alone.
    fn element(&mut self) -> Result<Option<Object>, End> {
        if !self.advance()? {
            return Ok(None);
        }
        let number = self.scanner.line;
        self.scanner.value(&mut self.text)?;
        let text = utf8(std::mem::take(&mut self.text));
        let is_cut = text.as_ref().is_ok_and(|text| text.is_empty()) || self.scanner.peek()?.is_none();
        let found = text.and_then(|text| {
            RowLimits::check_text(text.as_bytes())?;
            parse(&text).map_err(|error| format!("not an object of a JSON array ({error})"))
        });
        match found {
            Err(reason) if is_cut => Err(End::Syntax(reason)),
            found => {
                let (path, unit) = (self.path.clone(), "line");
                let found = found.and_then(|mended| object(mended, number));
                Ok(Some(found.map_err(|reason| Error::Row { path, unit, number, reason })))
            }
        }
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
        let (path, number, unit) = (self.path.clone(), self.scanner.line, "line");
        match element {
            Ok(element) => element,
            Err(End::Syntax(reason)) => Some(Err(Error::Rest { path, unit, number, reason })),
            Err(End::Fault(fault)) => Some(Err(rest(path, number, fault))),
        }
    }
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
