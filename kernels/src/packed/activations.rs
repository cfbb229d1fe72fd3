//! Activations of a product: converted to what the format of the weights needs, in panels of a few tokens.
//!
//! ```text
//! panel of WIDTH tokens:
//! group 0:  token 0 | token 1 | ... | token WIDTH-1    one 32-bit word of each token: a kernel broadcasts
//! group 1:  token 0 | token 1 | ... | token WIDTH-1    it to multiply it with a vector of weights
//! ```

use super::encoding::BLOCK;
use super::layout::activation_words;
use super::wide_sums::WideActivations;
use crate::disjoint::Disjoint;
use crate::format::{ActivationFormat, WeightFormat};
use crate::isa::{Isa, isa};
use crate::lanes::{Lanes, lanes_isa, on_lanes};
use crate::threads::parallel_for;

/// Panel widths, the widest first: as many tokens as have their sums in the registers (24 sums in AVX-512's, or 12 and
/// the totals of quantized weights). Each width is one more copy of a kernel.
pub(super) const fn panel_widths(isa: Isa, format: ActivationFormat) -> &'static [usize] {
    match (isa, format) {
        (Isa::Avx512, ActivationFormat::Wide) => &[12, 8, 4, 2, 1],
        (Isa::Avx512, _) => &[12, 8, 6, 4, 3, 2, 1],
        (_, ActivationFormat::F32 | ActivationFormat::Bf16) => &[4, 3, 2, 1],
        (Isa::Avx2, _) => &[3, 2, 1],
        (Isa::Portable, _) => &[1],
    }
}

/// Tokens from which on panels are filled in parallel.
const PARALLEL_TOKENS: usize = 24;

