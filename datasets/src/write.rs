//! Rows to disk: JSONL, and Parquet shards in the Hugging Face layout. Every file is whole or absent.

use crate::Error;
use crate::columns::{Columns, list};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use files::atomic::NewFile;
use files::checksum::Content;
use files::hash::sha256_of_file;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows in one row group.
pub(crate) const GROUP_ROWS: usize = 1000;
/// Rows in one shard by default.
pub const ROWS_PER_SHARD: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// A column; every column may contain nulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub kind: ColumnType,
}

/// The type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// A string.
    Text,
    /// A 64-bit integer.
    Integer,
    /// A 64-bit float.
    Float,
    /// True or false.
    Boolean,
    /// A list of strings.
    Texts,
    /// A list of `{role, content}`.
    Messages,
    /// The same with further fields, which are null where a message has none.
    MessagesWith(MessageFields),
}

/// Fields of messages beside `role` and `content`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessageFields {
    /// `reasoning_content`, a string.
    pub reasoning: bool,
    /// `logprobs`, in the shape of [`crate::logprobs`].
    pub logprobs: bool,
}

/// A file of rows that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shard {
    /// Its path.
    pub path: PathBuf,
    /// Its number of rows.
    pub rows: usize,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Shard {
    /// Its entry in a manifest: its path relative to the dataset's folder, rows, bytes and SHA-256.
    pub fn entry(&self, folder: &Path) -> Value {
        json!({"path": self.name(folder), "rows": self.rows, "bytes": self.bytes, "sha256": self.sha256})
    }

    /// Its path relative to the dataset's folder.
    fn name(&self, folder: &Path) -> String {
        self.path.strip_prefix(folder).unwrap_or(&self.path).to_string_lossy().into_owned()
    }
}

/// The contents of shards by their path relative to the dataset's folder, for the folder's manifest.
pub fn contents(folder: &Path, shards: &[Shard]) -> BTreeMap<String, Content> {
    let content =
        |shard: &Shard| Content { bytes: shard.bytes, checksum: format!("sha256:{}", shard.sha256) };
    shards.iter().map(|shard| (shard.name(folder), content(shard))).collect()
}

/// Writes one JSON object per line; returns the number of rows.
///
/// # Errors
/// Names the file, or returns the error of a row; no partial file remains.
pub fn write_jsonl<T: Serialize, E: From<Error>>(
    path: &Path,
    rows: impl IntoIterator<Item = Result<T, E>>,
) -> Result<usize, E> {
    let failed = |error: std::io::Error| Error::file("write", path, error);
    let mut file = NewFile::create(path).map_err(Error::from)?;
    let mut count = 0;
    for row in rows {
        serde_json::to_writer(&mut file, &row?).map_err(|error| failed(error.into()))?;
        file.write_all(b"\n").map_err(failed)?;
        count += 1;
    }
    file.commit().map_err(Error::from)?;
    Ok(count)
}

/// Writes `<folder>/<split>-00000-of-0000N.parquet` with at most `rows_per_shard` rows each. Rows are JSON objects with
/// the columns' names. A field without a column is an error, and so is a number of rows other than `total_rows`, which
/// the names of the shards contain.
///
/// # Errors
/// Names the file, or returns the error of a row. Shards appear once all of them are whole.
pub fn write_shards<E: From<Error>>(
    folder: &Path,
    split: &str,
    columns: &[Column],
    total_rows: usize,
    rows_per_shard: NonZeroUsize,
    rows: impl IntoIterator<Item = Result<Map<String, Value>, E>>,
) -> Result<Vec<Shard>, E> {
    write_schema(folder, split, &schema_of(columns), total_rows, rows_per_shard, rows)
}

