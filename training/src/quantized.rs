//! Frozen matrices that keep the blocks of a GGUF file, or are quantized to such blocks (QLoRA, arXiv 2305.14314). A matrix
//! is dequantized whenever a pass multiplies with it, into a buffer that all share, so that its numbers take few bits, and
//! results are those of the dequantized matrix to the bit.

use crate::parameters::{Layout, ModelLayout};
use checkpoint::ModelConfig;
use checkpoint::gguf::{TensorType, quantize};
use checkpoint::weights::{Rows, Weights};
use kernels::Matrix;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// A matrix that is used as one, such as queries, keys and values.
#[derive(Debug)]
pub(crate) struct QuantizedMatrix {
    parts: Vec<Part>,
    rows: usize,
    columns: usize,
}

/// Rows of one type.
#[derive(Debug)]
struct Part {
    kind: TensorType,
    row_bytes: usize,
    blocks: Vec<u8>,
}

/// The quantized matrices of a model, by where their range begins.
#[derive(Debug, Default)]
pub(crate) struct QuantizedMatrices(BTreeMap<usize, QuantizedMatrix>);

/// Matrices of a checkpoint that are used as one, and the types in which they are to be held.
struct Planned<'a> {
    range: Range<usize>,
    parts: Vec<(Rows<'a>, TensorType)>,
}

impl QuantizedMatrix {
    fn new(parts: &[(Rows<'_>, TensorType)], keeps_blocks: bool) -> Self {
        let columns = parts[0].0.columns();
        let part = |(rows, kind): &(Rows<'_>, TensorType)| {
            let mut blocks = Vec::with_capacity(rows.count() * row_bytes(*kind, columns));
            let mut values = vec![0.0; columns];
            for row in 0..rows.count() {
                if keeps_blocks {
                    blocks.extend_from_slice(rows.blocks(row));
                } else {
                    rows.read(row, &mut values);
                    quantize(*kind, &values, &mut blocks);
                }
            }
            Part { kind: *kind, row_bytes: row_bytes(*kind, columns), blocks }
        };
        let rows = parts.iter().map(|(rows, _)| rows.count()).sum();
        Self { parts: parts.iter().map(part).collect(), rows, columns }
    }

    /// Returns the matrix (O, I) in a buffer, which grows once.
    pub(crate) fn dequantized<'a>(&self, buffer: &'a mut Vec<f32>) -> Matrix<'a, f32> {
        let numbers = self.numbers();
        if buffer.len() < numbers {
            buffer.resize(numbers, 0.0);
        }
        let mut rest = &mut buffer[..numbers];
        for part in &self.parts {
            let (out, after) = rest.split_at_mut(part.blocks.len() / part.row_bytes * self.columns);
            let rows =
                part.blocks.par_chunks_exact(part.row_bytes).zip(out.par_chunks_exact_mut(self.columns));
            rows.for_each(|(blocks, out)| part.kind.dequantize(blocks, out));
            rest = after;
        }
        Matrix::new(&buffer[..numbers], self.rows, self.columns)
    }

    fn numbers(&self) -> usize {
        self.rows * self.columns
    }
}

impl QuantizedMatrices {
    /// Takes the linear layers of a checkpoint that are quantized, or are to be.
    pub(crate) fn new(config: &ModelConfig, weights: &Weights, kind: Option<TensorType>) -> Self {
        let planned = planned(config, weights, kind);
        let load = |one: Planned<'_>| {
            let matrix = QuantizedMatrix::new(&one.parts, kind.is_none());
            // Not the whole file beside all blocks.
            weights.release();
            (one.range.start, matrix)
        };
        Self(planned.into_iter().map(load).collect())
    }

    /// Returns the matrix whose range begins there.
    pub(crate) fn at(&self, start: usize) -> Option<&QuantizedMatrix> {
        self.0.get(&start)
    }

    /// Returns how many numbers before a position are quantized.
    pub(crate) fn numbers_before(&self, position: usize) -> usize {
        self.0.range(..position).map(|(_, matrix)| matrix.numbers()).sum()
    }

    /// Returns whether a position is that of a number in a matrix.
    pub(crate) fn contain(&self, position: usize) -> bool {
        let before = self.0.range(..=position).next_back();
        before.is_some_and(|(start, matrix)| position < start + matrix.numbers())
    }

    /// Returns the bytes of all blocks, and of the buffer.
    pub(crate) fn bytes(&self) -> usize {
        let blocks = self.0.values().flat_map(|matrix| &matrix.parts).map(|part| part.blocks.len());
        let largest = self.0.values().map(QuantizedMatrix::numbers).max().unwrap_or(0);
        blocks.sum::<usize>() + size_of::<f32>() * largest
    }

    /// Calls `update` with all blocks.
    pub(crate) fn for_each_piece(&self, mut update: impl FnMut(&[u8])) {
        self.0.values().flat_map(|matrix| &matrix.parts).for_each(|part| update(&part.blocks));
    }
}

/// Returns what [`QuantizedMatrices::bytes`] will return, and how many numbers are quantized.
pub(crate) fn planned_bytes(
    config: &ModelConfig,
    weights: &Weights,
    kind: Option<TensorType>,
) -> (usize, usize) {
    let (mut bytes, mut numbers, mut largest) = (0, 0, 0);
    for Planned { range, parts } in planned(config, weights, kind) {
        bytes +=
            parts.iter().map(|(rows, kind)| rows.count() * row_bytes(*kind, rows.columns())).sum::<usize>();
        numbers += range.len();
        largest = largest.max(range.len());
    }
    (bytes + size_of::<f32>() * largest, numbers)
}

/// With a type, all linear layers whose rows are whole blocks of it; without, those that a GGUF file has quantized.
fn planned<'a>(config: &ModelConfig, weights: &'a Weights, kind: Option<TensorType>) -> Vec<Planned<'a>> {
    let (layout, tensors) = (ModelLayout::new(config), Layout::new(config).tensors);
    let products =
        layout.layers.iter().flat_map(|layer| [&layer.qkv, &layer.out, &layer.gate_up, &layer.down]);
    let plan = |range: &Range<usize>| {
        let parts = tensors.iter().filter(|tensor| range.contains(&tensor.range.start));
        let parts: Vec<Rows<'_>> = parts.map(|tensor| weights.rows(&tensor.name)).collect();
        let is_quantized = match kind {
            Some(kind) => parts[0].columns().is_multiple_of(kind.block()),
            // What an adapter changes is no longer what the file's blocks hold.
            None => !weights.is_adapted() && parts.iter().any(|part| part.kind().block() > 1),
        };
        let with_kind = |part: Rows<'a>| (part, kind.unwrap_or(part.kind()));
        is_quantized
            .then(|| Planned { range: range.clone(), parts: parts.into_iter().map(with_kind).collect() })
    };
    products.filter_map(plan).collect()
}

fn row_bytes(kind: TensorType, columns: usize) -> usize {
    columns / kind.block() * kind.block_bytes()
}
