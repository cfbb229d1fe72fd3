//! The other side of a product: activations, rounded as the weights' format asks and laid out in panels of
//! a few tokens, so that one 32-bit word is one broadcast.

use super::quantize::{Q4_BIAS, Q8_BIAS};
use super::{BLOCK, Layout};
use crate::format::WeightFormat;
use crate::lanes::{Lanes, lanes_path, on_lanes};
use crate::threads::each;
use crate::{Path, path};

/// Panel widths where 24 sums fit the registers, and where 4 do, with the totals of quantized weights beside them or
/// without.
const WIDE: [usize; 7] = [12, 8, 6, 4, 3, 2, 1];
const NARROW: [usize; 4] = [4, 3, 2, 1];
const NARROW_QUANTIZED: [usize; 3] = [3, 2, 1];
/// Tokens from which filling is shared among threads.
const PARALLEL_TOKENS: usize = 24;

/// Activations (T, K) ready to be multiplied; kept and filled again for every product.
#[derive(Debug)]
pub struct Activations {
    path: Path,
    /// Of the weights they meet.
    format: WeightFormat,
    tokens: usize,
    /// Panel after panel: (words, tokens of the panel).
    words: Vec<u32>,
    /// Panel after panel, quantized formats only: (blocks, tokens of the panel).
    scales: Vec<f32>,
    /// Where a block's integer sum starts: minus the weights' bias times the sum of the quants.
    offsets: Vec<i32>,
}

/// Some tokens side by side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel {
    pub(super) first: usize,
    pub(super) width: usize,
}

impl Default for Activations {
    fn default() -> Self {
        Self::on(path())
    }
}

impl Activations {
    pub(crate) fn on(path: Path) -> Self {
        Self {
            path: lanes_path(path),
            format: WeightFormat::F32,
            tokens: 0,
            words: Vec::new(),
            scales: Vec::new(),
            offsets: Vec::new(),
        }
    }

    /// Takes `x`, rows of `columns` that stand `stride` apart, for weights stored as `format`.
    ///
    /// # Panics
    /// When `x` is not whole rows of `stride`, or `stride` is below `columns`.
    pub fn fill(&mut self, format: WeightFormat, x: &[f32], stride: usize, columns: usize) {
        assert!(
            stride >= columns && x.len().is_multiple_of(stride),
            "Activations: x must be rows of {stride}"
        );
        let layout = Layout::of(format, columns);
        self.format = format;
        self.tokens = x.len() / stride;
        let quantized = matches!(format, WeightFormat::Q8_0 | WeightFormat::Q4_0);
        let blocks = if quantized { layout.padded_columns / BLOCK } else { 0 };
        self.words.resize(self.tokens * layout.groups, 0);
        self.scales.resize(self.tokens * blocks, 0.0);
        self.offsets.resize(self.tokens * blocks, 0);
        let panels: Vec<Panel> = panels(self.path, format, self.tokens).collect();
        let (words, scales, offsets) = (
            Shared(self.words.as_mut_ptr()),
            Shared(self.scales.as_mut_ptr()),
            Shared(self.offsets.as_mut_ptr()),
        );
        let path = self.path;
        let fill = |index: usize| {
            let Panel { first, width } = panels[index];
            let x = &x[first * stride..(first + width) * stride];
            // SAFETY: panels are disjoint, and the three vectors were made long enough above.
            let (words, scales, offsets) = unsafe {
                (
                    words.part(first * layout.groups, width * layout.groups),
                    scales.part(first * blocks, width * blocks),
                    offsets.part(first * blocks, width * blocks),
                )
            };
            let panel = Filling { format, x, stride, columns, width, words, scales, offsets };
            on_lanes!(path, fill_panel(panel: Filling<'_>));
        };
        if self.tokens < PARALLEL_TOKENS {
            (0..panels.len()).for_each(fill);
        } else {
            each(panels.len(), fill);
        }
    }

    /// T.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    pub(super) fn format(&self) -> WeightFormat {
        self.format
    }

    pub(super) fn panels(&self) -> impl Iterator<Item = Panel> {
        panels(self.path, self.format, self.tokens)
    }

    /// The panel's words, scales and offsets.
    pub(super) fn parts(&self, panel: Panel, groups: usize) -> (*const u32, *const f32, *const i32) {
        let blocks = self.scales.len().checked_div(self.tokens).unwrap_or(0);
        (
            self.words[panel.first * groups..].as_ptr(),
            self.scales[panel.first * blocks..].as_ptr(),
            self.offsets[panel.first * blocks..].as_ptr(),
        )
    }
}

/// Cuts tokens into panels: as many of the widest as fit, then narrower ones.
fn panels(path: Path, format: WeightFormat, tokens: usize) -> impl Iterator<Item = Panel> {
    let widths: &[usize] = match format {
        _ if path == Path::Avx512 => &WIDE,
        WeightFormat::F32 | WeightFormat::Bf16 => &NARROW,
        WeightFormat::Q8_0 | WeightFormat::Q4_0 => &NARROW_QUANTIZED,
    };
    let mut first = 0;
    std::iter::from_fn(move || {
        let width = *widths.iter().find(|width| **width <= tokens - first)?;
        first += width;
        Some(Panel { first: first - width, width })
    })
}

/// One panel that is being filled.
struct Filling<'a> {
    format: WeightFormat,
    x: &'a [f32],
    stride: usize,
    columns: usize,
    width: usize,
    words: &'a mut [u32],
    scales: &'a mut [f32],
    offsets: &'a mut [i32],
}

