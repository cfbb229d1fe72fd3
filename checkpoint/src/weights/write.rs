//! Weights to disk: one safetensors file, in f32 or bf16, with its checksum computed as it is written.

use crate::error::Error;
use files::atomic::NewFile;
use files::checksum::{Algorithm, Checksummer, Content};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

/// Values that are converted at once.
const PIECE: usize = 1 << 16;

/// The data type of stored weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16, as in most released checkpoints.
    Bf16,
}

impl Precision {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Writes tensors (name, shape, row-major values) as one safetensors file, which is whole or absent. The values are
/// converted in pieces.
///
/// # Errors
/// Names the file when it cannot be written.
pub fn write<V: AsRef<[f32]>>(
    path: &Path,
    tensors: &[(String, Vec<usize>, V)],
    precision: Precision,
) -> Result<(), Error> {
    write_with(path, tensors, precision, &[], Algorithm::Xxh3).map(drop)
}

/// As [`write()`], with entries (key, value) for the file's metadata. Returns length and checksum of what was written,
/// computed from the bytes in memory, not from the file.
///
/// # Errors
/// Names the file when it cannot be written.
pub fn write_with<V: AsRef<[f32]>>(
    path: &Path,
    tensors: &[(String, Vec<usize>, V)],
    precision: Precision,
    entries: &[(&str, String)],
    algorithm: Algorithm,
) -> Result<Content, Error> {
    let mut tensors: Vec<&(String, Vec<usize>, V)> = tensors.iter().collect();
    // The order of the safetensors crate.
    tensors.sort_by(|one, other| one.0.cmp(&other.0));
    let cannot = |reason| Error::file("write", path, reason);
    let header = header(&tensors, precision, entries).map_err(cannot)?;
    let mut file = NewFile::create(path)?;
    let mut summer = Checksummer::new(algorithm);
    let mut put = |bytes: &[u8]| {
        summer.update(bytes);
        file.write_all(bytes).map_err(cannot)
    };
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    let mut bytes = Vec::with_capacity(PIECE * precision.bytes());
    for (_, _, values) in tensors {
        for piece in values.as_ref().chunks(PIECE) {
            narrow(piece, precision, &mut bytes);
            put(&bytes)?;
        }
    }
    file.commit()?;
    Ok(summer.finish())
}

/// Names, shapes and offsets as JSON, padded to a multiple of eight bytes as the format demands.
fn header<V: AsRef<[f32]>>(
    tensors: &[&(String, Vec<usize>, V)],
    precision: Precision,
    entries: &[(&str, String)],
) -> io::Result<Vec<u8>> {
    let mut end = 0;
    let info = |(name, shape, values): &&(String, Vec<usize>, V)| {
        let start = end;
        end += values.as_ref().len() * precision.bytes();
        let info = TensorInfo { dtype: precision.dtype(), shape: shape.clone(), data_offsets: (start, end) };
        (name.clone(), info)
    };
    let tensors: Vec<(String, TensorInfo)> = tensors.iter().map(info).collect();
    // transformers refuses files without this entry.
    let mut metadata = BTreeMap::from([("format", "pt")]);
    metadata.extend(entries.iter().map(|(key, value)| (*key, value.as_str())));
    // The crate's own entries are in another order in every process: the same weights must be the same bytes.
    let tensors = serde_json::to_string(&Metadata::new(None, tensors).map_err(io::Error::other)?)?;
    let separator = if tensors == "{}" { "" } else { "," };
    let entries = serde_json::to_string(&metadata)?;
    let mut header = format!("{{\"__metadata__\":{entries}{separator}{}", &tensors[1..]).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

/// The values as bytes of this precision, little-endian; bf16 is rounded to nearest even.
fn narrow(values: &[f32], precision: Precision, bytes: &mut Vec<u8>) {
    bytes.resize(values.len() * precision.bytes(), 0);
    match precision {
        Precision::F32 => {
            for (out, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *out = value.to_le_bytes();
            }
        }
        Precision::Bf16 => {
            kernels::bf16_bytes(bytes, values);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    /// A map of entries would be written in another order each time.
    #[test]
    fn the_same_weights_are_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let entries: Vec<(String, String)> =
            (0..8).map(|index| (format!("key{index}"), "a".to_owned())).collect();
        let entries: Vec<(&str, String)> =
            entries.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let written = || {
            let tensors = [("a".to_owned(), vec![2], vec![1.0, 2.0])];
            write_with(&path, &tensors, Precision::F32, &entries, Algorithm::Xxh3).unwrap();
            std::fs::read(&path).unwrap()
        };
        let first = written();
        assert!((0..8).all(|_| written() == first));
        let (_, metadata) = SafeTensors::read_metadata(&first).unwrap();
        assert_eq!(metadata.metadata().as_ref().unwrap().len(), 9);
    }

    #[test]
    fn the_file_is_one_of_the_safetensors_crate_and_its_checksum_is_the_returned_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let values: Vec<f32> = (0..PIECE + 3).map(|index| index as f32 * 0.37 - 5.0).collect();
        let tensors = [
            ("b".to_owned(), vec![PIECE + 3], values.clone()),
            ("a".to_owned(), vec![1, 2], vec![1.0, -2.5]),
        ];
        for (precision, algorithm) in
            [(Precision::F32, Algorithm::Xxh3), (Precision::Bf16, Algorithm::Sha256)]
        {
            let entries = [("step", "7".to_owned())];
            let content = write_with(&path, &tensors, precision, &entries, algorithm).unwrap();
            assert_eq!(content, Content::of_file(&path, algorithm).unwrap());
            let bytes = std::fs::read(&path).unwrap();
            let parsed = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(parsed.tensor("a").unwrap().shape(), [1, 2]);
            let mut expected = Vec::new();
            values.chunks(1000).for_each(|piece| {
                let mut bytes = Vec::new();
                narrow(piece, precision, &mut bytes);
                expected.extend(bytes);
            });
            assert_eq!(parsed.tensor("b").unwrap().data(), expected);
            let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
            let metadata = metadata.metadata().clone().unwrap();
            assert_eq!((metadata["format"].as_str(), metadata["step"].as_str()), ("pt", "7"));
        }
    }
}
