//! The layout of a tile: sixteen rows of weights, word by word, then their scales.
//!
//! ```text
//! group 0:  row 0 | row 1 | ... | row 15    one 32-bit word of each row: 1 column of f32, 2 of bf16, 4 of 8-bit
//! group 1:  row 0 | row 1 | ... | row 15    integers; `planes` has the order of fewer bits
//! ...
//! scales:   row 0 | row 1 | ... | row 15    quantized formats: one f16 of each row per block of 32 columns
//! minimums: row 0 | row 1 | ... | row 15    in formats with minimums, after each row of scales
//! ```
//!
//! With super-blocks, each has one row of f16 scales (and one of minimums, negated), then one row of signed bytes per
//! scale of a block (each followed by one of minimums).

use super::encoding::{BLOCK, Encoding, SUPER_BLOCKS};
use crate::format::{ActivationFormat, WeightFormat};
use crate::simd::LANES;

/// Bytes of a row of f16.
pub(super) const HALVES: usize = 2 * LANES;

/// The sizes of one tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// K, rounded up to whole words (bf16), blocks or super-blocks (quantized formats).
    pub(super) padded_columns: usize,
    /// Byte offset of the scales in the quantized formats.
    pub(super) scales: usize,
    /// Size of a tile, in bytes.
    pub(super) tile_bytes: usize,
}

impl Layout {
    /// Returns the layout of a matrix of K columns.
    pub(super) fn new(format: WeightFormat, columns: usize) -> Self {
        /// Bytes of a vector: sixteen words.
        const VECTOR: usize = 64;
        match format {
            WeightFormat::F32 => Self { padded_columns: columns, scales: 0, tile_bytes: columns * VECTOR },
            WeightFormat::Bf16 => {
                let groups = columns.div_ceil(2);
                Self { padded_columns: 2 * groups, scales: 0, tile_bytes: groups * VECTOR }
            }
            _ => {
                let encoding = Encoding::of(format);
                let padded_columns = columns.next_multiple_of(encoding.columns());
                // Sixteen rows of 32 columns in one bit are one vector.
                let scales = padded_columns / BLOCK * encoding.bits * VECTOR;
                let scale_bytes = padded_columns / encoding.columns() * scale_bytes(encoding);
                Self { padded_columns, scales, tile_bytes: (scales + scale_bytes).next_multiple_of(VECTOR) }
            }
        }
    }
}

/// Bytes of the scales and minimums of a block or super-block.
pub(super) const fn scale_bytes(encoding: Encoding) -> usize {
    let rows = if encoding.has_minimums { 2 } else { 1 };
    rows * (HALVES + encoding.small_scales * SUPER_BLOCKS * LANES)
}

/// Words of activations per token: one column of f32, two of bf16, four of bytes; with 16 bits two of four columns, of
/// their high bytes and of their low ones. Blocks that only some formats need are left out.
pub(super) fn activation_words(format: ActivationFormat, columns: usize) -> usize {
    match format {
        ActivationFormat::F32 => columns,
        ActivationFormat::Bf16 => columns.div_ceil(2),
        ActivationFormat::Bytes { .. } => columns.div_ceil(BLOCK) * BLOCK / 4,
        ActivationFormat::Wide => columns.div_ceil(BLOCK) * BLOCK / 2,
    }
}