#[inline(always)]
fn fill_panel<L: Lanes>(_lanes: L, panel: Filling<'_>) {
    let Filling { format, x, stride, columns, width, words, scales, offsets } = panel;
    match (format, width) {
        (WeightFormat::F32, 12) => return side_by_side::<12>(words, x, stride, columns),
        (WeightFormat::F32, 4) => return side_by_side::<4>(words, x, stride, columns),
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
                    *word = brain(low) >> 16 | brain(high) & 0xffff_0000;
                }
            }
            WeightFormat::Q8_0 | WeightFormat::Q4_0 => {
                let bias = if format == WeightFormat::Q8_0 { Q8_BIAS } else { Q4_BIAS };
                let (blocks, tail) = row.as_chunks::<BLOCK>();
                let mut padded = [0.0; BLOCK];
                padded[..tail.len()].copy_from_slice(tail);
                let tail = (!tail.is_empty()).then_some(&padded);
                for (index, block) in blocks.iter().chain(tail).enumerate() {
                    let (quants, scale, sum) = quantize(block);
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

/// Column after column of N tokens: the panels that most of a batch is cut into.
#[inline(always)]
fn side_by_side<const N: usize>(words: &mut [u32], x: &[f32], stride: usize, columns: usize) {
    let rows: [&[f32]; N] = std::array::from_fn(|token| &x[token * stride..][..columns]);
    for (column, words) in words.as_chunks_mut::<N>().0.iter_mut().enumerate().take(columns) {
        for (word, row) in words.iter_mut().zip(rows) {
            *word = row[column].to_bits();
        }
    }
}

/// The bits of a number rounded to bfloat16, halves to even, in the high half.
#[inline(always)]
fn brain(value: f32) -> u32 {
    let bits = value.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1))
}

/// 32 numbers as signed bytes, their scale, and the bytes' sum.
#[inline(always)]
fn quantize(block: &[f32; BLOCK]) -> ([u8; BLOCK], f32, i32) {
    /// Adding 1.5 * 2^23 leaves no bits for a fraction: the low byte is the number rounded to even.
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

/// A pointer that tasks share; each uses its own part.
struct Shared<T>(*mut T);

impl<T> Shared<T> {
    /// # Safety
    /// The part lies within what the pointer is for, and no other task uses it.
    #[allow(clippy::mut_from_ref, reason = "the parts are disjoint, as the caller says")]
    unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        // SAFETY: said by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }
}

// SAFETY: whoever shares it keeps the parts disjoint.
unsafe impl<T: Send> Sync for Shared<T> {}
