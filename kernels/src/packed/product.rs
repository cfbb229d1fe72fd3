//! The product of activations and packed weights: each weight is read from memory once for all tokens.

#![allow(clippy::needless_range_loop, reason = "a kernel counts tokens and tiles of several arrays")]

use super::activations::{Activations, Panel};
use super::{BLOCK, Layout, PackedMatrix};
use crate::elementwise::silu;
use crate::format::WeightFormat;
use crate::lanes::{Lanes, on_lanes};
use crate::memory::prefetch;
use crate::simd::LANES;
use crate::threads::{each, threads};

/// Tiles of sixteen rows that a kernel takes together.
const PAIR: usize = 2;

/// What becomes of a product's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// out = product.
    Store,
    /// out += product: the residual.
    Add,
    /// Rows are sixteen of a gate and sixteen of its values in turn: out = silu(gate) * value, half as wide.
    Gate,
}

/// out (T, N) = x (T, K) * matrix (N, K)^T, rows of `out` standing `stride` apart.
///
/// # Panics
/// When x was not filled for this matrix, or `out` is not T rows of `stride` numbers, or `stride` is smaller
/// than the outputs rounded up to 16.
pub fn multiply(out: &mut [f32], stride: usize, x: &Activations, matrix: &PackedMatrix, epilogue: Epilogue) {
    let outputs = if epilogue == Epilogue::Gate { matrix.rows / 2 } else { matrix.rows };
    assert_eq!(x.format(), matrix.format, "multiply: x was filled for another format");
    assert_eq!(out.len(), x.tokens() * stride, "multiply: out must be tokens x stride");
    assert!(
        stride >= outputs.next_multiple_of(LANES),
        "multiply: a stride of {stride} for {outputs} outputs"
    );
    if x.tokens() == 0 {
        return;
    }
    let pairs = matrix.rows.div_ceil(PAIR * LANES);
    let tasks = pairs.min(threads() * if x.tokens() <= 12 { 4 } else { 8 });
    let job = Job { out: out.as_mut_ptr(), stride, x, matrix, epilogue };
    let path = x.path();
    each(tasks, |task| {
        let range = pairs * task / tasks..pairs * (task + 1) / tasks;
        let job = &job;
        let (first, last) = (range.start, range.end);
        on_lanes!(path, multiply_pairs(job: &Job<'_>, first: usize, last: usize));
    });
}

struct Job<'a> {
    out: *mut f32,
    stride: usize,
    x: &'a Activations,
    matrix: &'a PackedMatrix,
    epilogue: Epilogue,
}

// SAFETY: tasks write disjoint columns of `out`, and read the rest.
unsafe impl Sync for Job<'_> {}

#[inline(always)]
fn multiply_pairs<L: Lanes>(lanes: L, job: &Job<'_>, first: usize, last: usize) {
    for pair in first..last {
        for panel in job.x.panels() {
            match panel.width {
                12 if L::WIDE => multiply_panel::<L, 12>(lanes, job, pair, panel),
                8 if L::WIDE => multiply_panel::<L, 8>(lanes, job, pair, panel),
                6 if L::WIDE => multiply_panel::<L, 6>(lanes, job, pair, panel),
                4 => multiply_panel::<L, 4>(lanes, job, pair, panel),
                3 => multiply_panel::<L, 3>(lanes, job, pair, panel),
                2 => multiply_panel::<L, 2>(lanes, job, pair, panel),
                _ => multiply_panel::<L, 1>(lanes, job, pair, panel),
            }
        }
    }
}

/// Two tiles of rows times one panel of tokens.
#[inline(always)]
fn multiply_panel<L: Lanes, const WIDTH: usize>(lanes: L, job: &Job<'_>, pair: usize, panel: Panel) {
    let tiles: [*const u8; PAIR] = std::array::from_fn(|tile| job.matrix.tile(pair * PAIR + tile));
    let groups = job.matrix.layout.groups;
    let (words, scales, offsets) = job.x.parts(panel, groups);
    // SAFETY: tiles and panel were laid out for these groups and blocks.
    let sums: [[L::Vector; WIDTH]; PAIR] = unsafe {
        // Where registers are few, four tokens fill them with one tile's sums, fewer with both tiles'.
        let together = L::WIDE || WIDTH < 4;
        let [one, two] = tiles;
        match job.matrix.format {
            WeightFormat::F32 if together => floats(lanes, tiles, words, groups),
            WeightFormat::F32 => {
                [floats(lanes, [one], words, groups)[0], floats(lanes, [two], words, groups)[0]]
            }
            WeightFormat::Bf16 if together => brains(lanes, tiles, words, groups),
            WeightFormat::Bf16 => {
                [brains(lanes, [one], words, groups)[0], brains(lanes, [two], words, groups)[0]]
            }
            // Written out, not mapped: a closure that is not inlined may not use the instructions.
            WeightFormat::Q8_0 => [
                quantized::<L, WIDTH, false>(
                    lanes,
                    Quants::of(one, &job.matrix.layout),
                    words,
                    scales,
                    offsets,
                ),
                quantized::<L, WIDTH, false>(
                    lanes,
                    Quants::of(two, &job.matrix.layout),
                    words,
                    scales,
                    offsets,
                ),
            ],
            WeightFormat::Q4_0 => [
                quantized::<L, WIDTH, true>(
                    lanes,
                    Quants::of(one, &job.matrix.layout),
                    words,
                    scales,
                    offsets,
                ),
                quantized::<L, WIDTH, true>(
                    lanes,
                    Quants::of(two, &job.matrix.layout),
                    words,
                    scales,
                    offsets,
                ),
            ],
        }
    };
    for token in 0..WIDTH {
        let row = (panel.first + token) * job.stride;
        let at = |tile: usize| -> Option<&mut [f32; LANES]> {
            let column = tile * LANES;
            // SAFETY: a tile that begins within the stride ends within it; no other task writes there.
            (column < job.stride).then(|| unsafe { &mut *job.out.add(row + column).cast() })
        };
        match job.epilogue {
            Epilogue::Gate => {
                if let Some(out) = at(pair) {
                    lanes.store(out, lanes.multiply(silu(lanes, sums[0][token]), sums[1][token]));
                }
            }
            Epilogue::Store | Epilogue::Add => {
                for (tile, sums) in sums.iter().enumerate() {
                    if let Some(out) = at(pair * PAIR + tile) {
                        let sum = match job.epilogue {
                            Epilogue::Add => lanes.add(lanes.load(out), sums[token]),
                            _ => sums[token],
                        };
                        lanes.store(out, sum);
                    }
                }
            }
        }
    }
}

/// # Safety
/// Each tile holds `groups` vectors, `words` as many rows of WIDTH.
#[inline(always)]
unsafe fn floats<L: Lanes, const WIDTH: usize, const TILES: usize>(
    lanes: L,
    tiles: [*const u8; TILES],
    words: *const u32,
    groups: usize,
) -> [[L::Vector; WIDTH]; TILES] {
    let mut sums = [[lanes.splat(0.0); WIDTH]; TILES];
    for group in 0..groups {
        let mut weights = [lanes.splat(0.0); TILES];
        for tile in 0..TILES {
            // SAFETY: said by the caller.
            weights[tile] = unsafe { lanes.load_floats(tiles[tile].add(group * 64)) };
        }
        for token in 0..WIDTH {
            // SAFETY: as above.
            let x = lanes.splat(f32::from_bits(unsafe { *words.add(group * WIDTH + token) }));
            for tile in 0..TILES {
                sums[tile][token] = lanes.multiply_add(weights[tile], x, sums[tile][token]);
            }
        }
    }
    sums
}

/// # Safety
/// As [`floats`].
#[inline(always)]
unsafe fn brains<L: Lanes, const WIDTH: usize, const TILES: usize>(
    lanes: L,
    tiles: [*const u8; TILES],
    words: *const u32,
    groups: usize,
) -> [[L::Vector; WIDTH]; TILES] {
    let mut sums = [[lanes.splat(0.0); WIDTH]; TILES];
    for group in 0..groups {
        let mut weights = [lanes.splat_word(0); TILES];
        for tile in 0..TILES {
            // SAFETY: said by the caller.
            weights[tile] = unsafe { lanes.load_words(tiles[tile].add(group * 64)) };
        }
        for token in 0..WIDTH {
            // SAFETY: as above.
            let x = lanes.splat_word(unsafe { *words.add(group * WIDTH + token) });
            for tile in 0..TILES {
                sums[tile][token] = lanes.add_brain_products(sums[tile][token], weights[tile], x);
            }
        }
    }
    sums
}

/// How far before its use a quantized weight is asked for: the processor's own prefetching starts anew with
/// every tile, because of the scales behind it.
const AHEAD: usize = 8192;

/// A quantized tile.
#[derive(Clone, Copy)]
struct Quants {
    tile: *const u8,
    scales: *const u8,
    blocks: usize,
}

impl Quants {
    #[inline(always)]
    fn of(tile: *const u8, layout: &Layout) -> Self {
        Self { tile, scales: tile.wrapping_add(layout.scales), blocks: layout.groups * 4 / BLOCK }
    }
}

/// Times a tile of bytes, or of two numbers a byte: the low ones of a block's first half, the high ones of its
/// second.
///
/// # Safety
/// The tile holds `blocks` blocks of eight vectors (four with `NIBBLES`) and as many times sixteen scales; `words`,
/// `scales` and `offsets` as many blocks of WIDTH tokens.
#[inline(always)]
unsafe fn quantized<L: Lanes, const WIDTH: usize, const NIBBLES: bool>(
    lanes: L,
    quants: Quants,
    words: *const u32,
    scales: *const f32,
    offsets: *const i32,
) -> [L::Vector; WIDTH] {
    let vectors = if NIBBLES { BLOCK / 8 } else { BLOCK / 4 };
    let mut totals = [lanes.splat(0.0); WIDTH];
    for block in 0..quants.blocks {
        // SAFETY: said by the caller, here and below.
        unsafe {
            let mut sums = [lanes.splat_word(0); WIDTH];
            for (token, sum) in sums.iter_mut().enumerate() {
                *sum = lanes.splat_word(*offsets.add(block * WIDTH + token) as u32);
            }
            for vector in 0..vectors {
                let place = quants.tile.add((block * vectors + vector) * 64);
                if WIDTH < 12 {
                    prefetch(place.wrapping_add(AHEAD));
                }
                let stored = lanes.load_words(place);
                for (token, sum) in sums.iter_mut().enumerate() {
                    let word = words.add((block * BLOCK / 4 + vector) * WIDTH + token);
                    if NIBBLES {
                        let (low, high) = (lanes.low_nibbles(stored), lanes.high_nibbles(stored));
                        *sum = lanes.add_byte_products(*sum, low, lanes.splat_word(*word));
                        let word = word.add(vectors * WIDTH);
                        *sum = lanes.add_byte_products(*sum, high, lanes.splat_word(*word));
                    } else {
                        *sum = lanes.add_byte_products(*sum, stored, lanes.splat_word(*word));
                    }
                }
            }
            add_block(lanes, &mut totals, sums, quants.scales.add(block * 32), scales.add(block * WIDTH));
        }
    }
    totals
}

/// totals += sums, times the scales of weights and activations.
///
/// # Safety
/// Sixteen f16 can be read at `weight_scales`, WIDTH f32 at `scales`.
#[inline(always)]
unsafe fn add_block<L: Lanes, const WIDTH: usize>(
    lanes: L,
    totals: &mut [L::Vector; WIDTH],
    sums: [L::Words; WIDTH],
    weight_scales: *const u8,
    scales: *const f32,
) {
    // SAFETY: said by the caller.
    let weight_scales = unsafe { lanes.load_halves(weight_scales) };
    for (token, (total, sum)) in totals.iter_mut().zip(sums).enumerate() {
        // SAFETY: said by the caller.
        let scale = lanes.multiply(weight_scales, lanes.splat(unsafe { *scales.add(token) }));
        *total = lanes.multiply_add(lanes.to_floats(sum), scale, *total);
    }
}
