//! Rows of texts and messages as bytes: what most rows consist of, without a tree of values. A row is its columns one after
//! another; a text is its length and its bytes, a list of messages is their number and the role and content of each. They
//! are spilled as they are, and become columns of Arrow with two copies of their bytes.

use crate::write::{Column, ColumnType};
use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Bytes of a length or a number.
const WORD: usize = 4;

/// Appends a text.
///
/// # Errors
/// When it has 4 GiB or more.
pub fn push_text(row: &mut Vec<u8>, text: &str) -> Result<(), String> {
    push_number(row, text.len())?;
    row.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Appends a list of messages, each with its role and its content.
///
/// # Errors
/// When a text has 4 GiB or more.
pub fn push_messages<'a>(
    row: &mut Vec<u8>,
    messages: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    push_number(row, messages.len())?;
    for (role, content) in messages {
        push_text(row, role)?;
        push_text(row, content)?;
    }
    Ok(())
}

/// Appends a number of messages, or of bytes.
pub(crate) fn push_number(row: &mut Vec<u8>, number: usize) -> Result<(), String> {
    let number = u32::try_from(number).map_err(|_| format!("a text has {number} bytes; divide it"))?;
    row.extend_from_slice(&number.to_le_bytes());
    Ok(())
}

/// Takes the columns of a row apart, in order.
#[derive(Debug, Clone, Copy)]
pub struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    /// Begins with the first column of a row.
    pub fn new(row: &'a [u8]) -> Self {
        Self(row)
    }

    /// The bytes of the next text; `None` when the row ends before.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }

    /// The next text; `None` when the row ends before, or it is not UTF-8.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The role and the content of each message of the next list; `None` when the row ends before.
    pub fn messages(&mut self) -> Option<Vec<(&'a str, &'a str)>> {
        let count = self.number()?;
        (0..count).map(|_| Some((self.text()?, self.text()?))).collect()
    }

    fn number(&mut self) -> Option<usize> {
        let (number, rest) = self.0.split_first_chunk::<WORD>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number) as usize)
    }
}

/// A row as an object of these columns.
///
/// # Errors
/// When the bytes are no such row.
pub fn object(columns: &[Column], row: &[u8]) -> Result<Map<String, Value>, String> {
    let mut unpacker = Unpacker::new(row);
    let mut value = |column: &Column| -> Option<Value> {
        Some(match column.kind {
            ColumnType::Messages => unpacker
                .messages()?
                .into_iter()
                .map(|(role, content)| json!({"role": role, "content": content}))
                .collect(),
            ColumnType::Text => unpacker.text()?.into(),
            _ => return None,
        })
    };
    columns
        .iter()
        .map(|column| Some((column.name.clone(), value(column)?)))
        .collect::<Option<_>>()
        .ok_or_else(broken)
}

fn broken() -> String {
    "a row is not what was stored of it".to_owned()
}

/// Rows as a batch of these columns.
///
/// # Errors
/// When the bytes are no such rows, or a column has 2 GiB or more.
pub(crate) fn batch<R: AsRef<[u8]>>(
    columns: &[Column],
    schema: &Arc<Schema>,
    rows: &[R],
) -> Result<RecordBatch, String> {
    // Most bytes are in the first column: its memory is asked for at once.
    let bytes = rows.iter().map(|row| row.as_ref().len()).sum::<usize>();
    let sizes = std::iter::once(bytes).chain(std::iter::repeat(0));
    let builders = columns.iter().zip(sizes).map(|(column, bytes)| Builder::new(column.kind, bytes));
    let mut builders: Vec<Builder> = builders.collect::<Result<_, _>>()?;
    for row in rows {
        let mut unpacker = Unpacker::new(row.as_ref());
        builders.iter_mut().try_for_each(|builder| builder.add(&mut unpacker))?;
    }
    let arrays = builders.into_iter().zip(schema.fields());
    let arrays =
        arrays.map(|(builder, field)| builder.finish(field.data_type())).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema.clone(), arrays).map_err(|error| error.to_string())
}

