//! Matrices of a checkpoint into memory: in a chosen format, or in the one that holds what the file holds without a
//! loss.

use checkpoint::gguf::TensorType;
use checkpoint::weights::{Precision, Rows, Weights};
use kernels::{BlockType, PackedMatrix, WeightFormat};

/// How the matrices of a model are held.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holding {
    /// All in one format.
    In(WeightFormat),
    /// Each as its file holds it: quantized blocks stay as they are, as far as there is arithmetic for them.
    AsStored,
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

    /// As for an embedding and a head, which lose the most accuracy: with q4_0 and q4_1 they are q8_0, as llama.cpp does.
    pub(super) fn of_vocabulary(self) -> Self {
        match self {
            Self::In(WeightFormat::Q4_0) => Self::In(WeightFormat::Q8_0),
            Self::In(WeightFormat::Q4_0Wide | WeightFormat::Q4_1) => Self::In(WeightFormat::Q8_0Wide),
            other => other,
        }
    }

    /// Packs `rows` rows of `columns` numbers out of matrices that read the same activations. `locate` returns the
    /// matrix and its row, or `None` for a row of zeros.
    pub(super) fn pack(
        self,
        parts: &[Rows<'_>],
        rows: usize,
        columns: usize,
        locate: impl Fn(usize) -> Option<(usize, usize)> + Sync,
    ) -> PackedMatrix {
        let format = match self {
            Self::In(format) => format,
            Self::AsStored => match common_blocks(parts) {
                Some(blocks) => {
                    return PackedMatrix::pack_blocks(blocks, rows, columns, |row| {
                        locate(row).map(|(part, row)| parts[part].blocks(row))
                    });
                }
                None if parts.iter().all(|part| part.kind() == TensorType::Bf16) => WeightFormat::Bf16,
                None => WeightFormat::F32,
            },
        };
        PackedMatrix::pack(format, rows, columns, |row, out| match locate(row) {
            Some((part, row)) => parts[part].read(row, out),
            None => out.fill(0.0),
        })
    }
}

/// The layout of blocks that all parts share and that products can read.
fn common_blocks(parts: &[Rows<'_>]) -> Option<BlockType> {
    let first = parts.first()?.kind();
    let is_common = parts.iter().all(|part| part.kind() == first);
    blocks_of(first).filter(|_| is_common)
}

fn blocks_of(kind: TensorType) -> Option<BlockType> {
    match kind {
        TensorType::Q8_0 => Some(BlockType::Q8_0),
        TensorType::Q4_0 => Some(BlockType::Q4_0),
        TensorType::Q4_1 => Some(BlockType::Q4_1),
        TensorType::Q5_0 => Some(BlockType::Q5_0),
        _ => None,
    }
}

/// What a user should know about the memory of a GGUF file in its own formats: the types that products cannot read, and
/// what their numbers take in f32. `None` if there are none.
pub fn widened_types(weights: &Weights) -> Option<String> {
    let is_widened =
        |kind: &TensorType| blocks_of(*kind).is_none() && !matches!(kind, TensorType::Bf16 | TensorType::F32);
    let types: Vec<(TensorType, usize)> =
        weights.gguf_types().into_iter().filter(|(kind, _)| is_widened(kind)).collect();
    let names: Vec<&str> = types.iter().map(|(kind, _)| kind.name()).collect();
    let bytes = types.iter().map(|(_, count)| count * size_of::<f32>()).sum::<usize>();
    (bytes > 0).then(|| {
        let mebibytes = bytes >> 20;
        format!("the weights in {} are held as f32, which takes {mebibytes} MiB of memory", names.join(", "))
    })
}
