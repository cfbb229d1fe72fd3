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
        match self {
            Self::Q4_0 | Self::Iq4Nl => Block::plain(half(0), f16::ZERO, nibbles(&bytes[2..])),
            Self::Q4_1 => Block::plain(half(0), half(2), nibbles(&bytes[4..])),
            Self::Q5_0 => Block::plain(half(0), f16::ZERO, fives(&bytes[2..])),
            Self::Q5_1 => Block::plain(half(0), half(2), fives(&bytes[4..])),
            // The bias makes them unsigned.
            _ => Block::plain(
                half(0),
                f16::ZERO,
                first::<BLOCK>(&bytes[2..]).map(|byte| byte.wrapping_add(128)),
            ),
        }
    }
}

/// The first bytes as an array: loops over arrays are vectorized, and loading a model is mostly these loops.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("a block has all its bytes")
}

/// The half-bytes of a block: of every `width` bytes first the low ones, then the high ones.
fn halves<const N: usize>(bytes: &[u8], width: usize) -> [u8; N] {
    let mut quants = [0; N];
    for (quants, packed) in quants.chunks_exact_mut(2 * width).zip(bytes[..N / 2].chunks_exact(width)) {
        let (low, high) = quants.split_at_mut(width);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(packed) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }
    quants
}

fn nibbles(bytes: &[u8]) -> [u8; BLOCK] {
    halves(bytes, BLOCK / 2)
}

/// Numbers of five bits: the highest bit of each in four bytes, then the half-bytes.
fn fives(bytes: &[u8]) -> [u8; BLOCK] {
    let highest = u32::from_le_bytes(first(bytes));
    let mut quants = nibbles(&bytes[4..]);
    for (index, quant) in quants.iter_mut().enumerate() {
        *quant |= ((highest >> index & 1) as u8) << 4;
    }
    quants
}

/// The pairs of bits of a super-block: of every 32 bytes first all lowest two bits, then the next two.
fn pairs(bytes: &[u8]) -> [u8; SUPER] {
    let mut quants = [0; SUPER];
    for (index, quants) in quants.chunks_exact_mut(BLOCK).enumerate() {
        let packed: [u8; BLOCK] = first(&bytes[index / 4 * BLOCK..]);
        quants.iter_mut().zip(packed).for_each(|(quant, byte)| *quant = byte >> (index % 4 * 2) & 3);
    }
    quants
}

/// Adds one more bit to each number of a super-block, which becomes bit `to`: 32 bytes hold the bits of eight blocks.
fn add_bits(quants: &mut [u8; SUPER], bytes: &[u8], to: usize) {
    let packed: [u8; BLOCK] = first(bytes);
    for (index, quants) in quants.chunks_exact_mut(BLOCK).enumerate() {
        quants.iter_mut().zip(packed).for_each(|(quant, byte)| *quant |= (byte >> index & 1) << to);
    }
}

fn half_at(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn q2_k(bytes: &[u8]) -> Block {
    let mut block = Block::super_block(half_at(bytes, 80), half_at(bytes, 82), pairs(&bytes[16..80]));
    for (index, both) in bytes[..16].iter().enumerate() {
        (block.small_scales[index], block.small_minimums[index]) = ((both & 15) as i8, (both >> 4) as i8);
    }
    block
}

fn q3_k(bytes: &[u8]) -> Block {
    let packed = &bytes[96..108];
    let mut quants = pairs(&bytes[32..96]);
    add_bits(&mut quants, &bytes[..32], 2);
    let mut block = Block::super_block(half_at(bytes, 108), f16::ZERO, quants);
    for (index, scale) in block.small_scales.iter_mut().enumerate() {
        // Eight bytes of low half-bytes, then four of two high bits.
        let low = if index < 8 { packed[index] & 15 } else { packed[index - 8] >> 4 };
        *scale = (low | (packed[8 + index % 4] >> (index / 4 * 2) & 3) << 4) as i8 - 32;
    }
    block
}

fn q4_k(bytes: &[u8]) -> Block {
    let block = Block::super_block(half_at(bytes, 0), half_at(bytes, 2), halves(&bytes[16..], BLOCK));
    with_six_bit_scales(block, &bytes[4..16])
}

fn q5_k(bytes: &[u8]) -> Block {
    let mut quants: [u8; SUPER] = halves(&bytes[48..], BLOCK);
    add_bits(&mut quants, &bytes[16..48], 4);
    let block = Block::super_block(half_at(bytes, 0), half_at(bytes, 2), quants);
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
    // 64 bytes of half-bytes and 32 of pairs of bits hold 128 numbers.
    let mut quants: [u8; SUPER] = halves(&bytes[..128], 2 * BLOCK);
    quants.iter_mut().zip(pairs(&bytes[128..192])).for_each(|(quant, high)| *quant |= high << 4);
    let mut block = Block::super_block(half_at(bytes, 208), f16::ZERO, quants);
    for (scale, byte) in block.small_scales.iter_mut().zip(&bytes[192..208]) {
        *scale = *byte as i8;
    }
    block
}
