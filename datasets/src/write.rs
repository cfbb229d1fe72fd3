//! Rows onto disk: JSONL, and Parquet shards in the Hugging Face layout. Whole or absent.

use crate::Error;
use crate::columns::Columns;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::io::{BufWriter, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::NamedTempFile;

/// Rows of one row group.
const GROUP_ROWS: usize = 1000;
/// Rows of one shard, where nothing else is asked for.
pub const ROWS_PER_SHARD: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// A column of what is written; every column may hold nulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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
}

/// One file written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shard {
    /// Where it lies.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: usize,
    /// Its size.
    pub bytes: u64,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Shard {
    /// How a manifest names it: its path from the dataset's folder, rows, bytes and SHA-256.
    pub fn entry(&self, folder: &Path) -> Value {
        let path = self.path.strip_prefix(folder).unwrap_or(&self.path);
        json!({"path": path, "rows": self.rows, "bytes": self.bytes, "sha256": self.sha256})
    }
}

/// Removes the shards in a folder that are none of these: those of an earlier dataset have other names.
///
/// # Errors
/// Names the file that stays.
pub fn remove_others(folder: &Path, shards: &[Shard]) -> Result<(), Error> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::file("read", folder, error))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if !shards.iter().any(|shard| shard.path == path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a file, if it is there.
///
/// # Errors
/// Names the file.
pub fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}

/// Writes a file beside its place, syncs it, and moves it there.
///
/// # Errors
/// Names the file; nothing half-written stays.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut beside = beside(path)?;
    beside.write_all(bytes).map_err(|error| Error::file("write", path, error))?;
    keep(beside, path)
}

/// Writes one JSON object a line.
///
/// # Errors
/// Names the file, or passes on the error of the rows; nothing half-written stays.
pub fn write_jsonl<T: Serialize, E: From<Error>>(
    path: &Path,
    rows: impl IntoIterator<Item = Result<T, E>>,
) -> Result<usize, E> {
    let failed = |error: std::io::Error| Error::file("write", path, error);
    let mut writer = BufWriter::new(beside(path)?);
    let mut count = 0;
    for row in rows {
        serde_json::to_writer(&mut writer, &row?).map_err(|error| failed(error.into()))?;
        writer.write_all(b"\n").map_err(failed)?;
        count += 1;
    }
    keep(writer.into_inner().map_err(|error| failed(error.into_error()))?, path)?;
    Ok(count)
}

/// Writes `<folder>/<split>-00000-of-0000N.parquet`, with at most `rows_per_shard` rows each. Rows are
/// JSON objects with the columns' names; fields without a column are an error, and so is any other number of
/// rows than `total_rows`, which the shards' names follow from.
///
/// # Errors
/// Names the file, or passes on the error of the rows; shards are moved into place once all are whole.
pub fn write_shards<E: From<Error>>(
    folder: &Path,
    split: &str,
    columns: &[Column],
    total_rows: usize,
    rows_per_shard: NonZeroUsize,
    rows: impl IntoIterator<Item = Result<Map<String, Value>, E>>,
) -> Result<Vec<Shard>, E> {
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    write_schema(folder, split, &Arc::new(schema), total_rows, rows_per_shard, rows)
}

/// The same for rows whose columns were found by looking at them; a row is fitted to them as it is written.
///
/// # Errors
/// Those of [`write_shards`].
pub fn write_shards_as_found<E: From<Error>>(
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
        let path = folder.join(format!("{split}-{index:05}-of-{count:05}.parquet"));
        let (file, in_shard) = write_shard(&path, schema.clone(), rows.by_ref().take(rows_per_shard.get()))?;
        written.push((file, path, in_shard));
    }
    let found = written.iter().map(|(_, _, rows)| rows).sum::<usize>() + rows.count();
    if found != total_rows {
        let reason = format!("{found} rows came where {total_rows} were announced");
        return Err(Error::NotData { path: folder.to_owned(), reason }.into());
    }
    let mut shards = Vec::new();
    for (file, path, rows) in written {
        keep(file, &path)?;
        shards.push(Shard { bytes: size(&path)?, sha256: sha256(&path)?, path, rows });
    }
    Ok(shards)
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Names the file when it cannot be read.
pub fn sha256(path: &Path) -> Result<String, Error> {
    let failed = |error| Error::file("read", path, error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write_shard<E: From<Error>>(
    path: &Path,
    schema: Arc<Schema>,
    rows: impl Iterator<Item = Result<Map<String, Value>, E>>,
) -> Result<(NamedTempFile, usize), E> {
    let failed = |error: String| Error::File {
        action: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    };
    let level = ZstdLevel::try_new(3).map_err(|error| failed(error.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let file = beside(path)?;
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties))
        .map_err(|error| failed(error.to_string()))?;
    let mut decoder = arrow::json::ReaderBuilder::new(schema)
        .with_strict_mode(true)
        .with_batch_size(GROUP_ROWS)
        .build_decoder()
        .map_err(|error| failed(error.to_string()))?;
    let mut flush = |decoder: &mut arrow::json::reader::Decoder| -> Result<(), Error> {
        if let Some(batch) = decoder.flush().map_err(|error| failed(error.to_string()))? {
            writer.write(&batch).map_err(|error| failed(error.to_string()))?;
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
    Ok((writer.into_inner().map_err(|error| failed(error.to_string()))?, count))
}

fn field(column: &Column) -> Field {
    let kind = match column.kind {
        Kind::Text => DataType::Utf8,
        Kind::Integer => DataType::Int64,
        Kind::Float => DataType::Float64,
        Kind::Boolean => DataType::Boolean,
        Kind::Texts => list(DataType::Utf8),
        Kind::Messages => list(DataType::Struct(
            vec![Field::new("role", DataType::Utf8, true), Field::new("content", DataType::Utf8, true)]
                .into(),
        )),
    };
    Field::new(&column.name, kind, true)
}

pub(crate) fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

fn beside(path: &Path) -> Result<NamedTempFile, Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder)
        .map_err(|error| Error::file("write", path, error))
}

fn keep(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error| Error::file("write", path, error);
    // Temporary files are private; data is readable as any other file.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn size(path: &Path) -> Result<u64, Error> {
    Ok(std::fs::metadata(path).map_err(|error| Error::file("read", path, error))?.len())
}
