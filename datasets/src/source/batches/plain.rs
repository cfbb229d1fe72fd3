//! Plain conversations of a batch, taken from its columns as they are.

use super::json;
use super::pages::BATCH;
use crate::packed::push_text;
use crate::plain::{Beside, MAX_BYTES, MESSAGES, Plain, is_plain_column, is_plain_role};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, LargeStringArray, ListArray, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The most bytes of JSON that the columns beside the messages of one batch may have.
const MAX_BESIDE: usize = 64 << 20;

/// The columns of files whose rows may be plain conversations.
pub(super) struct PlainColumns {
    messages: usize,
    source: Option<usize>,
    id: Option<usize>,
    /// All other texts: only their sizes matter.
    texts: Vec<usize>,
}

impl PlainColumns {
    /// Those of a schema; `None` where a column is none that a plain conversation has, or of a type that JSON may not show.
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        let mut columns = Self { messages: 0, source: None, id: None, texts: Vec::new() };
        let mut has_messages = false;
        for (index, field) in schema.fields().iter().enumerate() {
            let is_text = is_text(field.data_type());
            match field.name().as_str() {
                "messages" if is_messages(field.data_type()) && !has_messages => {
                    (columns.messages, has_messages) = (index, true);
                }
                "source" if is_text && columns.source.is_none() => columns.source = Some(index),
                "id" if columns.id.is_none() && (is_text || field.data_type().is_integer()) => {
                    columns.id = Some(index);
                }
                "messages" | "source" | "id" => return None,
                name if is_plain_column(name) && is_text => columns.texts.push(index),
                name if is_plain_column(name) && is_small(field.data_type()) => {}
                _ => return None,
            }
        }
        has_messages.then_some(columns)
    }

    /// The plain conversations of a batch; `None` for rows that are anything else.
    pub(super) fn rows(&self, batch: &RecordBatch, beside: Beside) -> Option<Vec<Option<Plain>>> {
        let mut columns = match beside {
            Beside::Kept => self.columns(batch)?,
            Beside::Named => Vec::new(),
        };
        let text = |index: usize| cast(batch.column(index), &DataType::Utf8).ok();
        let messages = cast(batch.column(self.messages), &messages_type()).ok()?;
        let messages = messages.as_list_opt::<i32>()?;
        let source = match self.source {
            Some(index) => Some(text(index)?),
            None => None,
        };
        let id = match self.id {
            Some(index) => Some(text(index)?),
            None => None,
        };
        let others: Vec<&ArrayRef> = self.texts.iter().map(|index| batch.column(*index)).collect();
        let value = |column: &Option<ArrayRef>, row: usize| {
            let column = column.as_ref()?.as_string_opt::<i32>()?;
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let mut row = |row: usize| {
            let texts = others.iter().copied().chain(&source).chain(&id);
            let (messages, count) =
                packed_messages(messages, row, texts.map(|column| text_bytes(column, row)).sum())?;
            Some(match beside {
                Beside::Kept => Plain {
                    messages,
                    count,
                    columns: std::mem::take(columns.get_mut(row)?),
                    ..Plain::default()
                },
                Beside::Named => Plain {
                    messages,
                    count,
                    source: value(&source, row),
                    id: value(&id, row),
                    ..Plain::default()
                },
            })
        };
        Some((0..batch.num_rows().min(BATCH)).map(&mut row).collect())
    }

    /// The columns beside the messages of each row.
    fn columns(&self, batch: &RecordBatch) -> Option<Vec<Map<String, Value>>> {
        // It holds the messages' place until the last column takes that, as in other rows.
        let place: ArrayRef = Arc::new(BooleanArray::from(vec![true; batch.num_rows()]));
        let schema = batch.schema();
        let field = |(index, field): (usize, &Arc<Field>)| match index == self.messages {
            true => Arc::new(Field::new(MESSAGES, DataType::Boolean, true)),
            false => field.clone(),
        };
        let fields: Vec<Arc<Field>> = schema.fields().iter().enumerate().map(field).collect();
        let mut columns = batch.columns().to_vec();
        columns[self.messages] = place;
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).ok()?;
        let mut rows = json::objects(&batch, MAX_BESIDE).ok()?;
        for row in &mut rows {
            row.remove(MESSAGES);
        }
        Some(rows)
    }
}

/// The messages of a row; `None` where they are not those of a plain conversation of usual size.
fn packed_messages(messages: &ListArray, row: usize, mut bytes: usize) -> Option<(Vec<u8>, usize)> {
    if messages.is_null(row) {
        return None;
    }
    let turns = messages.values().as_struct_opt()?;
    let (roles, contents) =
        (turns.column(0).as_string_opt::<i32>()?, turns.column(1).as_string_opt::<i32>()?);
    let (start, end) = (messages.value_offsets()[row] as usize, messages.value_offsets()[row + 1] as usize);
    if start == end {
        return None;
    }
    for turn in start..end {
        let is_whole = turns.is_valid(turn) && roles.is_valid(turn) && contents.is_valid(turn);
        if !is_whole || !is_plain_role(roles.value(turn)) {
            return None;
        }
        bytes += roles.value_length(turn) as usize + contents.value_length(turn) as usize;
        if bytes > MAX_BYTES {
            return None;
        }
    }
    let mut packed = Vec::with_capacity(bytes + 8 * (end - start) + 64);
    packed.extend(u32::try_from(end - start).ok()?.to_le_bytes());
    for turn in start..end {
        push_text(&mut packed, roles.value(turn)).ok()?;
        push_text(&mut packed, contents.value(turn)).ok()?;
    }
    Some((packed, end - start))
}

/// The bytes of a text.
fn text_bytes(column: &ArrayRef, row: usize) -> usize {
    let text = column.as_any().downcast_ref::<StringArray>().map(|texts| texts.value_length(row) as usize);
    let large =
        column.as_any().downcast_ref::<LargeStringArray>().map(|texts| texts.value_length(row) as usize);
    text.or(large).unwrap_or(MAX_BYTES + 1)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8)
}

/// Whether values are numbers or truth values.
fn is_small(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(data_type, DataType::Null | DataType::Boolean | DataType::Float32 | DataType::Float64)
}

/// Whether values are lists of roles and contents.
fn is_messages(data_type: &DataType) -> bool {
    let (DataType::List(item) | DataType::LargeList(item)) = data_type else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    let is = |index: usize, name: &str| fields[index].name() == name && is_text(fields[index].data_type());
    fields.len() == 2 && is(0, "role") && is(1, "content")
}

/// The type to which all of these are converted.
fn messages_type() -> DataType {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let message = DataType::Struct(vec![text("role"), text("content")].into());
    DataType::List(Arc::new(Field::new("item", message, true)))
}
