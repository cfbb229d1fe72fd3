//! Weights to disk: one safetensors file, in f32 or bf16.

use crate::error::Error;
use files::atomic::NewFile;
use half::bf16;
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// The data type of stored weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16, as in most released checkpoints.
    Bf16,
}

/// Writes tensors (name, shape, row-major values) as one safetensors file, which is whole or absent. The values are
/// converted one tensor at a time.
///
/// # Errors
/// Names the file when it cannot be written.
pub fn write<V: AsRef<[f32]>>(
    path: &Path,
    tensors: &[(String, Vec<usize>, V)],
    precision: Precision,
) -> Result<(), Error> {
    let tensors = tensors
        .iter()
        .map(|(name, shape, values)| (name.as_str(), Tensor { shape, values: values.as_ref(), precision }));
    // transformers refuses files without this entry.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = NewFile::create(path)?;
    safetensors::serialize_to_file(tensors, Some(metadata), file.temporary_path())
        .map_err(|error| Error::file("write", path, std::io::Error::other(error)))?;
    Ok(file.commit()?)
}

/// A tensor to be written.
struct Tensor<'a> {
    shape: &'a [usize],
    values: &'a [f32],
    precision: Precision,
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.precision {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        narrow(self.values, self.precision).into()
    }

    fn data_len(&self) -> usize {
        self.values.len() * if self.precision == Precision::F32 { 4 } else { 2 }
    }
}

/// The values as bytes of this precision, little-endian; bf16 is rounded to nearest even.
fn narrow(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
    }
}
