//! A matrix of a model, of floats or product-quantized (`QMatrix` and `ProductQuantizer` of fastText).

use super::{bytes, count, floats, integer, read_bytes};
use std::io::{self, Read, Write};

/// Centroids of a part.
const CENTROIDS: usize = 256;

#[derive(Debug)]
pub(super) struct Matrix {
    rows: usize,
    columns: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Floats(Vec<f32>),
    Quantized { quantizer: Quantizer, codes: Vec<u8>, norms: Option<(Quantizer, Vec<u8>)> },
}

/// Vectors in parts, each one of 256.
#[derive(Debug)]
struct Quantizer {
    columns: usize,
    parts: usize,
    /// Columns of a part, and of the last one.
    width: usize,
    last_width: usize,
    centroids: Vec<f32>,
}

impl Matrix {
    pub(super) fn read(reader: &mut impl Read) -> io::Result<Self> {
        let (rows, columns) = (count(reader, "rows")?, count(reader, "columns")?);
        let size = rows.checked_mul(columns).filter(|_| columns > 0 && columns <= 1 << 16);
        let size = size.ok_or_else(|| {
            io::Error::other(format!("it declares a matrix of {rows} rows and {columns} columns"))
        })?;
        Ok(Self { rows, columns, values: Values::Floats(floats(reader, size)?) })
    }

    /// A matrix of floats.
    pub(super) fn of(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        Self { rows, columns, values: Values::Floats(values) }
    }

    /// Writes what [`Matrix::read`] reads.
    pub(super) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let Values::Floats(values) = &self.values else {
            return Err(io::Error::other("a quantized matrix is not written"));
        };
        writer.write_all(&(self.rows as i64).to_le_bytes())?;
        writer.write_all(&(self.columns as i64).to_le_bytes())?;
        values.iter().try_for_each(|value| writer.write_all(&value.to_le_bytes()))
    }

    pub(super) fn read_quantized(reader: &mut impl Read) -> io::Result<Self> {
        let has_norms = bytes::<1>(reader)?[0] != 0;
        let (rows, columns) = (count(reader, "rows")?, count(reader, "columns")?);
        let size = integer(reader)?;
        let codes = read_bytes(reader, usize::try_from(size).map_err(io::Error::other)?)?;
        let quantizer = Quantizer::read(reader)?;
        if quantizer.columns != columns || rows.checked_mul(quantizer.parts) != Some(codes.len()) {
            return Err(io::Error::other("it has another number of codes than its matrix needs"));
        }
        let norms = if has_norms {
            let codes = read_bytes(reader, rows)?;
            Some((Quantizer::read(reader)?, codes)).filter(|(quantizer, _)| quantizer.columns == 1)
        } else {
            None
        };
        Ok(Self { rows, columns, values: Values::Quantized { quantizer, codes, norms } })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Adds a row to a vector.
    pub(super) fn add_row(&self, row: usize, vector: &mut [f32]) {
        match &self.values {
            Values::Floats(values) => {
                for (sum, value) in vector.iter_mut().zip(&values[row * self.columns..]) {
                    *sum += value;
                }
            }
            Values::Quantized { quantizer, .. } => {
                let norm = self.norm(row);
                quantizer.parts(self.codes(row)).zip(vector.chunks_mut(quantizer.width)).for_each(
                    |(part, sums)| {
                        for (sum, value) in sums.iter_mut().zip(part) {
                            *sum += norm * value;
                        }
                    },
                );
            }
        }
    }

    /// The product of a row and a vector.
    pub(super) fn dot(&self, row: usize, vector: &[f32]) -> f32 {
        let product = |values: &[f32], vector: &[f32]| {
            values.iter().zip(vector).fold(0.0, |sum, (one, other)| sum + one * other)
        };
        match &self.values {
            Values::Floats(values) => product(&values[row * self.columns..(row + 1) * self.columns], vector),
            Values::Quantized { quantizer, .. } => {
                let parts = quantizer.parts(self.codes(row)).zip(vector.chunks(quantizer.width));
                let mut sum = 0.0;
                for (part, vector) in parts {
                    for (one, other) in part.iter().zip(vector) {
                        sum += other * one;
                    }
                }
                sum * self.norm(row)
            }
        }
    }

    fn codes(&self, row: usize) -> &[u8] {
        match &self.values {
            Values::Floats(_) => &[],
            Values::Quantized { quantizer, codes, .. } => {
                &codes[row * quantizer.parts..(row + 1) * quantizer.parts]
            }
        }
    }

    fn norm(&self, row: usize) -> f32 {
        match &self.values {
            Values::Quantized { norms: Some((quantizer, codes)), .. } => quantizer.part(0, codes[row])[0],
            _ => 1.0,
        }
    }
}

impl Quantizer {
    fn read(reader: &mut impl Read) -> io::Result<Self> {
        let numbers = [integer(reader)?, integer(reader)?, integer(reader)?, integer(reader)?];
        let [columns, parts, width, last_width] = numbers.map(|number| usize::try_from(number).unwrap_or(0));
        let fits = (1..=1 << 16).contains(&columns)
            && parts > 0
            && width > 0
            && last_width > 0
            && last_width <= width;
        if !fits || (parts - 1) * width + last_width != columns {
            return Err(io::Error::other(format!(
                "it declares {columns} columns in {parts} parts of {width} and {last_width}"
            )));
        }
        Ok(Self { columns, parts, width, last_width, centroids: floats(reader, columns * CENTROIDS)? })
    }

    /// The centroid of a code.
    fn part(&self, part: usize, code: u8) -> &[f32] {
        let start = part * CENTROIDS * self.width;
        let width = if part + 1 == self.parts { self.last_width } else { self.width };
        let start = start + usize::from(code) * width;
        &self.centroids[start..start + width]
    }

    fn parts(&self, codes: &[u8]) -> impl Iterator<Item = &[f32]> {
        codes.iter().enumerate().map(|(part, code)| self.part(part, *code))
    }
}
