//! How each quantized format holds a block of 32 numbers: in how many bits, and with which scales.

use crate::format::WeightFormat;

/// Columns of a block.
pub(crate) const BLOCK: usize = 32;
/// Blocks of a super-block of 256 columns.
pub(super) const SUPER_BLOCKS: usize = 8;
/// Columns of a super-block.
pub(super) const SUPER: usize = BLOCK * SUPER_BLOCKS;

/// A quantized format. A number is `scale * (quant - bias)`, or `scale * quant + minimum` in formats with minimums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoding {
    /// Bits of a quant: 2, 3, 4, 5, 6 or 8.
    pub(super) bits: usize,
    /// What the quants of a format without minimums are too large by.
    pub(super) bias: i32,
    pub(super) has_minimums: bool,
    /// Whether the four bits are an index into [`UNEVEN_STEPS`].
    pub(super) is_uneven: bool,
    /// Scales of one byte in a block, which the f16 of its super-block multiplies; 0: the block has an f16 of its own.
    pub(super) small_scales: usize,
}

/// The steps of IQ4_NL, plus its bias: `kvalues_iq4nl` of
/// <https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h>.
pub(super) const UNEVEN_STEPS: [u8; 16] =
    [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

impl Encoding {
    /// Returns the encoding of a quantized format.
    pub(super) const fn of(format: WeightFormat) -> Self {
        match format {
            WeightFormat::F32 | WeightFormat::Bf16 => panic!("the format is not quantized"),
            WeightFormat::Q8_0 | WeightFormat::Q8_0Wide => Self::plain(8, 128),
            WeightFormat::Q4_0 | WeightFormat::Q4_0Wide => Self::plain(4, 8),
            WeightFormat::Q4_1 => Self { has_minimums: true, ..Self::plain(4, 0) },
            WeightFormat::Q5_0 => Self::plain(5, 16),
            WeightFormat::Q5_1 => Self { has_minimums: true, ..Self::plain(5, 0) },
            WeightFormat::Iq4Nl => Self { is_uneven: true, ..Self::plain(4, 128) },
            WeightFormat::Q2K => Self { has_minimums: true, small_scales: 2, ..Self::plain(2, 0) },
            WeightFormat::Q3K => Self { small_scales: 2, ..Self::plain(3, 4) },
            WeightFormat::Q4K => Self { has_minimums: true, small_scales: 1, ..Self::plain(4, 0) },
            WeightFormat::Q5K => Self { has_minimums: true, small_scales: 1, ..Self::plain(5, 0) },
            WeightFormat::Q6K => Self { small_scales: 2, ..Self::plain(6, 32) },
        }
    }

    const fn plain(bits: usize, bias: i32) -> Self {
        Self { bits, bias, has_minimums: false, is_uneven: false, small_scales: 0 }
    }

    /// Returns how many columns share an f16.
    pub(super) const fn columns(self) -> usize {
        if self.small_scales == 0 { BLOCK } else { SUPER }
    }
}
