//! What a file has for each row when plain conversations are read without a tree of values: such a conversation, or an object.

use super::text::NumberedObject;
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
