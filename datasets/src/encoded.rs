//! Rows to Parquet shards, their row groups encoded on all cores: the bytes are those of [`crate::write::write_shards`],
//! whatever the number of threads.

use crate::Error;
use crate::ahead::ahead;
use crate::columns::Columns;
use crate::write::{
    Column, GROUP_ROWS, Shard, cannot_write, finish_shards, new_shard, schema_of, shard_name,
};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::json::reader::Decoder;
use files::atomic::NewFile;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::file::writer::SerializedFileWriter;
use serde_json::{Map, Value};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of one row group.
struct Group<R> {
    shard: usize,
    rows: Vec<R>,
}

/// A row group that was encoded.
struct Encoded {
    shard: usize,
    rows: usize,
    columns: Vec<ArrowColumnChunk>,
}

/// Divides rows into the groups of shards.
struct Groups<I> {
    rows: I,
    rows_per_shard: usize,
    /// Rows that were taken.
    taken: usize,
}

impl<R, E, I: Iterator<Item = Result<R, E>>> Iterator for Groups<I> {
    type Item = Result<Group<R>, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let (shard, in_shard) = (self.taken / self.rows_per_shard, self.taken % self.rows_per_shard);
        let limit = GROUP_ROWS.min(self.rows_per_shard - in_shard);
        let rows: Result<Vec<R>, E> = self.rows.by_ref().take(limit).collect();
        match rows {
            Ok(rows) if rows.is_empty() => None,
            Ok(rows) => {
                self.taken += rows.len();
                Some(Ok(Group { shard, rows }))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// As [`crate::write::write_shards`], of rows that are JSON texts.
///
/// # Errors
/// Those of [`crate::write::write_shards`].
pub fn write_json_shards<E: From<Error> + Send + 'static>(
    folder: &Path,
    split: &str,
    columns: &[Column],
    total_rows: usize,
    rows_per_shard: NonZeroUsize,
    rows: impl Iterator<Item = Result<Vec<u8>, E>> + Send + 'static,
) -> Result<Vec<Shard>, E> {
    let feed = |decoder: &mut Decoder, rows: Vec<Vec<u8>>| {
        rows.iter().try_for_each(|row| decoder.decode(row).map(drop))
    };
    write_groups(folder, split, schema_of(columns), (total_rows, rows_per_shard), rows, feed)
}

/// As [`crate::write::write_inferred_shards`], on all cores.
///
/// # Errors
/// Those of [`crate::write::write_shards`].
pub fn write_inferred_shards<E: From<Error> + Send + 'static>(
    folder: &Path,
    split: &str,
    columns: Arc<Columns>,
    total_rows: usize,
    rows_per_shard: NonZeroUsize,
    rows: impl Iterator<Item = Result<Map<String, Value>, E>> + Send + 'static,
) -> Result<Vec<Shard>, E> {
    let schema = Arc::new(columns.schema());
    let feed = move |decoder: &mut Decoder, rows: Vec<Map<String, Value>>| {
        let rows: Vec<Map<String, Value>> = rows.into_iter().map(|row| columns.fit(row)).collect();
        decoder.serialize(&rows)
    };
    write_groups(folder, split, schema, (total_rows, rows_per_shard), rows, feed)
}

/// Writes rows that `feed` gives to a decoder.
fn write_groups<R: Send + 'static, E: From<Error> + Send + 'static>(
    folder: &Path,
    split: &str,
    schema: Arc<Schema>,
    (total_rows, rows_per_shard): (usize, NonZeroUsize),
    rows: impl Iterator<Item = Result<R, E>> + Send + 'static,
    feed: impl Fn(&mut Decoder, Vec<R>) -> Result<(), ArrowError> + Send + Sync + 'static,
) -> Result<Vec<Shard>, E> {
    std::fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
    let count = total_rows.div_ceil(rows_per_shard.get()).max(1);
    let path = |index: usize| folder.join(shard_name(split, index, count, "parquet"));
    let factory = new_shard(&path(0), schema.clone()).and_then(|shard| shard.serialized())?.1;
    let groups = Groups { rows, rows_per_shard: rows_per_shard.get(), taken: 0 };
    let (of_groups, named) = (schema.clone(), folder.to_owned());
    let encode = move |group: Result<Group<R>, E>| -> Result<Encoded, E> {
        encode(group?, &of_groups, &factory, &named, &feed)
    };
    let encoded = ahead(groups, encode);
    let mut writer = Writer { schema, shards: Vec::new(), open: None };
    writer.start(path(0))?;
    let (mut received, mut current) = (0, 0);
    for group in encoded {
        let group = group?;
        received += group.rows;
        if group.shard >= count {
            continue;
        }
        if group.shard > current {
            writer.finish()?;
            current = group.shard;
            writer.start(path(current))?;
        }
        writer.append(group)?;
    }
    if received != total_rows {
        let reason = format!("{received} rows came where {total_rows} were announced");
        return Err(Error::NotData { path: folder.to_owned(), reason }.into());
    }
    writer.finish()?;
    Ok(finish_shards(writer.shards)?)
}

/// The columns of a group.
fn encode<R, E: From<Error>>(
    group: Group<R>,
    schema: &Arc<Schema>,
    factory: &ArrowRowGroupWriterFactory,
    folder: &Path,
    feed: impl Fn(&mut Decoder, Vec<R>) -> Result<(), ArrowError>,
) -> Result<Encoded, E> {
    let Group { shard, rows } = group;
    let count = rows.len();
    let failed = |error: &dyn std::fmt::Display| cannot_write(folder, error.to_string());
    let mut decoder = arrow::json::ReaderBuilder::new(schema.clone())
        .with_strict_mode(true)
        .with_batch_size(GROUP_ROWS)
        .build_decoder()
        .map_err(|error| failed(&error))?;
    feed(&mut decoder, rows).map_err(|error| failed(&error))?;
    let batch = decoder.flush().map_err(|error| failed(&error))?;
    let batch = batch.unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
    if batch.num_rows() != count {
        let reason = format!("{count} rows are {} JSON objects", batch.num_rows());
        return Err(failed(&reason).into());
    }
    let mut writers = factory.create_column_writers(0).map_err(|error| failed(&error))?;
    let mut next = writers.iter_mut();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        for leaf in compute_leaves(field, column).map_err(|error| failed(&error))? {
            let writer = next.next().ok_or_else(|| failed(&"a column has no writer"))?;
            writer.write(&leaf).map_err(|error| failed(&error))?;
        }
    }
    let columns = writers.into_iter().map(|writer| writer.close().map_err(|error| failed(&error)));
    Ok(Encoded { shard, rows: count, columns: columns.collect::<Result<_, _>>()? })
}