/// Activations (T, K), ready to be multiplied. The buffers are reused: fill them again for every product.
#[derive(Debug)]
pub struct Activations {
    isa: Isa,
    format: ActivationFormat,
    tokens: usize,
    /// Panel after panel: (words, tokens of the panel).
    words: Vec<u32>,
    /// Panel after panel, if quantized: (blocks, tokens of the panel).
    scales: Vec<f32>,
    /// Laid out as `scales`, of 8 bits only. Start values of the integer sums of blocks: the sum of the quantized
    /// activations times minus the bias of the weights.
    offsets: Vec<i32>,
    /// Panel after panel, of 16 bits only: (blocks, 3, tokens of the panel). The sums of the rounded activations in the
    /// first half of a block, in its second one, in both.
    sums: Vec<f32>,
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
            format: ActivationFormat::F32,
            tokens: 0,
            words: Vec::new(),
            scales: Vec::new(),
            offsets: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Converts `x`, rows of `columns` numbers with one row every `stride`, for weights stored as `format`: also for others
    /// that need the same conversion, as all those that keep 16 bits of activations do.
    ///
    /// # Panics
    /// If the length of `x` is not a multiple of `stride`, or `stride` is smaller than `columns`.
    pub fn fill(&mut self, format: WeightFormat, x: &[f32], stride: usize, columns: usize) {
        assert!(
            stride >= columns && x.len().is_multiple_of(stride),
            "Activations: x has {} numbers; expected rows of {stride} with {columns} columns",
            x.len()
        );
        let format = format.activations();
        self.format = format;
        self.tokens = x.len() / stride;
        let groups = activation_words(format, columns);
        let all_blocks = columns.div_ceil(BLOCK);
        let (blocks, offsets, sums) = match format {
            ActivationFormat::F32 | ActivationFormat::Bf16 => (0, 0, 0),
            ActivationFormat::Bytes { .. } => (all_blocks, all_blocks, 0),
            ActivationFormat::Wide => (all_blocks, 0, 3 * all_blocks),
        };
        self.words.resize(self.tokens * groups, 0);
        self.scales.resize(self.tokens * blocks, 0.0);
        self.offsets.resize(self.tokens * offsets, 0);
        self.sums.resize(self.tokens * sums, 0.0);
        let panels: Vec<Panel> = split_into_panels(self.isa, format, self.tokens).collect();
        let parts = (
            Disjoint::new(&mut self.words),
            Disjoint::new(&mut self.scales),
            Disjoint::new(&mut self.offsets),
            Disjoint::new(&mut self.sums),
        );
        let isa = self.isa;
        let fill = |index: usize| {
            let Panel { first, width } = panels[index];
            let x = &x[first * stride..(first + width) * stride];
            // SAFETY: panels are disjoint, and the vectors have space for all of them.
            let (words, scales, offsets, sums) = unsafe {
                (
                    parts.0.part(first * groups, width * groups),
                    parts.1.part(first * blocks, width * blocks),
                    parts.2.part(first * offsets, width * offsets),
                    parts.3.part(first * sums, width * sums),
                )
            };
            let panel = PanelToFill { format, x, stride, columns, width, words, scales, offsets, sums };
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

    /// Returns what the activations were converted to.
    pub(super) fn format(&self) -> ActivationFormat {
        self.format
    }

    /// Returns the panels.
    pub(super) fn panels(&self) -> impl Iterator<Item = Panel> {
        split_into_panels(self.isa, self.format, self.tokens)
    }

    /// Returns a pointer to the words of a panel.
    pub(super) fn words(&self, panel: Panel) -> *const u32 {
        part(&self.words, self.tokens, panel)
    }

    /// Returns pointers to the words, scales and offsets of a panel of 8 bits.
    pub(super) fn bytes(&self, panel: Panel) -> (*const u32, *const f32, *const i32) {
        (self.words(panel), part(&self.scales, self.tokens, panel), part(&self.offsets, self.tokens, panel))
    }

    /// Returns a panel of 16 bits.
    pub(super) fn wide(&self, panel: Panel) -> WideActivations {
        let (scales, sums) = (part(&self.scales, self.tokens, panel), part(&self.sums, self.tokens, panel));
        WideActivations { words: self.words(panel), scales, sums }
    }
}

/// Returns where a panel begins in numbers of all tokens.
fn part<T>(values: &[T], tokens: usize, panel: Panel) -> *const T {
    values[panel.first * (values.len() / tokens)..].as_ptr()
}

/// Splits tokens into panels: as many of the widest as possible, then narrower ones.
fn split_into_panels(isa: Isa, format: ActivationFormat, tokens: usize) -> impl Iterator<Item = Panel> {
    let widths = panel_widths(isa, format);
    let mut first = 0;
    std::iter::from_fn(move || {
        let width = *widths.iter().find(|width| **width <= tokens - first)?;
        first += width;
        Some(Panel { first: first - width, width })
    })
}

/// A panel and the activations it is filled with.
struct PanelToFill<'a> {
    format: ActivationFormat,
    x: &'a [f32],
    stride: usize,
    columns: usize,
    width: usize,
    words: &'a mut [u32],
    scales: &'a mut [f32],
    offsets: &'a mut [i32],
    sums: &'a mut [f32],
}

/// Converts the activations of one panel.
#[inline(always)]
fn fill_panel<L: Lanes>(_lanes: L, panel: PanelToFill<'_>) {
    let PanelToFill { format, x, stride, columns, width, words, scales, offsets, sums } = panel;
    match (format, width) {
        (ActivationFormat::F32, 12) => return interleave_f32::<12>(words, x, stride, columns),
        (ActivationFormat::F32, 4) => return interleave_f32::<4>(words, x, stride, columns),
        _ => {}
    }
    for (token, row) in x.chunks_exact(stride).enumerate() {
        let row = &row[..columns];
        match format {
            ActivationFormat::F32 => {
                for (word, value) in words[token..].iter_mut().step_by(width).zip(row) {
                    *word = value.to_bits();
                }
            }
            ActivationFormat::Bf16 => {
                let (pairs, odd) = row.as_chunks::<2>();
                let last = odd.first().map(|value| [*value, 0.0]);
                let pairs = pairs.iter().copied().chain(last);
                for (word, [low, high]) in words[token..].iter_mut().step_by(width).zip(pairs) {
                    *word = round_to_bf16(low) >> 16 | round_to_bf16(high) & 0xffff_0000;
                }
            }
            ActivationFormat::Bytes { bias } => {
                for_each_block(row, |index, block| {
                    let (quants, scale, sum) = quantize_block(block);
                    scales[index * width + token] = scale;
                    offsets[index * width + token] = -bias * sum;
                    for (group, four) in quants.as_chunks::<4>().0.iter().enumerate() {
                        words[(index * BLOCK / 4 + group) * width + token] = u32::from_le_bytes(*four);
                    }
                });
            }
            ActivationFormat::Wide => {
                for_each_block(row, |index, block| {
                    let words = &mut words[index * BLOCK / 2 * width..];
                    let (scale, [first, second]) = fill_wide_block(block, words, token, width);
                    scales[index * width + token] = scale;
                    // Sums of 32 numbers of 16 bits are exact in f32.
                    for (row, sum) in [first, second, first + second].into_iter().enumerate() {
                        sums[(index * 3 + row) * width + token] = scale * sum as f32;
                    }
                });
            }
        }
    }
}

/// Calls `work` with each block of a row; the last one is padded with zeros.
#[inline(always)]
fn for_each_block(row: &[f32], mut work: impl FnMut(usize, &[f32; BLOCK])) {
    let (blocks, tail) = row.as_chunks::<BLOCK>();
    let mut padded = [0.0; BLOCK];
    padded[..tail.len()].copy_from_slice(tail);
    let tail = (!tail.is_empty()).then_some(&padded);
    for (index, block) in blocks.iter().chain(tail).enumerate() {
        work(index, block);
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
/// then words of the low ones; a number is scale * (256 * high + low). Returns the scale and the sums of the quantized
/// numbers of both halves.
#[inline(always)]
fn fill_wide_block(block: &[f32; BLOCK], words: &mut [u32], token: usize, width: usize) -> (f32, [i32; 2]) {
    /// 127 high bytes, whose low bytes are signed.
    const LARGEST: f32 = (127 * 256) as f32;
    /// 1.5 * 2^23, as in [`quantize_block`].
    const ROUND: f32 = 12_582_912.0;
    let largest =
        block.iter().fold(0.0f32, |largest, value| if value.abs() > largest { value.abs() } else { largest });
    let scale = largest / LARGEST;
    // A smaller scale has no inverse.
    let inverse = if scale < f32::MIN_POSITIVE { 0.0 } else { 1.0 / scale };
    let mut sums = [0i32; 2];
    for (group, four) in block.as_chunks::<4>().0.iter().enumerate() {
        let quants =
            four.map(|value| (value * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32);
        sums[group / (BLOCK / 8)] += quants.iter().sum::<i32>();
        let high = quants.map(|quant| ((quant + 128) >> 8) as u8);
        let low = quants.map(|quant| quant as u8);
        words[group * width + token] = u32::from_le_bytes(high);
        words[(BLOCK / 4 + group) * width + token] = u32::from_le_bytes(low);
    }
    (scale, sums)
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
