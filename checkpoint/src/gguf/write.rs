//! Writes a GGUF file, version 3: header, metadata, table of tensors, then the tensors, one after another.

use super::tensor_type::TensorType;
use crate::error::Error;
use files::atomic::NewFile;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Offsets of tensors are multiples of this, the format's default.
const ALIGNMENT: usize = 32;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Unsigned(u32),
    Float(f32),
    Flag(bool),
    Text(String),
    Integers(Vec<i32>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
}

/// A tensor of the table: its name, its shape (rows first), its type.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) kind: TensorType,
}

impl Described {
    /// Its bytes in the file.
    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() / self.kind.block() * self.kind.block_bytes()
    }
}

/// Writes the file, which is whole or absent. `content` appends the blocks of the tensor with that index. Returns the
/// file's length in bytes.
///
/// # Errors
/// Names the file when it cannot be written.
pub(super) fn write(
    path: &Path,
    metadata: &[(String, Field)],
    tensors: &[Described],
    mut content: impl FnMut(usize, &mut Vec<u8>),
) -> Result<u64, Error> {
    let cannot = |reason| Error::file("write", path, reason);
    let mut file = NewFile::create(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, &mut file);
    let head = head(metadata, tensors);
    out.write_all(&head).map_err(cannot)?;
    let (mut length, mut bytes) = (head.len(), Vec::new());
    for (index, tensor) in tensors.iter().enumerate() {
        bytes.clear();
        content(index, &mut bytes);
        assert_eq!(bytes.len(), tensor.bytes(), "{} has other bytes than its shape needs", tensor.name);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        out.write_all(&bytes).map_err(cannot)?;
        length += bytes.len();
    }
    out.flush().map_err(cannot)?;
    drop(out);
    file.commit()?;
    Ok(length as u64)
}

/// Everything before the tensors, padded to their alignment.
fn head(metadata: &[(String, Field)], tensors: &[Described]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, field) in metadata {
        put_text(&mut bytes, key);
        put_field(&mut bytes, field);
    }
    let mut offset = 0;
    for tensor in tensors {
        put_text(&mut bytes, &tensor.name);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        // The format counts the columns first.
        tensor.shape.iter().rev().for_each(|size| bytes.extend((*size as u64).to_le_bytes()));
        bytes.extend(tensor.kind.number().to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// The number of a value's type and the value: `gguf_type` of
/// <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
fn put_field(bytes: &mut Vec<u8>, field: &Field) {
    const UNSIGNED: u32 = 4;
    const INTEGER: u32 = 5;
    const FLOAT: u32 = 6;
    const FLAG: u32 = 7;
    const TEXT: u32 = 8;
    const LIST: u32 = 9;
    let mut list = |kind: u32, count: usize| {
        bytes.extend(LIST.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend((count as u64).to_le_bytes());
    };
    match field {
        Field::Integers(values) => {
            list(INTEGER, values.len());
            values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        }
        Field::Floats(values) => {
            list(FLOAT, values.len());
            values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        }
        Field::Texts(values) => {
            list(TEXT, values.len());
            values.iter().for_each(|value| put_text(bytes, value));
        }
        Field::Unsigned(value) => {
            bytes.extend(UNSIGNED.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        Field::Float(value) => {
            bytes.extend(FLOAT.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        Field::Flag(value) => {
            bytes.extend(FLAG.to_le_bytes());
            bytes.push(u8::from(*value));
        }
        Field::Text(value) => {
            bytes.extend(TEXT.to_le_bytes());
            put_text(bytes, value);
        }
    }
}
