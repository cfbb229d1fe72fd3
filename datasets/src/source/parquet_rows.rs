//! Rows of a Parquet file as JSON objects. The library panics on some damaged files, so each of its calls is fenced.

use super::Object;
use crate::Error;
use files::fenced;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Map, Value};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Rows in memory at a time.
const BATCH: usize = 256;

/// The rows of one file, in order, numbered from 1.
pub(super) struct ParquetRows {
    path: PathBuf,
    /// `None` after the end, or after a panic of the library.
    batches: Option<ParquetRecordBatchReader>,
    /// Rows that were read and not returned yet.
    ready: std::vec::IntoIter<Map<String, Value>>,
    /// Of the last row returned.
    number: usize,
}

impl ParquetRows {
    /// Reads the file's description, which is at its end.
    ///
    /// # Errors
    /// Names the file that cannot be read, or is not a whole Parquet file.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::file("read", path, error))?;
        let open = || ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(BATCH).build();
        let opened = fenced(open).and_then(|built| built.map_err(|error| error.to_string()));
        let batches = opened.map_err(|reason| Error::NotData {
            path: path.to_owned(),
            reason: format!("not a whole Parquet file ({reason})"),
        })?;
        Ok(Self { path: path.to_owned(), batches: Some(batches), ready: Vec::new().into_iter(), number: 0 })
    }

    /// The rows of the next batch; `None` at the end.
    fn read(&mut self) -> Option<Result<Vec<Map<String, Value>>, String>> {
        let mut batches = self.batches.take()?;
        let batch = fenced(|| {
            let batch = batches.next()?.map_err(|error| error.to_string());
            Some((batch.and_then(|batch| objects(&batch)), batches))
        });
        match batch {
            Ok(None) => None,
            Ok(Some((rows, batches))) => {
                self.batches = Some(batches);
                Some(rows)
            }
            Err(panic) => Some(Err(panic)),
        }
    }
}

impl Iterator for ParquetRows {
    type Item = Object;

    fn next(&mut self) -> Option<Object> {
        loop {
            if let Some(row) = self.ready.next() {
                self.number += 1;
                return Some(Ok((self.number, row)));
            }
            match self.read()? {
                Ok(rows) => self.ready = rows.into_iter(),
                Err(reason) => {
                    let (path, number) = (self.path.clone(), self.number + 1);
                    return Some(Err(Error::Row { path, unit: "row", number, reason }));
                }
            }
        }
    }
}

fn objects(batch: &arrow::array::RecordBatch) -> Result<Vec<Map<String, Value>>, String> {
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
    serde_json::from_slice(&writer.into_inner()).map_err(|error| error.to_string())
}
