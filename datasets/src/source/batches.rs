//! Rows of Parquet and Arrow files as JSON objects. The libraries panic on some damaged files, so each of their calls is
//! fenced.

use super::quick_object::{NumberedPlain, Origin, Quick, QuickObject};
use super::text::{NumberedObject, Object};
use crate::Error;
use crate::ahead::ahead;
use crate::limits::{MAX_DEPTH, RowLimits};
use crate::plain::{Beside, Plain};
use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc::reader::{FileReader, StreamReader};
use features::JsonTexts;
use files::fenced;
use pages::BATCH;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use plain::PlainColumns;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

mod features;
mod json;
mod pages;
mod plain;

/// How an Arrow file begins; a stream has no such mark.
const ARROW_FILE: &[u8] = b"ARROW1";
/// Stack on which the description of a Parquet file is read: the library recurses into structs of structs.
const METADATA_STACK: usize = 256 << 20;

/// The batches of a file.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Rows that are converted together, and the number of the first one; or why the rest of the file is lost.
type Rows = Result<(usize, RecordBatch), (usize, String)>;

/// The rows of a Parquet or an Arrow file, in order, numbered from 1; converted to JSON ahead.
///
/// # Errors
/// Those of [`open`].
pub(super) fn objects(
    path: &Path,
    is_arrow: bool,
    limits: RowLimits,
) -> Result<Box<dyn Iterator<Item = Object> + Send>, Error> {
    let (schema, batches) = open(path, is_arrow, limits)?;
    let texts = JsonTexts::of(&schema);
    let pieces = Pieces { batches: Some(batches), batch: None, number: 1 };
    let path = path.to_owned();
    let objects = ahead(pieces, move |rows| {
        let mut objects = convert(&path, rows, limits);
        objects.iter_mut().flatten().for_each(|numbered| texts.open(&mut numbered.object));
        objects
    });
    Ok(Box::new(until_lost(objects.flatten())))
}

/// As [`objects`]; plain conversations are not made objects.
///
/// # Errors
/// Those of [`open`].
pub(super) fn quick_objects(
    path: &Path,
    is_arrow: bool,
    limits: RowLimits,
    beside: Beside,
) -> Result<Box<dyn Iterator<Item = QuickObject> + Send>, Error> {
    let (schema, batches) = open(path, is_arrow, limits)?;
    let columns = PlainColumns::of(&schema).filter(|_| JsonTexts::of(&schema).is_empty());
    let Some(columns) = columns else {
        return Ok(Box::new(objects(path, is_arrow, limits)?.map(|object| object.map(Quick::Object))));
    };
    let pieces = Pieces { batches: Some(batches), batch: None, number: 1 };
    let path: Arc<Path> = path.into();
    let rows = ahead(pieces, move |rows| quick_rows(&path, rows, &columns, limits, beside));
    Ok(Box::new(until_lost(rows.flatten())))
}

/// The rows of a piece, plain ones as such.
fn quick_rows(
    path: &Arc<Path>,
    rows: Rows,
    columns: &PlainColumns,
    limits: RowLimits,
    beside: Beside,
) -> Vec<QuickObject> {
    let plain = match &rows {
        Ok((_, batch)) => fenced(|| columns.rows(batch, beside)).ok().flatten(),
        Err(_) => None,
    };
    let (Ok((first, batch)), Some(plain)) = (&rows, plain) else {
        return convert(path, rows, limits).into_iter().map(|object| object.map(Quick::Object)).collect();
    };
    let shared = Arc::new(batch.clone());
    let row = |(index, plain): (usize, Option<Plain>)| -> QuickObject {
        let number = first + index;
        let origin = Origin::Batch { path: path.clone(), batch: shared.clone(), index, limits };
        match plain.filter(|plain| plain.count <= limits.max_row_messages) {
            Some(plain) => Ok(Quick::Plain(NumberedPlain { number, plain, origin })),
            None => row_object(path, &shared, index, number, limits).map(Quick::Object),
        }
    };
    plain.into_iter().enumerate().map(row).collect()
}

/// The object of one row of a batch.
pub(super) fn row_object(
    path: &Path,
    batch: &RecordBatch,
    index: usize,
    number: usize,
    limits: RowLimits,
) -> Object {
    let found = convert(path, Ok((number, batch.slice(index, 1))), limits).pop();
    found.unwrap_or_else(|| {
        let (path, reason) = (path.to_owned(), "is not there".to_owned());
        Err(Error::Rest { path, unit: "row", number, reason })
    })
}

/// Items up to the error after which the rest of a file is lost.
fn until_lost<T>(
    mut items: impl Iterator<Item = Result<T, Error>>,
) -> impl Iterator<Item = Result<T, Error>> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        let item = if is_over { None } else { items.next() };
        is_over = matches!(item, Some(Err(Error::Rest { .. })));
        item
    })
}

/// The batches of a file in pieces of a few rows.
struct Pieces {
    /// `None` after the end, or after an error.
    batches: Option<Batches>,
    /// What is left of a batch.
    batch: Option<RecordBatch>,
    /// Of its first row.
    number: usize,
}

impl Iterator for Pieces {
    type Item = Rows;

    fn next(&mut self) -> Option<Rows> {
        loop {
            if let Some(batch) = self.batch.take().filter(|batch| batch.num_rows() > 0) {
                let (number, rows) = (self.number, batch.num_rows().min(BATCH));
                self.number += rows;
                self.batch = Some(batch.slice(rows, batch.num_rows() - rows));
                return Some(Ok((number, batch.slice(0, rows))));
            }
            let mut batches = self.batches.take()?;
            match fenced(move || batches.next().map(|batch| (batch, batches))) {
                Ok(None) => return None,
                Ok(Some((Ok(batch), batches))) => (self.batch, self.batches) = (Some(batch), Some(batches)),
                Ok(Some((Err(error), _))) => return Some(Err((self.number, error.to_string()))),
                Err(panic) => return Some(Err((self.number, panic))),
            }
        }
    }
}