/// A column that is put together.
enum Builder {
    Text(Texts),
    Messages { offsets: Vec<i32>, roles: Texts, contents: Texts },
}

/// Texts one after another, and where each ends.
struct Texts {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Texts {
    fn new(bytes: usize) -> Self {
        Self { offsets: vec![0], bytes: Vec::with_capacity(bytes) }
    }

    fn add(&mut self, unpacker: &mut Unpacker<'_>) -> Result<(), String> {
        self.bytes.extend_from_slice(unpacker.bytes().ok_or_else(broken)?);
        let end = i32::try_from(self.bytes.len());
        self.offsets.push(
            end.map_err(|_| "the texts of a row group have 2 GiB or more; divide the rows".to_owned())?,
        );
        Ok(())
    }

    fn finish(self) -> Result<ArrayRef, String> {
        let (offsets, bytes) = (offsets(self.offsets), Buffer::from_vec(self.bytes));
        let array = StringArray::try_new(offsets, bytes, None).map_err(|error| error.to_string())?;
        Ok(Arc::new(array))
    }
}

fn offsets(offsets: Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

impl Builder {
    fn new(kind: ColumnType, bytes: usize) -> Result<Self, String> {
        match kind {
            ColumnType::Text => Ok(Self::Text(Texts::new(bytes))),
            ColumnType::Messages => {
                Ok(Self::Messages { offsets: vec![0], roles: Texts::new(0), contents: Texts::new(bytes) })
            }
            other => Err(format!("a column of {other:?} is not packed")),
        }
    }

    fn add(&mut self, unpacker: &mut Unpacker<'_>) -> Result<(), String> {
        match self {
            Self::Text(texts) => texts.add(unpacker),
            Self::Messages { offsets, roles, contents } => {
                for _ in 0..unpacker.number().ok_or_else(broken)? {
                    roles.add(unpacker)?;
                    contents.add(unpacker)?;
                }
                // As many as texts, whose offsets are of the same width.
                offsets.push(roles.offsets.len() as i32 - 1);
                Ok(())
            }
        }
    }

    fn finish(self, data_type: &DataType) -> Result<ArrayRef, String> {
        match self {
            Self::Text(texts) => texts.finish(),
            Self::Messages { offsets: ends, roles, contents } => {
                let (item, fields) = message_fields(data_type).ok_or_else(broken)?;
                let arrays = vec![roles.finish()?, contents.finish()?];
                let text = |error: arrow::error::ArrowError| error.to_string();
                let messages = StructArray::try_new(fields, arrays, None).map_err(text)?;
                let list = ListArray::try_new(item, offsets(ends), Arc::new(messages), None).map_err(text)?;
                Ok(Arc::new(list))
            }
        }
    }
}

/// The item of a list of structs, and the fields of the struct.
fn message_fields(data_type: &DataType) -> Option<(Arc<Field>, arrow::datatypes::Fields)> {
    match data_type {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => Some((item.clone(), fields.clone())),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unpacked_as_they_were_and_cut_ones_are_refused() {
        let columns = [("messages", ColumnType::Messages), ("source", ColumnType::Text)];
        let columns = columns.map(|(name, kind)| Column { name: name.to_owned(), kind });
        let mut row = Vec::new();
        push_messages(&mut row, [("user", "Grüße\n"), ("assistant", "")].into_iter()).unwrap();
        push_text(&mut row, "a").unwrap();
        let expected = json!({
            "messages": [{"role": "user", "content": "Grüße\n"}, {"role": "assistant", "content": ""}], "source": "a"
        });
        assert_eq!(Value::Object(object(&columns, &row).unwrap()), expected);
        for end in 0..row.len() {
            assert!(object(&columns, &row[..end]).is_err(), "{end}");
            assert!(batch(&columns, &crate::write::schema_of(&columns), &[&row[..end]]).is_err(), "{end}");
        }
    }
}
