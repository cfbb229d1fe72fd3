//! What the pages of a Parquet file unpack to, from their headers alone. A page of a few bytes can stand for gigabytes: by
//! compression, or by one long value in a dictionary that rows name again and again. Such a file is refused before any of
//! it is unpacked, and of large dictionaries few rows are decoded at a time.
//!
//! A header is a struct in Thrift's compact protocol
//! (<https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>).

use crate::limits::{RowLimits, refused_unpacking};
use parquet::basic::{Encoding, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// Rows that are decoded at a time at most.
pub(super) const BATCH: usize = 256;
/// Bytes that the rows decoded at a time should have.
const BATCH_BYTES: u64 = 64 << 20;
/// Values of a page: each has levels of four bytes beside it.
const MAX_PAGE_VALUES: u64 = 32 << 20;
/// Nesting of structs in a header.
const MAX_HEADER_DEPTH: usize = 8;

/// What the pages of a column in a row group unpack to.
#[derive(Debug, Default, Clone, Copy)]
struct Unpacked {
    /// Bytes of the largest page.
    page: u64,
    /// Values of the page with the most.
    values: u64,
    /// Bytes and values of the dictionary.
    dictionary: (u64, u64),
}

/// Checks all pages of a file; returns how many rows of each row group are decoded at a time.
///
/// # Errors
/// Names the column whose page is too large; when all rows are out of proportion to the file.
pub(super) fn check(
    file: &File,
    metadata: &ParquetMetaData,
    limits: &RowLimits,
) -> Result<Vec<usize>, String> {
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let (mut rows_at_a_time, mut unpacked) = (Vec::new(), 0u64);
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let of_row = row_bytes(file, length, index, group, limits)?;
        unpacked = unpacked.saturating_add(rows(group).saturating_mul(of_row));
        rows_at_a_time.push(usize::try_from(BATCH_BYTES / of_row).unwrap_or(BATCH).clamp(1, BATCH));
    }
    match refused_unpacking(unpacked, length) {
        Some(reason) => Err(reason),
        None => Ok(rows_at_a_time),
    }
}

/// The rows of a group.
fn rows(group: &RowGroupMetaData) -> u64 {
    u64::try_from(group.num_rows()).unwrap_or(0).max(1)
}

/// The bytes of a row that need not stand in the pages, and one.
fn row_bytes(
    file: &File,
    length: u64,
    index: usize,
    group: &RowGroupMetaData,
    limits: &RowLimits,
) -> Result<u64, String> {
    let rows = rows(group);
    let mut of_row = 1;
    for column in group.columns() {
        // What cannot be followed is left to the library to refuse.
        let Ok(unpacked) = unpacked(file, length, column) else { continue };
        let refused = |what: String| {
            format!(
                "the column `{}` of row group {index} unpacks to {what}; no row of {} MiB needs it",
                column.column_path(),
                limits.bytes() >> 20
            )
        };
        if unpacked.page > limits.bytes() as u64 {
            return Err(refused(format!("pages of {} MiB", unpacked.page >> 20)));
        }
        if unpacked.values > MAX_PAGE_VALUES {
            return Err(refused(format!("{} values in one page", unpacked.values)));
        }
        let per_row = (u64::try_from(column.num_values()).unwrap_or(0) / rows).max(1);
        let value = value_bytes(column, &unpacked);
        if per_row.saturating_mul(value) > 4 * limits.bytes() as u64 {
            return Err(refused(format!("rows of {} MiB", per_row.saturating_mul(value) >> 20)));
        }
        of_row += per_row * value;
    }
    Ok(of_row)
}

/// The bytes of one value that need not stand in its page.
fn value_bytes(column: &ColumnChunkMetaData, unpacked: &Unpacked) -> u64 {
    if column.column_type() != Type::BYTE_ARRAY && column.column_type() != Type::FIXED_LEN_BYTE_ARRAY {
        return 8;
    }
    // A value may consist of the beginning of the one before it.
    if column.encodings().any(|encoding| encoding == Encoding::DELTA_BYTE_ARRAY) {
        return unpacked.page;
    }
    let (bytes, values) = unpacked.dictionary;
    bytes / values.max(1)
}

/// Reads the headers of a column's pages.
fn unpacked(file: &File, length: u64, column: &ColumnChunkMetaData) -> io::Result<Unpacked> {
    let (start, size) = column.byte_range();
    let end = start.saturating_add(size).min(length);
    let mut reader = BufReader::with_capacity(512, file);
    let (mut at, mut unpacked) = (start, Unpacked::default());
    while at < end {
        reader.seek(SeekFrom::Start(at))?;
        let mut header = Header { reader: &mut reader, read: 0, fields: Vec::new() };
        header.fields_of(&mut Vec::new())?;
        let field =
            |path: &[i16]| header.fields.iter().find(|(found, _)| found == path).map(|(_, value)| *value);
        let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
        let bytes = positive(field(&[2]));
        // Of a data page in either version, and of a dictionary.
        let values = positive(field(&[5, 1]).or(field(&[8, 1])).or(field(&[7, 1])));
        unpacked.page = unpacked.page.max(bytes);
        unpacked.values = unpacked.values.max(values);
        if field(&[7, 1]).is_some() {
            unpacked.dictionary = (bytes, values);
        }
        at += header.read + positive(field(&[3])).max(1);
    }
    Ok(unpacked)
}

/// A header that is being read.
struct Header<'a, R> {
    reader: &'a mut R,
    /// Bytes read so far.
    read: u64,
    /// Integers by the numbers of the fields that lead to them.
    fields: Vec<(Vec<i16>, i64)>,
}

impl<R: Read> Header<'_, R> {
    fn fields_of(&mut self, path: &mut Vec<i16>) -> io::Result<()> {
        if path.len() > MAX_HEADER_DEPTH {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut number: i16 = 0;
        loop {
            let byte = self.byte()?;
            let kind = byte & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            number = match byte >> 4 {
                0 => self.integer()? as i16,
                step => number.wrapping_add(i16::from(step)),
            };
            path.push(number);
            self.value(kind, path)?;
            path.pop();
        }
    }

    fn value(&mut self, kind: u8, path: &mut Vec<i16>) -> io::Result<()> {
        match kind {
            // A boolean is its type.
            1 | 2 => Ok(()),
            3 => self.byte().map(drop),
            4..=6 => {
                let value = self.integer()?;
                self.fields.push((path.clone(), value));
                Ok(())
            }
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            12 => self.fields_of(path),
            // Headers have no lists and maps.
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.read += 1;
        Ok(byte[0])
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// A signed integer: zigzag in a varint.
    fn integer(&mut self) -> io::Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
        self.read += skipped;
        match skipped == length {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
