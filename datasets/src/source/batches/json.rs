//! A batch of Arrow rows as JSON objects. Times with the name of a time zone become times in UTC: the name needs a table of
//! zones, the instant does not.

use crate::limits::RowLimits;
use arrow::array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, OffsetSizeTrait, RecordBatch, StructArray,
    make_array,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Why rows are no JSON.
pub(super) enum Fault {
    /// Their text has more bytes than one row may have.
    TooLarge,
    /// A column has a type that JSON cannot show.
    Other(String),
}

/// The rows of a batch, whose text has at most `limit` bytes.
///
/// # Errors
/// When they have more, or a column has a type that JSON cannot show.
pub(super) fn objects(batch: &RecordBatch, limit: usize) -> Result<Vec<Map<String, Value>>, Fault> {
    let text = |error: arrow::error::ArrowError| Fault::Other(error.to_string());
    let batch = in_utc(batch).map_err(text)?;
    let mut writer = arrow::json::ArrayWriter::new(Bounded { text: Vec::new(), limit, is_full: false });
    let written = writer.write(&batch).and_then(|()| writer.finish());
    let Bounded { text: json, is_full, .. } = writer.into_inner();
    if is_full {
        return Err(Fault::TooLarge);
    }
    written.map_err(text)?;
    RowLimits::check_text(&json).map_err(|_| Fault::TooLarge)?;
    serde_json::from_slice(&json).map_err(|error| Fault::Other(error.to_string()))
}

/// A text that refuses to grow beyond its limit.
struct Bounded {
    text: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.limit {
            self.is_full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn in_utc(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    if !batch.schema().fields().iter().any(|field| has_zone(field.data_type())) {
        return Ok(batch.clone());
    }
    let columns: Vec<ArrayRef> = batch.columns().iter().map(without_zone).collect::<Result<_, _>>()?;
    let fields = batch
        .schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| retyped(field, column))
        .collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn has_zone(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, zone) => zone.as_ref().is_some_and(|zone| !zone.starts_with(['+', '-'])),
        DataType::Struct(fields) => fields.iter().any(|field| has_zone(field.data_type())),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            has_zone(item.data_type())
        }
        _ => false,
    }
}

fn retyped(field: &FieldRef, column: &ArrayRef) -> FieldRef {
    Arc::new(Field::new(field.name(), column.data_type().clone(), true))
}

fn without_zone(column: &ArrayRef) -> Result<ArrayRef, arrow::error::ArrowError> {
    match column.data_type() {
        data_type if !has_zone(data_type) => Ok(column.clone()),
        DataType::Timestamp(unit, _) => {
            let data_type = DataType::Timestamp(*unit, Some("+00:00".into()));
            Ok(make_array(column.to_data().into_builder().data_type(data_type).build()?))
        }
        DataType::Struct(fields) => {
            let Some(array) = column.as_any().downcast_ref::<StructArray>() else {
                return Ok(column.clone());
            };
            let columns: Vec<ArrayRef> =
                array.columns().iter().map(without_zone).collect::<Result<_, _>>()?;
            let fields = fields.iter().zip(&columns).map(|(field, column)| retyped(field, column)).collect();
            Ok(Arc::new(StructArray::try_new(fields, columns, array.nulls().cloned())?))
        }
        DataType::List(item) => list::<i32>(column, item),
        DataType::LargeList(item) => list::<i64>(column, item),
        DataType::FixedSizeList(item, size) => {
            let Some(array) = column.as_any().downcast_ref::<FixedSizeListArray>() else {
                return Ok(column.clone());
            };
            let values = without_zone(array.values())?;
            Ok(Arc::new(FixedSizeListArray::try_new(
                retyped(item, &values),
                *size,
                values,
                array.nulls().cloned(),
            )?))
        }
        _ => Ok(column.clone()),
    }
}

fn list<O: OffsetSizeTrait>(
    column: &ArrayRef,
    item: &FieldRef,
) -> Result<ArrayRef, arrow::error::ArrowError> {
    let Some(array) = column.as_any().downcast_ref::<GenericListArray<O>>() else {
        return Ok(column.clone());
    };
    let values = without_zone(array.values())?;
    let item = retyped(item, &values);
    Ok(Arc::new(GenericListArray::try_new(item, array.offsets().clone(), values, array.nulls().cloned())?))
}