/// The schema of columns.
pub(crate) fn schema_of(columns: &[Column]) -> Arc<Schema> {
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// As [`write_shards`], for columns that were inferred from the rows.
///
/// # Errors
/// Those of [`write_shards`].
pub fn write_inferred_shards<E: From<Error>>(
    folder: &Path,
    split: &str,
    columns: &Columns,
    total_rows: usize,
    rows_per_shard: NonZeroUsize,
    rows: impl IntoIterator<Item = Result<Map<String, Value>, E>>,
) -> Result<Vec<Shard>, E> {
    let rows = rows.into_iter().map(|row| row.map(|row| columns.fit(row)));
    write_schema(folder, split, &Arc::new(columns.schema()), total_rows, rows_per_shard, rows)
}

fn write_schema<E: From<Error>>(
    folder: &Path,
    split: &str,
    schema: &Arc<Schema>,
    total_rows: usize,
    rows_per_shard: NonZeroUsize,
    rows: impl IntoIterator<Item = Result<Map<String, Value>, E>>,
) -> Result<Vec<Shard>, E> {
    std::fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
    let count = total_rows.div_ceil(rows_per_shard.get()).max(1);
    let mut rows = rows.into_iter();
    let mut written = Vec::new();
    for index in 0..count {
        let path = folder.join(shard_name(split, index, count, "parquet"));
        let (file, in_shard) = write_shard(&path, schema.clone(), rows.by_ref().take(rows_per_shard.get()))?;
        written.push((file, path, in_shard));
    }
    let received = written.iter().map(|(_, _, rows)| rows).sum::<usize>() + rows.count();
    if received != total_rows {
        let reason = format!("{received} rows came where {total_rows} were announced");
        return Err(Error::NotData { path: folder.to_owned(), reason }.into());
    }
    Ok(finish_shards(written)?)
}

/// The name of a shard.
pub(crate) fn shard_name(split: &str, index: usize, count: usize, extension: &str) -> String {
    format!("{split}-{index:05}-of-{count:05}.{extension}")
}

/// Gives the shards their names, once all of them are whole.
pub(crate) fn finish_shards(written: Vec<(NewFile, PathBuf, usize)>) -> Result<Vec<Shard>, Error> {
    let sealed = written.into_iter().map(|(file, path, rows)| SealedShard::seal(file, path, rows));
    name_shards(sealed.collect::<Result<_, _>>()?)
}

/// A shard that is on the disk, only without its name.
pub(crate) struct SealedShard {
    file: NewFile,
    shard: Shard,
}

impl SealedShard {
    /// Syncs a shard and reads it again for its checksum.
    pub(crate) fn seal(mut file: NewFile, path: PathBuf, rows: usize) -> Result<Self, Error> {
        file.sync()?;
        let (sha256, bytes) = (sha256_of_file(file.temporary_path())?, size(file.temporary_path())?);
        Ok(Self { file, shard: Shard { path, rows, bytes, sha256 } })
    }
}

/// Gives sealed shards their names.
pub(crate) fn name_shards(sealed: Vec<SealedShard>) -> Result<Vec<Shard>, Error> {
    let name = |SealedShard { file, shard }: SealedShard| -> Result<Shard, Error> {
        file.commit()?;
        Ok(shard)
    };
    sealed.into_iter().map(name).collect()
}

/// A shard that is being written.
pub(crate) struct NewShard {
    path: PathBuf,
    writer: ArrowWriter<NewFile>,
}

impl NewShard {
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.writer.write(batch).map_err(|error| cannot_write(&self.path, error.to_string()))
    }

    /// The writer of whole row groups, and what encodes them.
    pub(crate) fn serialized(
        self,
    ) -> Result<(SerializedFileWriter<NewFile>, ArrowRowGroupWriterFactory), Error> {
        let Self { path, writer } = self;
        writer.into_serialized_writer().map_err(|error| cannot_write(&path, error.to_string()))
    }

    pub(crate) fn finish(self) -> Result<NewFile, Error> {
        let Self { path, writer } = self;
        writer.into_inner().map_err(|error| cannot_write(&path, error.to_string()))
    }
}

