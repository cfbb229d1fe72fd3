//! Matrices of a checkpoint into memory: in a chosen format, or in the one that holds what the file holds without a
//! loss.

use super::stride::padded;
use checkpoint::gguf::TensorType;
use checkpoint::weights::{Precision, Rows, Weights};
use kernels::{BlockType, PackedMatrix, WeightFormat};

/// How the matrices of a model are held.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holding {
    /// All in one format.
    In(WeightFormat),
    /// Each as its file holds it: quantized blocks stay as they are.
    AsStored,
}

/// How the rows of matrices that are packed as one follow one another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arrangement {
    /// Matrix after matrix.
    Stacked,
    /// Sixteen rows of one matrix, sixteen of the other one; filled up with rows of zeros.
    Alternating,
}

impl Arrangement {
    /// Returns the number of rows.
    pub(super) fn rows(self, parts: &[Rows<'_>]) -> usize {
        match self {
            Self::Stacked => parts.iter().map(Rows::count).sum(),
            Self::Alternating => parts.iter().map(|part| padded(part.count())).sum(),
        }
    }

    /// Returns the matrix of a row and its row there, or `None` for a row of zeros.
    pub(super) fn locate(self, parts: &[Rows<'_>], row: usize) -> Option<(usize, usize)> {
        match self {
            Self::Stacked => {
                let mut first = 0;
                parts.iter().enumerate().find_map(|(index, part)| {
                    let found = (row < first + part.count()).then(|| (index, row - first));
                    first += part.count();
                    found
                })
            }
            Self::Alternating => {
                let source = row / 32 * 16 + row % 16;
                (source < parts[0].count()).then_some((row / 16 % 2, source))
            }
        }
    }
}

/// What holds the numbers of matrices that are packed as one without a loss.
pub(super) enum Lossless {
    Blocks,
    In(WeightFormat),
}

impl Lossless {
    pub(super) fn of(parts: &[Rows<'_>], arrangement: Arrangement) -> Self {
        let type_of = |row: usize| {
            let (part, _) = arrangement.locate(parts, row)?;
            blocks_of(parts[part].kind())
        };
        if parts.iter().all(|part| blocks_of(part.kind()).is_some())
            && PackedMatrix::is_packable(arrangement.rows(parts), type_of)
        {
            return Self::Blocks;
        }
        let is_bf16 = parts.iter().all(|part| part.kind() == TensorType::Bf16);
        Self::In(if is_bf16 { WeightFormat::Bf16 } else { WeightFormat::F32 })
    }
}

impl Holding {
    /// `None` is the file's own format. The folder of a checkpoint is bf16 as a whole or f32 as a whole.
    pub(super) fn new(format: Option<WeightFormat>, weights: &Weights) -> Self {
        match format {
            Some(format) => Self::In(format),
            None if weights.is_gguf() => Self::AsStored,
            None if weights.stored() == Precision::Bf16 => Self::In(WeightFormat::Bf16),
            None => Self::In(WeightFormat::F32),
        }
    }

    /// As for an embedding and a head, which lose the most accuracy: with fewer bits they are q8_0, as llama.cpp does.
    pub(super) fn of_vocabulary(self) -> Self {
        match self {
            Self::In(WeightFormat::Q4_0) => Self::In(WeightFormat::Q8_0),
            Self::In(WeightFormat::Q4_0Wide | WeightFormat::Q4_1 | WeightFormat::Q5_0) => {
                Self::In(WeightFormat::Q8_0Wide)
            }
            other => other,
        }
    }

    /// Packs matrices that read the same activations.
    pub(super) fn pack(self, parts: &[Rows<'_>], arrangement: Arrangement) -> PackedMatrix {
        let (rows, columns) = (arrangement.rows(parts), parts[0].columns());
        let lossless = match self {
            Self::In(format) => Lossless::In(format),
            Self::AsStored => Lossless::of(parts, arrangement),
        };
        match lossless {
            Lossless::Blocks => PackedMatrix::pack_blocks(rows, columns, |row| {
                let (part, row) = arrangement.locate(parts, row)?;
                Some((blocks_of(parts[part].kind())?, parts[part].blocks(row)))
            }),
            Lossless::In(format) => {
                PackedMatrix::pack(format, rows, columns, |row, out| match arrangement.locate(parts, row) {
                    Some((part, row)) => parts[part].read(row, out),
                    None => out.fill(0.0),
                })
            }
        }
    }
}

fn blocks_of(kind: TensorType) -> Option<BlockType> {
    match kind {
        TensorType::F32 | TensorType::F16 | TensorType::Bf16 => None,
        TensorType::Q4_0 => Some(BlockType::Q4_0),
        TensorType::Q4_1 => Some(BlockType::Q4_1),
        TensorType::Q5_0 => Some(BlockType::Q5_0),
        TensorType::Q5_1 => Some(BlockType::Q5_1),
        TensorType::Q8_0 => Some(BlockType::Q8_0),
        TensorType::Q2_K => Some(BlockType::Q2K),
        TensorType::Q3_K => Some(BlockType::Q3K),
        TensorType::Q4_K => Some(BlockType::Q4K),
        TensorType::Q5_K => Some(BlockType::Q5K),
        TensorType::Q6_K => Some(BlockType::Q6K),
        TensorType::Iq4_Nl => Some(BlockType::Iq4Nl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint::gguf::GgufFile;

    /// Against the reader's own conversion, which is tested against the `gguf` package.
    #[test]
    fn every_type_of_blocks_is_packed_to_the_bit() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/gguf/blocks.gguf");
        let file = GgufFile::open(golden.as_ref()).expect("a golden file");
        let mut types = 0;
        for kind in TensorType::ALL {
            let Some(blocks) = blocks_of(kind) else { continue };
            let tensor = file.tensor(kind.name()).expect("a tensor of each type");
            let [rows, columns] = *tensor.shape else { panic!("{} is no matrix", kind.name()) };
            let bytes = tensor.bytes.len() / rows;
            let matrix = PackedMatrix::pack_blocks(rows, columns, |row| {
                Some((blocks, &tensor.bytes[row * bytes..][..bytes]))
            });
            let (mut expected, mut found) = (vec![0.0; columns], vec![0.0; columns]);
            for row in 0..rows {
                kind.dequantize(&tensor.bytes[row * bytes..][..bytes], &mut expected);
                matrix.row(row, &mut found);
                let same = expected.iter().zip(&found).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{} row {row}: {expected:?} became {found:?}", kind.name());
            }
            types += 1;
        }
        assert_eq!(types, 11);
    }
}
