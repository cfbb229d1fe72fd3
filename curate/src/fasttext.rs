//! fastText models read and applied: files `.bin` and `.ftz` of facebookresearch/fastText 0.9.2 (version 12 of the format, and
//! 11), supervised ones, whole or quantized, with each of its losses. Labels have the probabilities of the C++ program.

mod dictionary;
mod matrix;
mod output;
mod train;

#[cfg(test)]
mod tests;

pub use train::{Training, train};

use dictionary::Dictionary;
use matrix::Matrix;
use output::Output;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// The first bytes of a model.
const MAGIC: i32 = 793_712_314;
/// Kind of loss in the file: softmax.
const SOFTMAX: i32 = 3;
/// Most buckets, words and dimensions that a file may declare.
const LARGEST: i64 = 1 << 31;

/// A supervised model.
#[derive(Debug)]
pub struct Model {
    dictionary: Dictionary,
    /// (words and buckets, dim)
    input: Matrix,
    output: Output,
}

/// The settings of a model that prediction needs.
#[derive(Debug, Clone, Copy)]
struct Settings {
    word_ngrams: i32,
    buckets: i64,
    /// Shortest and longest piece of a word, in characters; 0 for none.
    shortest: i32,
    longest: i32,
}

impl Model {
    /// Reads a model.
    ///
    /// # Errors
    /// When the file cannot be read or is no supervised model of fastText; says why.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 20, std::fs::File::open(path)?);
        Self::read(&mut file)
    }

    /// Reads a model from bytes.
    ///
    /// # Errors
    /// Those of [`Model::open`].
    pub fn read(reader: &mut impl Read) -> io::Result<Self> {
        if integer(reader)? != MAGIC {
            return Err(io::Error::other("it is no fastText model: its first bytes differ"));
        }
        let version = integer(reader)?;
        if !(11..=12).contains(&version) {
            return Err(io::Error::other(format!(
                "version {version} of fastText's format is not read; 11 and 12 are"
            )));
        }
        // dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate; t.
        let mut numbers = [0; 12];
        for number in &mut numbers {
            *number = integer(reader)?;
        }
        bytes::<8>(reader)?;
        let [.., word_ngrams, loss, kind, buckets, shortest, longest, _] = numbers;
        if kind != 3 {
            return Err(io::Error::other("it is a model of word vectors; a supervised one is needed"));
        }
        // Version 11 wrote lengths that supervised models did not use.
        let longest = if version == 11 { 0 } else { longest };
        let settings = Settings { word_ngrams, buckets: i64::from(buckets), shortest, longest };
        let dictionary = Dictionary::read(reader, settings)?;
        let is_quantized = bytes::<1>(reader)?[0] != 0;
        let input = if is_quantized { Matrix::read_quantized(reader)? } else { Matrix::read(reader)? };
        let is_output_quantized = bytes::<1>(reader)?[0] != 0;
        let output = if is_quantized && is_output_quantized {
            Matrix::read_quantized(reader)?
        } else {
            Matrix::read(reader)?
        };
        if input.columns() != output.columns() || output.rows() != dictionary.labels.len() {
            return Err(io::Error::other("its matrices do not have the sizes that its dictionary needs"));
        }
        let output = Output::new(output, &dictionary, loss)?;
        Ok(Self { dictionary, input, output })
    }

    /// Writes the model as a `.bin` file that fastText reads; one with whole matrices and softmax, as [`train`] makes them.
    ///
    /// # Errors
    /// When the model is quantized or has another loss, or the writer fails.
    pub fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        if !self.output.is_softmax() {
            return Err(io::Error::other("only models with softmax are written"));
        }
        let Settings { word_ngrams, buckets, shortest, longest } = self.dictionary.settings();
        // dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate.
        let dim = self.input.columns() as i32;
        let numbers =
            [MAGIC, 12, dim, 5, 5, 1, 5, word_ngrams, SOFTMAX, 3, buckets as i32, shortest, longest, 100];
        for number in numbers {
            writer.write_all(&number.to_le_bytes())?;
        }
        writer.write_all(&1e-4_f64.to_le_bytes())?;
        self.dictionary.write(writer)?;
        for matrix in [&self.input, self.output.matrix()] {
            writer.write_all(&[0])?;
            matrix.write(writer)?;
        }
        Ok(())
    }

    /// The labels without their prefix, in the model's order.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.dictionary.labels.iter().map(|label| label.name.trim_start_matches("__label__"))
    }

    /// The probability of each label for one line of text, in the model's order; line ends are spaces. All are 0 for a text
    /// of which the model knows nothing.
    pub fn predict(&self, text: &str) -> Vec<f32> {
        let mut rows = Vec::new();
        self.dictionary.rows(text, &mut rows);
        rows.retain(|row| (*row as usize) < self.input.rows());
        if rows.is_empty() {
            return vec![0.0; self.dictionary.labels.len()];
        }
        let mut hidden = vec![0.0; self.input.columns()];
        for row in &rows {
            self.input.add_row(*row as usize, &mut hidden);
        }
        let scale = 1.0 / rows.len() as f32;
        hidden.iter_mut().for_each(|value| *value *= scale);
        self.output.probabilities(&hidden)
    }

    /// The label with the highest probability, and that; `None` for a text of which the model knows nothing.
    pub fn best(&self, text: &str) -> Option<(&str, f32)> {
        let probabilities = self.predict(text);
        let best = probabilities.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1))?;
        (*best.1 > 0.0)
            .then(|| (self.dictionary.labels[best.0].name.trim_start_matches("__label__"), *best.1))
    }
}

fn bytes<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn integer(reader: &mut impl Read) -> io::Result<i32> {
    Ok(i32::from_le_bytes(bytes(reader)?))
}

/// A count of 64 bits, refused where no file of that size exists.
fn count(reader: &mut impl Read, name: &str) -> io::Result<usize> {
    let count = i64::from_le_bytes(bytes(reader)?);
    if !(0..LARGEST).contains(&count) {
        return Err(io::Error::other(format!("it declares {count} {name}")));
    }
    Ok(count as usize)
}

/// Reads numbers; memory grows with what the file has, not with what it declares.
fn floats(reader: &mut impl Read, count: usize) -> io::Result<Vec<f32>> {
    let mut read = Vec::new();
    reader.take(4 * count as u64).read_to_end(&mut read)?;
    if read.len() != 4 * count {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(read
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect())
}

fn read_bytes(reader: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    reader.take(count as u64).read_to_end(&mut read)?;
    if read.len() != count {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(read)
}
