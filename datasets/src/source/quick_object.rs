//! What a file has for each row when plain conversations are read without a tree of values: such a conversation, or an object.

use super::batches::row_object;
use super::json::line_object;
use super::text::{NumberedObject, Object};
use crate::Error;
use crate::limits::RowLimits;
use crate::plain::Plain;
use arrow::array::RecordBatch;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A row of a file, or why it is none.
pub(crate) type QuickObject = Result<Quick, Error>;

/// A row of a file.
pub(crate) enum Quick {
    Plain(NumberedPlain),
    Object(NumberedObject),
}

/// A plain conversation with its location.
pub(crate) struct NumberedPlain {
    /// Its line (its row in Parquet and Arrow), from 1.
    pub(crate) number: usize,
    pub(crate) plain: Plain,
    pub(crate) origin: Origin,
}

/// What a plain conversation was read from, for whoever wants all its columns.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// A line, in the text of several.
    Line { path: Arc<Path>, text: Arc<Vec<u8>>, range: Range<usize> },
    /// A row of a batch.
    Batch { path: Arc<Path>, batch: Arc<RecordBatch>, index: usize, limits: RowLimits },
}

impl Origin {
    /// The object of the row.
    pub(crate) fn object(&self, number: usize) -> Object {
        match self {
            Self::Line { path, text, range } => line_object(path, text, number, range.clone())
                .unwrap_or_else(|| {
                    let (path, reason) = (path.to_path_buf(), "is blank".to_owned());
                    Err(Error::Row { path, unit: "line", number, reason })
                }),
            Self::Batch { path, batch, index, limits } => row_object(path, batch, *index, number, *limits),
        }
    }
}

impl Quick {
    /// The object of the row.
    pub(crate) fn into_object(self) -> Object {
        match self {
            Self::Object(object) => Ok(object),
            Self::Plain(plain) => plain.origin.object(plain.number),
        }
    }
}
