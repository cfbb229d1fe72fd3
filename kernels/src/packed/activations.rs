//! Activations of a product: converted to what the format of the weights needs, in panels of a few tokens.
//!
//! ```text
//! panel of WIDTH tokens:
//! group 0:  token 0 | token 1 | ... | token WIDTH-1    one 32-bit word of each token: a kernel broadcasts
//! group 1:  token 0 | token 1 | ... | token WIDTH-1    it to multiply it with a vector of weights
//! ```

use super::layout::{BLOCK, Layout};
use super::quantize::{Q4_BIAS, Q8_BIAS};
use crate::disjoint::Disjoint;
use crate::format::WeightFormat;
use crate::isa::{Isa, isa};
use crate::lanes::{Lanes, lanes_isa, on_lanes};
use crate::threads::parallel_for;

/// Panel widths: `WIDE` if 24 sums fit in the registers, otherwise `NARROW` (4 sums), or `NARROW_QUANTIZED` (3 sums and
/// the totals of quantized weights).
const WIDE: [usize; 7] = [12, 8, 6, 4, 3, 2, 1];
const NARROW: [usize; 4] = [4, 3, 2, 1];
const NARROW_QUANTIZED: [usize; 3] = [3, 2, 1];
/// Tokens from which on panels are filled in parallel.
const PARALLEL_TOKENS: usize = 24;

/// Activations (T, K), ready to be multiplied. The buffers are reused: fill them again for every product.
#[derive(Debug)]
pub struct Activations {
    isa: Isa,
    /// The format of the weights that they are multiplied with.
    format: WeightFormat,
    tokens: usize,
    /// Panel after panel: (words, tokens of the panel).
    words: Vec<u32>,
    /// Panel after panel, in quantized formats only: (blocks, tokens of the panel).
    scales: Vec<f32>,
    /// Laid out as `scales`. Start values of the integer sums of blocks: the sum of the quantized activations times
    /// minus the bias of the weights; where activations have 16 bits, that sum itself.
    offsets: Vec<i32>,
}

/// Some consecutive tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    /// First token.
    pub(super) first: usize,
    /// Number of tokens.
    pub(super) width: usize,
}

impl Default for Activations {
    fn default() -> Self {
        Self::on(isa())
    }
}

impl Activations {
    /// Returns empty activations for the kernels of an instruction set.
    pub(crate) fn on(isa: Isa) -> Self {
        Self {
            isa: lanes_isa(isa),
            format: WeightFormat::F32,
            tokens: 0,
            words: Vec::new(),
            scales: Vec::new(),
            offsets: Vec::new(),
        }
    }