/// The shards that are written.
struct Writer {
    schema: Arc<Schema>,
    shards: Vec<(NewFile, PathBuf, usize)>,
    /// The shard that is being written, with its rows.
    open: Option<(SerializedFileWriter<NewFile>, PathBuf, usize)>,
}

impl Writer {
    fn start(&mut self, path: PathBuf) -> Result<(), Error> {
        let (file, _) = new_shard(&path, self.schema.clone())?.serialized()?;
        self.open = Some((file, path, 0));
        Ok(())
    }

    fn append(&mut self, group: Encoded) -> Result<(), Error> {
        let Some((file, path, rows)) = &mut self.open else { return Ok(()) };
        let append = || {
            let mut writer = file.next_row_group()?;
            group.columns.into_iter().try_for_each(|column| column.append_to_row_group(&mut writer))?;
            writer.close().map(drop)
        };
        append().map_err(|error: parquet::errors::ParquetError| cannot_write(path, error.to_string()))?;
        *rows += group.rows;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some((file, path, rows)) = self.open.take() else { return Ok(()) };
        let file = file.into_inner().map_err(|error| cannot_write(&path, error.to_string()))?;
        self.shards.push((file, path, rows));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::write::{ColumnType, write_shards};
    use serde_json::json;

    #[test]
    fn the_bytes_are_those_of_one_thread() {
        let columns = [("messages", ColumnType::Messages), ("source", ColumnType::Text)];
        let columns = columns.map(|(name, kind)| Column { name: name.to_owned(), kind });
        let row = |index: usize| {
            let turn = |role: &str| json!({"role": role, "content": format!("{index} \u{1f600}\n\"é\" {role}").repeat(index % 50)});
            json!({"messages": [turn("user"), turn("assistant")], "source": if index.is_multiple_of(7) { Value::Null } else { "a".into() }})
        };
        for (rows, per_shard) in [(0, 10), (1, 10), (5300, 2500), (3000, 1000)] {
            let (one, all) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let per_shard = NonZeroUsize::new(per_shard).unwrap();
            let objects = (0..rows)
                .map(|index| Ok::<Map<String, Value>, Error>(row(index).as_object().unwrap().clone()));
            let expected = write_shards(one.path(), "train", &columns, rows, per_shard, objects).unwrap();
            let texts = (0..rows).map(move |index| Ok::<_, Error>(row(index).to_string().into_bytes()));
            let shards = write_json_shards(all.path(), "train", &columns, rows, per_shard, texts).unwrap();
            let mut inferred = Columns::default();
            inferred.add(row(1).as_object().unwrap());
            let objects = (0..rows).map(move |index| Ok::<_, Error>(row(index).as_object().unwrap().clone()));
            let again = tempfile::tempdir().unwrap();
            let again =
                write_inferred_shards(again.path(), "train", inferred.into(), rows, per_shard, objects)
                    .unwrap();
            assert_eq!(again.iter().map(|shard| shard.rows).sum::<usize>(), rows);
            assert_eq!(shards.len(), expected.len());
            for (shard, expected) in shards.iter().zip(&expected) {
                assert_eq!((shard.rows, &shard.sha256), (expected.rows, &expected.sha256));
                assert_eq!(shard.path.file_name(), expected.path.file_name());
            }
        }
    }

    #[test]
    fn other_rows_than_announced_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let columns = [Column { name: "text".to_owned(), kind: ColumnType::Text }];
        for (texts, expected) in [
            (vec!["{\"text\": \"a\"}"; 3], "3 rows came where 2 were announced"),
            (vec!["{\"text\": \"a\"}", "{\"other\": \"a\"}"], "other"),
            (vec!["{\"text\": \"a\"} {\"text\": \"b\"}", "{\"text\": \"c\"}"], "2 rows are 3 JSON objects"),
        ] {
            let rows = texts.into_iter().map(|text| Ok::<_, Error>(text.as_bytes().to_vec()));
            let two = NonZeroUsize::new(2).unwrap();
            let error = write_json_shards(folder.path(), "train", &columns, 2, two, rows).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!folder.path().join("train-00000-of-00001.parquet").exists());
        }
    }
}