/// Converts rows to objects, fewer of large ones at a time.
fn convert(path: &Path, rows: Rows, limits: RowLimits) -> Vec<Object> {
    let (path, unit) = (path.to_owned(), "row");
    let (mut number, mut batch) = match rows {
        Ok(rows) => rows,
        Err((number, reason)) => return vec![Err(Error::Rest { path, unit, number, reason })],
    };
    let (mut objects, mut step) = (Vec::with_capacity(batch.num_rows()), BATCH);
    while batch.num_rows() > 0 {
        let mut rows = batch.num_rows().min(step);
        let found = fenced(|| json::objects(&batch.slice(0, rows), limits.bytes()));
        match found.unwrap_or_else(|panic| Err(json::Fault::Other(panic))) {
            Ok(found) => {
                let numbered = found.into_iter().zip(number..);
                objects.extend(
                    numbered.map(|(object, number)| Ok(NumberedObject { number, object, surrogates: 0 })),
                );
            }
            Err(json::Fault::TooLarge) if rows > 1 => {
                (step, rows) = (rows.div_ceil(4), 0);
            }
            Err(json::Fault::TooLarge) => {
                let (path, reason) = (path.clone(), limits.too_large());
                objects.push(Err(Error::Row { path, unit, number, reason }));
            }
            Err(json::Fault::Other(reason)) => {
                objects.push(Err(Error::Rest { path, unit, number, reason }));
                return objects;
            }
        }
        number += rows;
        batch = batch.slice(rows, batch.num_rows() - rows);
    }
    objects
}

/// Opens a Parquet file, whose description is at its end, or an Arrow stream or file: its schema and its batches.
///
/// # Errors
/// Names the file that cannot be read, is not a whole one, or unpacks to more than a row may have.
pub(crate) fn open(path: &Path, is_arrow: bool, limits: RowLimits) -> Result<(SchemaRef, Batches), Error> {
    let failed = |error| Error::file("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.by_ref().take(ARROW_FILE.len() as u64).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let not_data = |reason: String| Error::NotData { path: path.to_owned(), reason };
    if !is_arrow {
        return open_parquet(file, limits).map_err(not_data);
    }
    let open = || -> Result<(SchemaRef, Batches), ArrowError> {
        let file = BufReader::new(file);
        if start == ARROW_FILE {
            let reader = FileReader::try_new(file, None)?;
            return Ok((reader.schema(), Box::new(reader)));
        }
        let reader = StreamReader::try_new(file, None)?;
        Ok((reader.schema(), Box::new(reader)))
    };
    let opened = fenced(open).and_then(|built| built.map_err(|error| error.to_string()));
    opened.map_err(|reason| not_data(format!("not a whole Arrow file ({reason})")))
}

/// Opens a Parquet file; each row group is decoded in batches as large as its pages allow.
fn open_parquet(file: File, limits: RowLimits) -> Result<(SchemaRef, Batches), String> {
    let metadata = metadata(&file)?;
    let described = metadata.schema().metadata().clone();
    let batch_rows = pages::check(&file, metadata.metadata(), &limits)?;
    let whole = |error: &dyn std::fmt::Display| format!("not a whole Parquet file ({error})");
    let builder = move |file: &File| -> Result<_, ArrowError> {
        Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(file.try_clone()?, metadata.clone()))
    };
    let build = || Ok(builder(&file)?.with_row_groups(Vec::new()).build()?.schema());
    let schema =
        fenced(build).and_then(|built: Result<_, ArrowError>| built.map_err(|error| error.to_string()));
    let schema = schema.map_err(|reason| whole(&reason))?;
    // The reader has the types as they are decoded, and leaves out the metadata.
    let schema = Arc::new(Schema::new_with_metadata(schema.fields().clone(), described));
    let group = move |(index, rows): (usize, usize)| -> Batches {
        let reader = builder(&file).and_then(|builder| {
            let builder = builder.with_row_groups(vec![index]).with_batch_size(rows);
            builder.build().map_err(ArrowError::from)
        });
        match reader {
            Ok(reader) => Box::new(reader),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    };
    Ok((schema, Box::new(batch_rows.into_iter().enumerate().flat_map(group))))
}

/// Reads the description of a Parquet file.
fn metadata(file: &File) -> Result<ArrowReaderMetadata, String> {
    let load = || {
        let loaded = fenced(|| ArrowReaderMetadata::load(file, ArrowReaderOptions::default()));
        let loaded = loaded.and_then(|loaded| loaded.map_err(|error| error.to_string()));
        let loaded = loaded.map_err(|error| format!("not a whole Parquet file ({error})"))?;
        match loaded.schema().fields().iter().map(|field| depth(field.data_type())).max() {
            Some(deep) if deep > MAX_DEPTH => {
                Err(format!("its columns are {deep} deep in one another; expected at most {MAX_DEPTH}"))
            }
            _ => Ok(loaded),
        }
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("parquet".to_owned()).stack_size(METADATA_STACK);
        match thread.spawn_scoped(scope, load).map(|thread| thread.join()) {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(_)) => Err("not a whole Parquet file".to_owned()),
            // The system gives no such stack: only a strange file needs it.
            Err(_) => load(),
        }
    })
}

/// How deep the values of a type are in one another.
fn depth(data_type: &DataType) -> usize {
    1 + match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| depth(field.data_type())).max().unwrap_or(0),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => depth(item.data_type()),
        _ => 0,
    }
}