/// Starts a shard.
pub(crate) fn new_shard(path: &Path, schema: Arc<Schema>) -> Result<NewShard, Error> {
    let level = ZstdLevel::try_new(3).map_err(|error| cannot_write(path, error.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let file = NewFile::create(path)?;
    let writer = ArrowWriter::try_new(file, schema, Some(properties))
        .map_err(|error| cannot_write(path, error.to_string()))?;
    Ok(NewShard { path: path.to_owned(), writer })
}

pub(crate) fn cannot_write(path: &Path, reason: String) -> Error {
    Error::file("write", path, std::io::Error::other(reason))
}

fn write_shard<E: From<Error>>(
    path: &Path,
    schema: Arc<Schema>,
    rows: impl Iterator<Item = Result<Map<String, Value>, E>>,
) -> Result<(NewFile, usize), E> {
    let failed = |reason: String| cannot_write(path, reason);
    let mut writer = new_shard(path, schema.clone()).map_err(E::from)?;
    let mut decoder = arrow::json::ReaderBuilder::new(schema)
        .with_strict_mode(true)
        .with_batch_size(GROUP_ROWS)
        .build_decoder()
        .map_err(|error| failed(error.to_string()))?;
    let mut flush = |decoder: &mut arrow::json::reader::Decoder| -> Result<(), Error> {
        if let Some(batch) = decoder.flush().map_err(|error| failed(error.to_string()))? {
            writer.write(&batch)?;
        }
        Ok(())
    };
    let mut count = 0;
    for row in rows {
        decoder.serialize(&[row?]).map_err(|error| failed(error.to_string()))?;
        count += 1;
        if count % GROUP_ROWS == 0 {
            flush(&mut decoder)?;
        }
    }
    flush(&mut decoder)?;
    Ok((writer.finish()?, count))
}

fn field(column: &Column) -> Field {
    let data_type = match column.kind {
        ColumnType::Text => DataType::Utf8,
        ColumnType::Integer => DataType::Int64,
        ColumnType::Float => DataType::Float64,
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Texts => list(DataType::Utf8),
        ColumnType::Messages => list(message(MessageFields::default())),
        ColumnType::MessagesWith(more) => list(message(more)),
    };
    Field::new(&column.name, data_type, true)
}

fn message(more: MessageFields) -> DataType {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let mut fields = vec![text("role"), text("content")];
    fields.extend(more.reasoning.then(|| text("reasoning_content")));
    if more.logprobs {
        let bytes = Field::new("bytes", list(DataType::UInt8), true);
        let token = vec![text("token"), Field::new("logprob", DataType::Float64, true), bytes];
        let mut position = token.clone();
        position.push(Field::new("top_logprobs", list(DataType::Struct(token.into())), true));
        fields.push(Field::new("logprobs", list(DataType::Struct(position.into())), true));
    }
    DataType::Struct(fields.into())
}

fn size(path: &Path) -> Result<u64, Error> {
    Ok(std::fs::metadata(path).map_err(|error| Error::file("read", path, error))?.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::read_raw;

    #[test]
    fn inferred_columns_are_read_back_as_they_were() {
        let rows = [
            json!({"instruction": "a", "output": "b", "n": 1, "deep": {"x": [1, 2]}, "odd": {"k": 1}, "none": null}),
            json!({"instruction": "c", "output": "d", "n": 2.5, "deep": {"y": true}, "odd": "text", "empty": {}}),
        ];
        let rows: Vec<Map<String, Value>> = rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
        let mut columns = Columns::default();
        rows.iter().for_each(|row| columns.add(row));
        assert_eq!(columns.as_json(), ["odd", "empty"]);
        let folder = tempfile::tempdir().unwrap();
        let one = NonZeroUsize::new(1).unwrap();
        let given = rows.into_iter().map(Ok::<_, Error>);
        let shards = write_inferred_shards(folder.path(), "train", &columns, 2, one, given).unwrap();
        assert_eq!(shards.len(), 2);
        let back: Vec<Value> =
            read_raw(folder.path()).unwrap().map(|row| row.unwrap().object.into()).collect();
        let first =
            json!({"instruction": "a", "output": "b", "n": 1.0, "deep": {"x": [1, 2]}, "odd": "{\"k\":1}"});
        let second = json!({"instruction": "c", "output": "d", "n": 2.5, "deep": {"y": true}, "odd": "\"text\"", "empty": "{}"});
        assert_eq!(back, [first, second]);
    }
}
