//! The layout of a tile: sixteen rows of weights, word by word, then their scales.
//!
//! ```text
//! group 0:  row 0 | row 1 | ... | row 15    one 32-bit word of each row: 1 column of f32, 2 of bf16,
//! group 1:  row 0 | row 1 | ... | row 15    4 of q8_0; 8 of q4_0 and q4_1 (low and high half-bytes)
//! ...
//! scales:   row 0 | row 1 | ... | row 15    quantized formats: one f16 of each row per block of 32 columns; in q4_1 the
//!                                           minimums of a block, in the same form, follow its scales
//! ```

use crate::format::WeightFormat;
use crate::simd::LANES;

/// Columns that share a scale in the quantized formats.
pub(crate) const BLOCK: usize = 32;

/// The sizes of one tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// K, rounded up to whole words (bf16) or blocks (quantized formats).
    pub(super) padded_columns: usize,
    /// Words of activations per token: one column of f32, two of bf16, four of the quantized formats; with
    /// 16 bits two of four columns, of their high bytes and of their low ones.
    pub(super) groups: usize,
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
            WeightFormat::F32 => {
                Self { padded_columns: columns, groups: columns, scales: 0, tile_bytes: columns * VECTOR }
            }
            WeightFormat::Bf16 => {
                let groups = columns.div_ceil(2);
                Self { padded_columns: 2 * groups, groups, scales: 0, tile_bytes: groups * VECTOR }
            }
            _ => {
                let blocks = columns.div_ceil(BLOCK);
                let vectors = if format.has_nibbles() { BLOCK / 8 } else { BLOCK / 4 };
                let scales = blocks * vectors * VECTOR;
                let scales_bytes = if format == WeightFormat::Q4_1 { 4 * LANES } else { 2 * LANES };
                Self {
                    padded_columns: blocks * BLOCK,
                    groups: blocks * BLOCK / 4 * if format.is_wide() { 2 } else { 1 },
                    scales,
                    tile_bytes: (scales + blocks * scales_bytes).next_multiple_of(VECTOR),
                }
            }
        }
    }
}