    /// Converts `x`, rows of `columns` numbers with one row every `stride`, for weights stored as `format`.
    ///
    /// # Panics
    /// If the length of `x` is not a multiple of `stride`, or `stride` is smaller than `columns`.
    pub fn fill(&mut self, format: WeightFormat, x: &[f32], stride: usize, columns: usize) {
        assert!(
            stride >= columns && x.len().is_multiple_of(stride),
            "Activations: x has {} numbers; expected rows of {stride} with {columns} columns",
            x.len()
        );
        let layout = Layout::new(format, columns);
        self.format = format;
        self.tokens = x.len() / stride;
        let blocks = if format.is_quantized() { layout.padded_columns / BLOCK } else { 0 };
        self.words.resize(self.tokens * layout.groups, 0);
        self.scales.resize(self.tokens * blocks, 0.0);
        self.offsets.resize(self.tokens * blocks, 0);
        let panels: Vec<Panel> = split_into_panels(self.isa, format, self.tokens).collect();
        let (words, scales, offsets) = (
            Disjoint::new(&mut self.words),
            Disjoint::new(&mut self.scales),
            Disjoint::new(&mut self.offsets),
        );
        let isa = self.isa;
        let fill = |index: usize| {
            let Panel { first, width } = panels[index];
            let x = &x[first * stride..(first + width) * stride];
            // SAFETY: panels are disjoint, and the three vectors have space for all of them.
            let (words, scales, offsets) = unsafe {
                (
                    words.part(first * layout.groups, width * layout.groups),
                    scales.part(first * blocks, width * blocks),
                    offsets.part(first * blocks, width * blocks),
                )
            };
            let panel = PanelToFill { format, x, stride, columns, width, words, scales, offsets };
            on_lanes!(isa, fill_panel(panel: PanelToFill<'_>));
        };
        if self.tokens < PARALLEL_TOKENS {
            (0..panels.len()).for_each(fill);
        } else {
            parallel_for(panels.len(), fill);
        }
    }

    /// Returns T, the number of tokens.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Returns the instruction set that the panels are laid out for.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// Returns the format of weights that the activations were converted for.
    pub(super) fn format(&self) -> WeightFormat {
        self.format
    }

    /// Returns the panels.
    pub(super) fn panels(&self) -> impl Iterator<Item = Panel> {
        split_into_panels(self.isa, self.format, self.tokens)
    }

    /// Returns pointers to the words, scales and offsets of a panel.
    pub(super) fn parts(&self, panel: Panel, groups: usize) -> (*const u32, *const f32, *const i32) {
        let blocks = self.scales.len().checked_div(self.tokens).unwrap_or(0);
        (
            self.words[panel.first * groups..].as_ptr(),
            self.scales[panel.first * blocks..].as_ptr(),
            self.offsets[panel.first * blocks..].as_ptr(),
        )
    }
}

/// Splits tokens into panels: as many of the widest as possible, then narrower ones.
fn split_into_panels(isa: Isa, format: WeightFormat, tokens: usize) -> impl Iterator<Item = Panel> {
    let widths: &[usize] = match format {
        _ if isa == Isa::Avx512 => &WIDE,
        WeightFormat::F32 | WeightFormat::Bf16 => &NARROW,
        _ => &NARROW_QUANTIZED,
    };
    let mut first = 0;
    std::iter::from_fn(move || {
        let width = *widths.iter().find(|width| **width <= tokens - first)?;
        first += width;
        Some(Panel { first: first - width, width })
    })
}

/// A panel and the activations it is filled with.
struct PanelToFill<'a> {
    format: WeightFormat,
    x: &'a [f32],
    stride: usize,
    columns: usize,
    width: usize,
    words: &'a mut [u32],
    scales: &'a mut [f32],
    offsets: &'a mut [i32],
}

/// Converts the activations of one panel.
#[inline(always)]
fn fill_panel<L: Lanes>(_lanes: L, panel: PanelToFill<'_>) {
    let PanelToFill { format, x, stride, columns, width, words, scales, offsets } = panel;
    match (format, width) {
        (WeightFormat::F32, 12) => return interleave_f32::<12>(words, x, stride, columns),
        (WeightFormat::F32, 4) => return interleave_f32::<4>(words, x, stride, columns),
        _ => {}
    }
    for (token, row) in x.chunks_exact(stride).enumerate() {
        let row = &row[..columns];
        match format {
            WeightFormat::F32 => {
                for (word, value) in words[token..].iter_mut().step_by(width).zip(row) {
                    *word = value.to_bits();
                }
            }
            WeightFormat::Bf16 => {
                let (pairs, odd) = row.as_chunks::<2>();
                let last = odd.first().map(|value| [*value, 0.0]);
                let pairs = pairs.iter().copied().chain(last);
                for (word, [low, high]) in words[token..].iter_mut().step_by(width).zip(pairs) {
                    *word = round_to_bf16(low) >> 16 | round_to_bf16(high) & 0xffff_0000;
                }
            }
            _ => {
                let bias = if format == WeightFormat::Q8_0 { Q8_BIAS } else { Q4_BIAS };
                let (blocks, tail) = row.as_chunks::<BLOCK>();
                let mut padded = [0.0; BLOCK];
                padded[..tail.len()].copy_from_slice(tail);
                let tail = (!tail.is_empty()).then_some(&padded);
                for (index, block) in blocks.iter().chain(tail).enumerate() {
                    if format.is_wide() {
                        let words = &mut words[index * BLOCK / 2 * width..];
                        let (scale, sum) = fill_wide_block(block, words, token, width);
                        scales[index * width + token] = scale;
                        offsets[index * width + token] = sum;
                        continue;
                    }
                    let (quants, scale, sum) = quantize_block(block);
                    scales[index * width + token] = scale;
                    offsets[index * width + token] = -bias * sum;
                    for (group, four) in quants.as_chunks::<4>().0.iter().enumerate() {
                        words[(index * BLOCK / 4 + group) * width + token] = u32::from_le_bytes(*four);
                    }
                }
            }
        }
    }
}

/// Fills an f32 panel of N tokens; for the widths that most panels of a batch have.
#[inline(always)]
fn interleave_f32<const N: usize>(words: &mut [u32], x: &[f32], stride: usize, columns: usize) {
    let rows: [&[f32]; N] = std::array::from_fn(|token| &x[token * stride..][..columns]);
    for (column, words) in words.as_chunks_mut::<N>().0.iter_mut().enumerate().take(columns) {
        for (word, row) in words.iter_mut().zip(rows) {
            *word = row[column].to_bits();
        }
    }
}

/// Rounds to bfloat16, ties to even. The bits of the result are in the high half; the low half is unspecified.
#[inline(always)]
fn round_to_bf16(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1))
}

