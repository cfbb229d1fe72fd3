//! Rows to Parquet shards, their row groups encoded on all cores: the bytes are those of [`crate::write::write_shards`],
//! whatever the number of threads.

use crate::Error;
use crate::ahead::ahead;
use crate::columns::Columns;
use crate::packed;
use crate::write::{
    Column, GROUP_ROWS, SealedShard, Shard, cannot_write, name_shards, new_shard, schema_of, shard_name,
};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use files::atomic::NewFile;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use serde_json::{Map, Value};
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

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

/// As [`crate::write::write_shards`], of packed rows.
///
/// # Errors
/// Those of [`crate::write::write_shards`].
pub fn write_packed_shards<R: AsRef<[u8]> + Send + 'static, E: From<Error> + Send + 'static>(
    folder: &Path,
    split: &str,
    columns: &[Column],
    total_rows: usize,
    rows_per_shard: NonZeroUsize,
    rows: impl Iterator<Item = Result<R, E>> + Send + 'static,
) -> Result<Vec<Shard>, E> {
    let (schema, columns) = (schema_of(columns), columns.to_vec());
    let of_batches = schema.clone();
    let batch = move |rows: Vec<R>| packed::batch(&columns, &of_batches, &rows);
    write_groups(folder, split, schema, (total_rows, rows_per_shard), rows, batch)
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
    let of_batches = schema.clone();
    let batch = move |rows: Vec<Map<String, Value>>| {
        let rows: Vec<Map<String, Value>> = rows.into_iter().map(|row| columns.fit(row)).collect();
        decoded(&of_batches, &rows).map_err(|error| error.to_string())
    };
    write_groups(folder, split, schema, (total_rows, rows_per_shard), rows, batch)
}

/// Objects as a batch.
fn decoded(schema: &Arc<Schema>, rows: &[Map<String, Value>]) -> Result<RecordBatch, ArrowError> {
    let mut decoder = arrow::json::ReaderBuilder::new(schema.clone())
        .with_strict_mode(true)
        .with_batch_size(GROUP_ROWS)
        .build_decoder()?;
    decoder.serialize(rows)?;
    Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(schema.clone())))
}

/// Writes rows that `batch` makes batches of.
fn write_groups<R: Send + 'static, E: From<Error> + Send + 'static>(
    folder: &Path,
    split: &str,
    schema: Arc<Schema>,
    (total_rows, rows_per_shard): (usize, NonZeroUsize),
    rows: impl Iterator<Item = Result<R, E>> + Send + 'static,
    batch: impl Fn(Vec<R>) -> Result<RecordBatch, String> + Send + Sync + 'static,
) -> Result<Vec<Shard>, E> {
    std::fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
    let count = total_rows.div_ceil(rows_per_shard.get()).max(1);
    let path = |index: usize| folder.join(shard_name(split, index, count, "parquet"));
    let factory = new_shard(&path(0), schema.clone()).and_then(|shard| shard.serialized())?.1;
    let groups = Groups { rows, rows_per_shard: rows_per_shard.get(), taken: 0 };
    let (of_groups, named) = (schema.clone(), folder.to_owned());
    let encode = move |group: Result<Group<R>, E>| -> Result<Encoded, E> {
        let Group { shard, rows } = group?;
        let count = rows.len();
        let failed = |reason: String| cannot_write(&named, reason);
        let batch = batch(rows).map_err(failed)?;
        if batch.num_rows() != count {
            return Err(failed(format!("{count} rows became {}", batch.num_rows())).into());
        }
        let columns = encode(&batch, &of_groups, &factory).map_err(|error| failed(error.to_string()))?;
        Ok(Encoded { shard, rows: count, columns })
    };
    let encoded = ahead(groups, encode);
    let mut writer = Writer { schema, sealed: Vec::new(), sealing: None, open: None };
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
    writer.join()?;
    Ok(name_shards(writer.sealed)?)
}

