//! A row as an object, with its location, and the row that its layout makes of it.

use crate::layout::Layout;
use crate::options::NamedColumn;
use crate::source::Format;
use crate::{Error, Row, RowLimits};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A row and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedRow {
    /// The row.
    pub row: Row,
    /// Its file.
    pub file: PathBuf,
    /// Its line (its row in Parquet and Arrow), from 1.
    pub number: usize,
}

/// The object of a row as it is in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRow {
    /// The object.
    pub object: Map<String, Value>,
    /// The layout of its file.
    pub layout: Layout,
    /// Its file.
    pub file: PathBuf,
    /// Its line (its row in Parquet and Arrow), from 1.
    pub number: usize,
    /// What the user says of the columns.
    pub(crate) columns: Arc<[NamedColumn]>,
    pub(crate) limits: RowLimits,
}

impl RawRow {
    /// The row.
    ///
    /// # Errors
    /// Names the file, the line and what was expected.
    pub fn row(self) -> Result<LocatedRow, Error> {
        let Self { object, layout, file, number, columns, limits } = self;
        let row = layout.row(object, &columns).and_then(|row| limits.check(&row).map(|()| row));
        match row {
            Ok(row) => Ok(LocatedRow { row, file, number }),
            Err(reason) => Err(row_error(&file, number, reason)),
        }
    }
}

/// The error of one row, with its file and its line (its row in Parquet and Arrow), from 1.
pub fn row_error(file: &Path, number: usize, reason: String) -> Error {
    let unit = Format::of(file).map_or("line", Format::unit);
    Error::Row { path: file.to_owned(), unit, number, reason }
}