/// Quantizes 32 numbers of one token to 16 bits, which become two signed bytes: words of the high bytes of the block,
/// then words of the low ones; a number is scale * (256 * high + low). Returns the scale and the sum of the quantized
/// numbers.
#[inline(always)]
fn fill_wide_block(block: &[f32; BLOCK], words: &mut [u32], token: usize, width: usize) -> (f32, i32) {
    /// 127 high bytes, whose low bytes are signed.
    const LARGEST: f32 = (127 * 256) as f32;
    /// 1.5 * 2^23, as in [`quantize_block`].
    const ROUND: f32 = 12_582_912.0;
    let largest =
        block.iter().fold(0.0f32, |largest, value| if value.abs() > largest { value.abs() } else { largest });
    let scale = largest / LARGEST;
    // A smaller scale has no inverse.
    let inverse = if scale < f32::MIN_POSITIVE { 0.0 } else { 1.0 / scale };
    let mut sum = 0i32;
    for (group, four) in block.as_chunks::<4>().0.iter().enumerate() {
        let quants =
            four.map(|value| (value * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32);
        sum += quants.iter().sum::<i32>();
        let high = quants.map(|quant| ((quant + 128) >> 8) as u8);
        let low = quants.map(|quant| quant as u8);
        words[group * width + token] = u32::from_le_bytes(high);
        words[(BLOCK / 4 + group) * width + token] = u32::from_le_bytes(low);
    }
    (scale, sum)
}

/// Quantizes 32 numbers to signed bytes. Returns the bytes, their scale and the sum of the bytes.
#[inline(always)]
fn quantize_block(block: &[f32; BLOCK]) -> ([u8; BLOCK], f32, i32) {
    /// 1.5 * 2^23. Adding it leaves no bits for a fraction: the low byte is the number rounded to an integer, ties to
    /// even.
    const ROUND: f32 = 12_582_912.0;
    let mut largest = [0.0f32; 16];
    for half in block.as_chunks::<16>().0 {
        for (largest, value) in largest.iter_mut().zip(half) {
            *largest = if value.abs() > *largest { value.abs() } else { *largest };
        }
    }
    let largest = largest.iter().fold(0.0f32, |a, &b| if b > a { b } else { a });
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut quants = [0u8; BLOCK];
    let mut sum = 0i32;
    for (quant, value) in quants.iter_mut().zip(block) {
        *quant = (value * inverse + ROUND).to_bits() as u8;
        sum += i32::from(*quant as i8);
    }
    (quants, scale, sum)
}