/// The columns of a group.
fn encode(
    batch: &RecordBatch,
    schema: &Schema,
    factory: &ArrowRowGroupWriterFactory,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let mut writers = factory.create_column_writers(0)?;
    let mut next = writers.iter_mut();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        for leaf in compute_leaves(field, column)? {
            let writer =
                next.next().ok_or_else(|| ParquetError::General("a column has no writer".to_owned()))?;
            writer.write(&leaf)?;
        }
    }
    writers.into_iter().map(ArrowColumnWriter::close).collect()
}

/// The shards that are written.
struct Writer {
    schema: Arc<Schema>,
    sealed: Vec<SealedShard>,
    /// The last shard, which a thread of its own syncs and reads again.
    sealing: Option<JoinHandle<Result<SealedShard, Error>>>,
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
        append().map_err(|error: ParquetError| cannot_write(path, error.to_string()))?;
        *rows += group.rows;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some((file, path, rows)) = self.open.take() else { return Ok(()) };
        let file = file.into_inner().map_err(|error| cannot_write(&path, error.to_string()))?;
        self.join()?;
        self.sealing = Some(std::thread::spawn(move || SealedShard::seal(file, path, rows)));
        Ok(())
    }

    /// Waits for the shard that is being sealed.
    fn join(&mut self) -> Result<(), Error> {
        let Some(sealing) = self.sealing.take() else { return Ok(()) };
        self.sealed.push(sealing.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::write::{ColumnType, write_shards};
    use serde_json::json;

    fn packed_row(row: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        let text = |value: &'_ Value| value.as_str().unwrap().to_owned();
        let messages = row["messages"].as_array().unwrap();
        let messages: Vec<_> =
            messages.iter().map(|turn| (text(&turn["role"]), text(&turn["content"]))).collect();
        let messages = messages.iter().map(|(role, content)| (role.as_str(), content.as_str()));
        packed::push_messages(&mut bytes, messages).unwrap();
        packed::push_text(&mut bytes, &text(&row["source"])).unwrap();
        bytes
    }

    #[test]
    fn the_bytes_are_those_of_one_thread() {
        let columns = [("messages", ColumnType::Messages), ("source", ColumnType::Text)];
        let columns = columns.map(|(name, kind)| Column { name: name.to_owned(), kind });
        let row = |index: usize| {
            let turn = |role: &str| json!({"role": role, "content": format!("{index} \u{1f600}\n\"é\" {role}").repeat(index % 50)});
            json!({"messages": [turn("user"), turn("assistant")], "source": if index.is_multiple_of(7) { "" } else { "a" }})
        };
        for (rows, per_shard) in [(0, 10), (1, 10), (5300, 2500), (3000, 1000)] {
            let (one, all) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let per_shard = NonZeroUsize::new(per_shard).unwrap();
            let objects = (0..rows)
                .map(|index| Ok::<Map<String, Value>, Error>(row(index).as_object().unwrap().clone()));
            let expected = write_shards(one.path(), "train", &columns, rows, per_shard, objects).unwrap();
            let packed = (0..rows).map(move |index| Ok::<_, Error>(packed_row(&row(index))));
            let shards = write_packed_shards(all.path(), "train", &columns, rows, per_shard, packed).unwrap();
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
        let text = |text: &str| {
            let mut row = Vec::new();
            packed::push_text(&mut row, text).unwrap();
            row
        };
        for (rows, expected) in [
            (vec![text("a"), text("b"), text("c")], "3 rows came where 2 were announced"),
            (vec![text("a"), text("b")[..4].to_vec()], "a row is not what was stored of it"),
        ] {
            let rows = rows.into_iter().map(Ok::<_, Error>);
            let two = NonZeroUsize::new(2).unwrap();
            let error = write_packed_shards(folder.path(), "train", &columns, 2, two, rows).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!folder.path().join("train-00000-of-00001.parquet").exists());
        }
    }
}
