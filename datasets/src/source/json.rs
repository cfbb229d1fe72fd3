//! The objects of JSON files: one per line, in sequence over any number of lines, in an array, in a list of a single
//! object, or by columns.

use super::mend::{Mended, first_value, parse};
use super::text::{Lines, NumberedObject, Object};
use crate::Error;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Whether an object is a row by itself.
pub(crate) type IsRow = fn(&Map<String, Value>) -> bool;

/// The objects of a file. The first character decides what they are in; `is_whole` says that the file's name promises one
/// value and not lines.
pub(super) fn objects(
    mut lines: Lines,
    is_whole: bool,
    is_row: IsRow,
) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    match lines.first_character()? {
        Some(b'[') => array_or_lines(lines),
        Some(b'{') if is_whole => Ok(Box::new(sequence(lines, is_row)?.into_iter())),
        _ => Ok(Box::new(std::iter::from_fn(move || next_object(&mut lines)))),
    }
}

/// The object of the next line that is not blank.
fn next_object(lines: &mut Lines) -> Option<Object> {
    loop {
        let line = match lines.next()? {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        return Some(match parse(&line) {
            Ok(mended) => object(mended, lines.number).map_err(|reason| lines.error(reason)),
            Err(error) => Err(lines.error(format!("not JSON ({error})"))),
        });
    }
}

/// An array of rows; or lines, each of them the messages of one conversation.
fn array_or_lines(mut lines: Lines) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    let mut first = String::new();
    // The array may begin after blank lines.
    while first.trim().is_empty() {
        match lines.next() {
            Some(line) => first.push_str(&line?),
            None => break,
        }
    }
    let number = lines.number;
    match parse(&first) {
        Ok(mended) if is_conversation(&mended.value) => {
            let first = object(mended, number).map_err(|reason| lines.error(reason));
            Ok(Box::new(std::iter::once(first).chain(std::iter::from_fn(move || next_object(&mut lines)))))
        }
        _ => {
            first.push_str(&lines.rest()?);
            Ok(Box::new(Elements::new(lines.path, first)))
        }
    }
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
fn sequence(mut lines: Lines, is_row: IsRow) -> Result<Vec<Object>, Error> {
    let text = lines.rest()?;
    let (mut objects, mut line, mut end) = (Vec::new(), 1, 0);
    loop {
        let start = end + text[end..].len() - text[end..].trim_start().len();
        line += text[end..start].matches('\n').count();
        let Some(value) = first_value(&text[start..]) else { break };
        let (path, unit) = (lines.path.clone(), "line");
        let (mended, length) = match value {
            Ok(value) => value,
            Err(error) => {
                let (number, reason) = (line + error.line().saturating_sub(1), format!("not JSON ({error})"));
                objects.push(Err(Error::Row { path, unit, number, reason }));
                break;
            }
        };
        let found = object(mended, line);
        objects.push(found.map_err(|reason| Error::Row { path, unit, number: line, reason }));
        end = start + length;
        line += text[start..end].matches('\n').count();
    }
    if let [Ok(only)] = objects.as_slice()
        && let Some(rows) = rows_within(&only.object, is_row)
    {
        let rows = rows.into_iter().zip(1..);
        return Ok(rows
            .map(|(object, number)| Ok(NumberedObject { number, object, surrogates: 0 }))
            .collect());
    }
    Ok(objects)
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
    text: String,
    /// Bytes of the text that were read, and the line on which they end.
    position: usize,
    line: usize,
    is_first: bool,
    is_over: bool,
}

impl Elements {
    fn new(path: PathBuf, text: String) -> Self {
        let position = text.find('[').map_or(text.len(), |start| start + 1);
        let line = 1 + text[..position].matches('\n').count();
        Self { path, text, position, line, is_first: true, is_over: false }
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

    /// The next element with its line. The outer error ends the array, the inner one is of this element alone.
    fn element(&mut self) -> Result<Option<Result<NumberedObject, String>>, String> {
        if !self.advance()? {
            return Ok(None);
        }
        self.is_first = false;
        let line = self.line;
        let rest = &self.text[self.position..];
        let (mended, length) = match first_value(rest) {
            Some(Ok(value)) => value,
            Some(Err(error)) => return Err(format!("not an object of a JSON array ({error})")),
            None => return Err("the array is cut short".to_owned()),
        };
        self.line += rest[..length].matches('\n').count();
        self.position += length;
        Ok(Some(object(mended, line)))
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
        let (path, number, unit) = (self.path.clone(), self.line, "line");
        let error = |reason: String| Error::Row { path, unit, number, reason };
        match element {
            Ok(element) => Some(element?.map_err(error)),
            Err(reason) => Some(Err(error(reason))),
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
