//! Rows of Parquet and Arrow files to Parquet shards with every column as it is: bytes stay bytes, NaN stays NaN, and
//! dictionaries, times and half floats keep their types. JSON, through which other rows go, has none of these.

use crate::Error;
use crate::limits::RowLimits;
use crate::options::ReadOptions;
use crate::source::batches::{Batches, open};
use crate::source::{Format, data_files};
use crate::write::{Shard, finish_shards, new_shard, shard_name};
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use files::fenced;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The data files of a path that share one schema, and the schema.
#[derive(Debug)]
pub struct UnchangedFiles {
    files: Vec<PathBuf>,
    schema: SchemaRef,
    limits: RowLimits,
}

/// Whether values have bytes in them that are no text.
fn has_bytes(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            true
        }
        DataType::Struct(fields) => fields.iter().any(|field| has_bytes(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_bytes(item.data_type()),
        DataType::Dictionary(_, values) => has_bytes(values),
        _ => false,
    }
}

impl UnchangedFiles {
    /// The files that the options select, if all are Parquet or Arrow and have the same columns; `None` for any other data.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn find(path: &Path, options: &ReadOptions) -> Result<Option<Self>, Error> {
        let files = data_files(path, options.choice())?;
        let mut first: Option<SchemaRef> = None;
        for file in &files {
            let Some(is_arrow) = is_arrow(file) else { return Ok(None) };
            let (schema, _) = open(file, is_arrow, options.limits)?;
            match &first {
                Some(first) if first.fields() != schema.fields() => return Ok(None),
                Some(_) => {}
                None => first = Some(schema),
            }
        }
        // What a type of Arrow's does not say of a column's use (an image) is in the metadata.
        let schema = first.map(|schema| {
            Arc::new(Schema::new_with_metadata(schema.fields().clone(), schema.metadata().clone()))
        });
        Ok(schema.map(|schema| Self { files, schema, limits: options.limits }))
    }

    /// A column of bytes in one of the files, which JSON has no type for: the file and the name of the column.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn column_of_bytes(path: &Path, options: &ReadOptions) -> Result<Option<(PathBuf, String)>, Error> {
        for file in data_files(path, options.choice())? {
            let Some(is_arrow) = is_arrow(&file) else { continue };
            let (schema, _) = open(&file, is_arrow, options.limits)?;
            let mut fields = schema.fields().iter();
            if let Some(field) = fields.find(|field| has_bytes(field.data_type())) {
                return Ok(Some((file, field.name().clone())));
            }
        }
        Ok(None)
    }

    /// Writes the rows that `keeps` selects by file and number, as [`crate::write::write_shards`] writes them.
    ///
    /// # Errors
    /// Names the file that cannot be read or written; when another number of rows than `total_rows` was kept.
    pub fn write(
        &self,
        folder: &Path,
        split: &str,
        total_rows: usize,
        rows_per_shard: NonZeroUsize,
        mut keeps: impl FnMut(&Path, usize) -> bool,
    ) -> Result<Vec<Shard>, Error> {
        std::fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
        let count = total_rows.div_ceil(rows_per_shard.get()).max(1);
        let path = |index: usize| folder.join(shard_name(split, index, count, "parquet"));
        let (mut written, mut received) = (Vec::new(), 0);
        let mut writer = new_shard(&path(0), self.schema.clone())?;
        let mut in_shard = 0;
        for file in &self.files {
            let (_, batches) = open(file, is_arrow(file).unwrap_or_default(), self.limits)?;
            let mut number = 0;
            for batch in fenced_batches(file, batches) {
                let batch = batch?;
                let kept: BooleanArray =
                    (1..=batch.num_rows()).map(|row| Some(keeps(file, number + row))).collect();
                number += batch.num_rows();
                let mut batch =
                    filter_record_batch(&batch, &kept).map_err(|error| failed(file, &error.to_string()))?;
                received += batch.num_rows();
                while batch.num_rows() > 0 {
                    if in_shard == rows_per_shard.get() && written.len() + 1 < count {
                        let next = path(written.len() + 1);
                        let full = std::mem::replace(&mut writer, new_shard(&next, self.schema.clone())?);
                        written.push((full.finish()?, path(written.len()), in_shard));
                        in_shard = 0;
                    }
                    let rows = batch.num_rows().min((rows_per_shard.get() - in_shard).max(1));
                    writer.write(&batch.slice(0, rows))?;
                    batch = batch.slice(rows, batch.num_rows() - rows);
                    in_shard += rows;
                }
            }
        }
        if received != total_rows {
            let reason = format!("{received} rows came where {total_rows} were announced");
            return Err(Error::NotData { path: folder.to_owned(), reason });
        }
        written.push((writer.finish()?, path(written.len()), in_shard));
        finish_shards(written)
    }
}

/// Whether a file is Arrow and not Parquet; `None` for what is neither.
fn is_arrow(file: &Path) -> Option<bool> {
    match Format::of(file) {
        Some(Format::Arrow) => Some(true),
        Some(Format::Parquet) => Some(false),
        _ => None,
    }
}

fn failed(file: &Path, reason: &str) -> Error {
    Error::NotData { path: file.to_owned(), reason: reason.to_owned() }
}

/// The batches of a file; the library panics on some damaged files.
fn fenced_batches(file: &Path, batches: Batches) -> impl Iterator<Item = Result<RecordBatch, Error>> {
    let (mut batches, file) = (Some(batches), file.to_owned());
    std::iter::from_fn(move || {
        let mut open = batches.take()?;
        match fenced(move || open.next().map(|batch| (batch, open))) {
            Ok(None) => None,
            Ok(Some((batch, open))) => {
                batches = Some(open);
                Some(batch.map_err(|error| failed(&file, &error.to_string())))
            }
            Err(panic) => Some(Err(failed(&file, &panic))),
        }
    })
}
