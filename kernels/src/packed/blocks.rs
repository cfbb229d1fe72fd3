//! Weights that were quantized before, block by block, into tiles: the same numbers, not quantized again.

use super::layout::BLOCK;
use super::quantize::{Block, Q8_BIAS};
use crate::format::WeightFormat;
use half::f16;

/// A layout of quantized blocks of 32 numbers on disk: `block_q8_0` and the others of
/// <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// A scale and 32 signed bytes.
    Q8_0,
    /// A scale and 32 half-bytes, less 8.
    Q4_0,
    /// A scale, a minimum and 32 half-bytes.
    Q4_1,
    /// A scale and 32 numbers of five bits, less 16; packed as bytes, which hold the same numbers.
    Q5_0,
}

impl BlockType {
    /// Returns the format that holds these blocks without a loss; products come near to those in f32.
    pub fn format(self) -> WeightFormat {
        match self {
            Self::Q8_0 | Self::Q5_0 => WeightFormat::Q8_0Wide,
            Self::Q4_0 => WeightFormat::Q4_0Wide,
            Self::Q4_1 => WeightFormat::Q4_1,
        }
    }

    /// Returns the size of a block, in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
        }
    }

    /// Takes a block apart.
    pub(super) fn read(self, bytes: &[u8]) -> Block {
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let nibble = |quants: &[u8], index: usize| {
            if index < BLOCK / 2 { quants[index] & 15 } else { quants[index - BLOCK / 2] >> 4 }
        };
        let plain = |quants: [u8; BLOCK]| Block { quants, scale: half(0), minimum: f16::ZERO };
        match self {
            Self::Q8_0 => plain(std::array::from_fn(|index| bytes[2 + index].wrapping_add(Q8_BIAS as u8))),
            Self::Q4_0 => plain(std::array::from_fn(|index| nibble(&bytes[2..], index))),
            Self::Q4_1 => {
                let quants = std::array::from_fn(|index| nibble(&bytes[4..], index));
                Block { quants, scale: half(0), minimum: half(2) }
            }
            Self::Q5_0 => plain(std::array::from_fn(|index| {
                let high = bytes[2 + index / 8] >> (index % 8) & 1;
                Q8_BIAS as u8 - 16 + (nibble(&bytes[6..], index) | high << 4)
            })),
        }
    }
}
