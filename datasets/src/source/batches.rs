//! Rows of Parquet and Arrow files as JSON objects. The libraries panic on some damaged files, so each of their calls is
//! fenced.

use super::text::{NumberedObject, Object};
use crate::Error;
use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::reader::{FileReader, StreamReader};
use files::fenced;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

mod json;

/// Rows in memory at a time.
const BATCH: usize = 256;
/// How an Arrow file begins; a stream has no such mark.
const ARROW_FILE: &[u8] = b"ARROW1";

/// The batches of a file.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// The rows of one file, in order, numbered from 1.
pub(super) struct BatchRows {
    path: PathBuf,
    /// `None` after the end, or after an error.
    batches: Option<Batches>,
    /// What is left of the batch that is being returned.
    batch: Option<RecordBatch>,
    /// Rows that were read and not returned yet.
    ready: std::vec::IntoIter<Map<String, Value>>,
    /// Of the last row returned.
    number: usize,
}

impl BatchRows {
    /// Reads the schema of a Parquet or an Arrow file.
    ///
    /// # Errors
    /// Those of [`open`].
    pub(super) fn open(path: &Path, is_arrow: bool) -> Result<Self, Error> {
        let (_, batches) = open(path, is_arrow)?;
        let (path, ready) = (path.to_owned(), Vec::new().into_iter());
        Ok(Self { path, batches: Some(batches), batch: None, ready, number: 0 })
    }

    /// The next rows; `None` at the end.
    fn read(&mut self) -> Option<Result<Vec<Map<String, Value>>, String>> {
        loop {
            if let Some(batch) = self.batch.take().filter(|batch| batch.num_rows() > 0) {
                let rows = batch.num_rows().min(BATCH);
                let read = fenced(|| json::objects(&batch.slice(0, rows)));
                self.batch = Some(batch.slice(rows, batch.num_rows() - rows));
                return Some(read.and_then(|rows| rows));
            }
            let mut batches = self.batches.take()?;
            match fenced(move || batches.next().map(|batch| (batch, batches))) {
                Ok(None) => return None,
                Ok(Some((Ok(batch), batches))) => (self.batch, self.batches) = (Some(batch), Some(batches)),
                Ok(Some((Err(error), _))) => {
                    return Some(Err(format!("{error}; the rest of the file is lost")));
                }
                Err(panic) => return Some(Err(format!("{panic}; the rest of the file is lost"))),
            }
        }
    }
}

/// Opens a Parquet file, whose description is at its end, or an Arrow stream or file: its schema and its batches.
///
/// # Errors
/// Names the file that cannot be read, or is not a whole one.
pub(crate) fn open(path: &Path, is_arrow: bool) -> Result<(SchemaRef, Batches), Error> {
    let failed = |error| Error::file("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut start = Vec::new();
    file.by_ref().take(ARROW_FILE.len() as u64).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    let open = || -> Result<(SchemaRef, Batches), ArrowError> {
        if !is_arrow {
            let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH).build()?;
            return Ok((reader.schema(), Box::new(reader)));
        }
        let file = BufReader::new(file);
        if start == ARROW_FILE {
            let reader = FileReader::try_new(file, None)?;
            return Ok((reader.schema(), Box::new(reader)));
        }
        let reader = StreamReader::try_new(file, None)?;
        Ok((reader.schema(), Box::new(reader)))
    };
    fenced(open).and_then(|built| built.map_err(|error| error.to_string())).map_err(|reason| Error::NotData {
        path: path.to_owned(),
        reason: format!("not a whole {} file ({reason})", if is_arrow { "Arrow" } else { "Parquet" }),
    })
}

impl Iterator for BatchRows {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        loop {
            if let Some(object) = self.ready.next() {
                self.number += 1;
                return Some(Ok(NumberedObject { number: self.number, object, surrogates: 0 }));
            }
            match self.read()? {
                Ok(rows) => self.ready = rows.into_iter(),
                Err(reason) => {
                    let (path, number) = (self.path.clone(), self.number + 1);
                    (self.batch, self.batches) = (None, None);
                    return Some(Err(Error::Row { path, unit: "row", number, reason }));
                }
            }
        }
    }
}
