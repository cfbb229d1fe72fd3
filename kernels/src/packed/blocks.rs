//! Weights that were quantized before, block by block, into tiles: the same numbers, not quantized again.

use super::encoding::{BLOCK, SUPER, SUPER_BLOCKS};
use super::quantize::Block;
use crate::format::WeightFormat;
use half::f16;

/// A layout of quantized blocks on disk: `block_q8_0` and the others of
/// <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// A scale and 32 signed bytes.
    Q8_0,
    /// A scale and 32 half-bytes, less 8.
    Q4_0,
    /// A scale, a minimum and 32 half-bytes.
    Q4_1,
    /// A scale and 32 numbers of five bits, less 16.
    Q5_0,
    /// A scale, a minimum and 32 numbers of five bits.
    Q5_1,
    /// A scale and 32 half-bytes that stand for uneven steps.
    Iq4Nl,
    /// 256 numbers of two bits, with scales and minimums of four bits.
    Q2K,
    /// 256 numbers of three bits, less 4, with scales of six bits.
    Q3K,
    /// 256 half-bytes, with scales and minimums of six bits.
    Q4K,
    /// 256 numbers of five bits, with scales and minimums of six bits.
    Q5K,
    /// 256 numbers of six bits, less 32, with scales of eight bits.
    Q6K,
}

impl BlockType {
    /// Returns the format that holds these blocks without a loss; products come near to those in f32.
    pub fn format(self) -> WeightFormat {
        match self {
            Self::Q8_0 => WeightFormat::Q8_0Wide,
            Self::Q4_0 => WeightFormat::Q4_0Wide,
            Self::Q4_1 => WeightFormat::Q4_1,
            Self::Q5_0 => WeightFormat::Q5_0,
            Self::Q5_1 => WeightFormat::Q5_1,
            Self::Iq4Nl => WeightFormat::Iq4Nl,
            Self::Q2K => WeightFormat::Q2K,
            Self::Q3K => WeightFormat::Q3K,
            Self::Q4K => WeightFormat::Q4K,
            Self::Q5K => WeightFormat::Q5K,
            Self::Q6K => WeightFormat::Q6K,
        }
    }

    /// Returns how many numbers a block holds.
    pub fn numbers(self) -> usize {
        match self {
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => SUPER,
            _ => BLOCK,
        }
    }

    /// Returns the size of a block, in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q4_0 | Self::Iq4Nl => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Takes a block apart.
    pub(super) fn read(self, bytes: &[u8]) -> Block {
        match self {
            Self::Q2K => q2_k(bytes),
            Self::Q3K => q3_k(bytes),
            Self::Q4K => q4_k(bytes),
            Self::Q5K => q5_k(bytes),
            Self::Q6K => q6_k(bytes),
            _ => self.read_plain(bytes),
        }
    }

    fn read_plain(self, bytes: &[u8]) -> Block {
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let nibble = |at: usize, index: usize| {
            if index < BLOCK / 2 { bytes[at + index] & 15 } else { bytes[at + index - BLOCK / 2] >> 4 }
        };
        let five =
            |at: usize, index: usize| nibble(at + 4, index) | (bytes[at + index / 8] >> (index % 8) & 1) << 4;
        match self {
            Self::Q4_0 | Self::Iq4Nl => Block::plain(half(0), f16::ZERO, |index| nibble(2, index)),
            Self::Q4_1 => Block::plain(half(0), half(2), |index| nibble(4, index)),
            Self::Q5_0 => Block::plain(half(0), f16::ZERO, |index| five(2, index)),
            Self::Q5_1 => Block::plain(half(0), half(2), |index| five(4, index)),
            // The bias makes them unsigned.
            _ => Block::plain(half(0), f16::ZERO, |index| bytes[2 + index].wrapping_add(128)),
        }
    }
}

fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// 32 bytes hold 128 numbers: first all their lowest two bits, then the next two.
fn pair_of_bits(bytes: &[u8], index: usize) -> u8 {
    bytes[index / 128 * 32 + index % 32] >> (index % 128 / 32 * 2) & 3
}

/// 32 bytes hold 64 numbers: the low half-bytes, then the high ones.
fn nibble(bytes: &[u8], index: usize) -> u8 {
    bytes[index / 64 * 32 + index % 32] >> (index % 64 / 32 * 4) & 15
}

fn q2_k(bytes: &[u8]) -> Block {
    let mut block = Block::super_block(half_at(bytes, 80), half_at(bytes, 82), |index| {
        pair_of_bits(&bytes[16..80], index)
    });
    for (index, both) in bytes[..16].iter().enumerate() {
        (block.small_scales[index], block.small_minimums[index]) = ((both & 15) as i8, (both >> 4) as i8);
    }
    block
}

fn q3_k(bytes: &[u8]) -> Block {
    let (high, packed) = (&bytes[..32], &bytes[96..108]);
    let mut block = Block::super_block(half_at(bytes, 108), f16::ZERO, |index| {
        pair_of_bits(&bytes[32..96], index) | (high[index % 32] >> (index / 32) & 1) << 2
    });
    for (index, scale) in block.small_scales.iter_mut().enumerate() {
        // Eight bytes of low half-bytes, then four of two high bits.
        let low = if index < 8 { packed[index] & 15 } else { packed[index - 8] >> 4 };
        *scale = (low | (packed[8 + index % 4] >> (index / 4 * 2) & 3) << 4) as i8 - 32;
    }
    block
}

fn q4_k(bytes: &[u8]) -> Block {
    let block = Block::super_block(half_at(bytes, 0), half_at(bytes, 2), |index| nibble(&bytes[16..], index));
    with_six_bit_scales(block, &bytes[4..16])
}

fn q5_k(bytes: &[u8]) -> Block {
    let (high, low) = (&bytes[16..48], &bytes[48..]);
    let block = Block::super_block(half_at(bytes, 0), half_at(bytes, 2), |index| {
        nibble(low, index) | (high[index % 32] >> (index / 32) & 1) << 4
    });
    with_six_bit_scales(block, &bytes[4..16])
}

/// Adds eight scales and eight minimums of six bits out of twelve bytes: `get_scale_min_k4` of
/// <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-quants.c>.
fn with_six_bit_scales(mut block: Block, packed: &[u8]) -> Block {
    for index in 0..SUPER_BLOCKS {
        let (scale, minimum) = if index < 4 {
            (packed[index] & 63, packed[index + 4] & 63)
        } else {
            let low = packed[index + 4];
            (low & 15 | packed[index - 4] >> 6 << 4, low >> 4 | packed[index] >> 6 << 4)
        };
        (block.small_scales[index], block.small_minimums[index]) = (scale as i8, minimum as i8);
    }
    block
}

fn q6_k(bytes: &[u8]) -> Block {
    let (lows, highs) = (&bytes[..128], &bytes[128..192]);
    let mut block = Block::super_block(half_at(bytes, 208), f16::ZERO, |index| {
        // 64 bytes of half-bytes and 32 of pairs of bits hold 128 numbers.
        let low = lows[index / 128 * 64 + index % 64] >> (index % 128 / 64 * 4) & 15;
        low | pair_of_bits(highs, index) << 4
    });
    for (scale, byte) in block.small_scales.iter_mut().zip(&bytes[192..208]) {
        *scale = *byte as i8;
    }
    block
}
