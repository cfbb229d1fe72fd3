//! A batch of Arrow rows as JSON objects. Times with the name of a time zone become times in UTC: the name needs a table of
//! zones, the instant does not.

use arrow::array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, OffsetSizeTrait, RecordBatch, StructArray,
    make_array,
};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The rows of a batch.
///
/// # Errors
/// When a column has a type that JSON cannot show.
pub(super) fn objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, String> {
    let text = |error: arrow::error::ArrowError| error.to_string();
    let batch = in_utc(batch).map_err(text)?;
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write(&batch).and_then(|()| writer.finish()).map_err(text)?;
    serde_json::from_slice(&writer.into_inner()).map_err(|error| error.to_string())
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
