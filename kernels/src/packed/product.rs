//! The product of activations and packed weights. Each weight is read from memory once for all tokens.
//!
//! A task takes some pairs of tiles (2 x 16 outputs). It multiplies a pair with each panel of up to 12 tokens; the sums
//! of the pair and the panel, 2 x 12 vectors, stay in registers.

use super::activations::{Activations, Panel};
use super::matrix::PackedMatrix;
use super::sums::{QuantizedTile, bf16_sums, f32_sums, quantized_sums};
use super::wide_sums::wide_sums;
use crate::elementwise::{gelu, silu};
use crate::format::WeightFormat;
use crate::lanes::{Lanes, on_lanes};
use crate::simd::LANES;
use crate::threads::{parallel_for, threads};

/// Tiles of sixteen rows that a kernel processes together.
const PAIR: usize = 2;

/// What is done with the outputs of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// out = product.
    Store,
    /// out += product: the residual connection.
    Add,
    /// SwiGLU: out = silu(gate) * up, half as wide. Rows of the matrix alternate: sixteen of gate, sixteen of up.
    Gate,
    /// As `Gate`, with the tanh form of GELU in place of SiLU.
    GeluGate,
}

/// Computes out (T, N) = x (T, K) * matrix (N, K)^T, with one row of `out` every `stride` numbers.
///
/// # Panics
/// If x was filled for another format, `out` is not T rows of `stride` numbers, or `stride` is smaller than the number
/// of outputs rounded up to 16.
pub fn multiply(out: &mut [f32], stride: usize, x: &Activations, matrix: &PackedMatrix, epilogue: Epilogue) {
    let is_gated = matches!(epilogue, Epilogue::Gate | Epilogue::GeluGate);
    let outputs = if is_gated { matrix.rows / 2 } else { matrix.rows };
    assert_eq!(x.format(), matrix.format, "multiply: x was filled for weights of another format");
    assert_eq!(out.len(), x.tokens() * stride, "multiply: the length of out is not tokens x stride");
    assert!(
        stride >= outputs.next_multiple_of(LANES),
        "multiply: a stride of {stride} is too small for {outputs} outputs rounded up to {LANES}"
    );
    if x.tokens() == 0 {
        return;
    }
    let pairs = matrix.rows.div_ceil(PAIR * LANES);
    let tasks = pairs.min(threads() * if x.tokens() <= 12 { 4 } else { 8 });
    let job = Job { out: out.as_mut_ptr(), stride, x, matrix, epilogue };
    let isa = x.isa();
    parallel_for(tasks, |task| {
        let range = pairs * task / tasks..pairs * (task + 1) / tasks;
        let job = &job;
        let (first, last) = (range.start, range.end);
        on_lanes!(isa, multiply_pairs(job: &Job<'_>, first: usize, last: usize));
    });
}

/// What the tasks of a product share.
struct Job<'a> {
    out: *mut f32,
    stride: usize,
    x: &'a Activations,
    matrix: &'a PackedMatrix,
    epilogue: Epilogue,
}

// SAFETY: tasks write disjoint columns of `out` and only read the rest.
unsafe impl Sync for Job<'_> {}

/// Multiplies the pairs of tiles `first..last` with all tokens.
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

/// Multiplies two tiles of rows with one panel of tokens.
#[inline(always)]
fn multiply_panel<L: Lanes, const WIDTH: usize>(lanes: L, job: &Job<'_>, pair: usize, panel: Panel) {
    let tiles = std::array::from_fn(|tile| job.matrix.tile(pair * PAIR + tile));
    let sums = panel_sums::<L, WIDTH>(lanes, job, tiles, panel);
    for token in 0..WIDTH {
        let row = (panel.first + token) * job.stride;
        let output = |tile: usize| -> Option<&mut [f32; LANES]> {
            let column = tile * LANES;
            // SAFETY: a tile that begins within the stride ends within it; no other task writes there.
            (column < job.stride).then(|| unsafe { &mut *job.out.add(row + column).cast() })
        };
        match job.epilogue {
            Epilogue::Gate => {
                if let Some(out) = output(pair) {
                    lanes.store(out, lanes.multiply(silu(lanes, sums[0][token]), sums[1][token]));
                }
            }
            Epilogue::GeluGate => {
                if let Some(out) = output(pair) {
                    lanes.store(out, lanes.multiply(gelu(lanes, sums[0][token]), sums[1][token]));
                }
            }
            Epilogue::Store | Epilogue::Add => {
                for (tile, sums) in sums.iter().enumerate() {
                    if let Some(out) = output(pair * PAIR + tile) {
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

/// The sums of two tiles of rows with one panel of tokens, in the format of the weights.
#[inline(always)]
fn panel_sums<L: Lanes, const WIDTH: usize>(
    lanes: L,
    job: &Job<'_>,
    tiles: [*const u8; PAIR],
    panel: Panel,
) -> [[L::Vector; WIDTH]; PAIR] {
    let layout = &job.matrix.layout;
    let groups = layout.groups;
    let (words, scales, offsets) = job.x.parts(panel, groups);
    // With 16 registers, the sums of four tokens and one tile fill them, or those of fewer tokens and both tiles.
    let together = L::WIDE || WIDTH < 4;
    let [one, two] = tiles;
    // Both tiles are written out: a closure that is not inlined may not use the instructions.
    // SAFETY: tiles and panel have these groups and blocks.
    unsafe {
        match job.matrix.format {
            WeightFormat::F32 if together => f32_sums(lanes, tiles, words, groups),
            WeightFormat::F32 => {
                [f32_sums(lanes, [one], words, groups)[0], f32_sums(lanes, [two], words, groups)[0]]
            }
            WeightFormat::Bf16 if together => bf16_sums(lanes, tiles, words, groups),
            WeightFormat::Bf16 => {
                [bf16_sums(lanes, [one], words, groups)[0], bf16_sums(lanes, [two], words, groups)[0]]
            }
            WeightFormat::Q8_0 => {
                let (one, two) = (QuantizedTile::new(one, layout), QuantizedTile::new(two, layout));
                [
                    quantized_sums::<L, WIDTH, false>(lanes, one, words, scales, offsets),
                    quantized_sums::<L, WIDTH, false>(lanes, two, words, scales, offsets),
                ]
            }
            WeightFormat::Q4_0 => {
                let (one, two) = (QuantizedTile::new(one, layout), QuantizedTile::new(two, layout));
                [
                    quantized_sums::<L, WIDTH, true>(lanes, one, words, scales, offsets),
                    quantized_sums::<L, WIDTH, true>(lanes, two, words, scales, offsets),
                ]
            }
            WeightFormat::Q8_0Wide => {
                let (one, two) = (QuantizedTile::new(one, layout), QuantizedTile::new(two, layout));
                [
                    wide_sums::<L, WIDTH, false, false>(lanes, one, words, scales, offsets),
                    wide_sums::<L, WIDTH, false, false>(lanes, two, words, scales, offsets),
                ]
            }
            WeightFormat::Q4_0Wide => {
                let (one, two) = (QuantizedTile::new(one, layout), QuantizedTile::new(two, layout));
                [
                    wide_sums::<L, WIDTH, true, false>(lanes, one, words, scales, offsets),
                    wide_sums::<L, WIDTH, true, false>(lanes, two, words, scales, offsets),
                ]
            }
            WeightFormat::Q4_1 => {
                let (one, two) = (QuantizedTile::new(one, layout), QuantizedTile::new(two, layout));
                [
                    wide_sums::<L, WIDTH, true, true>(lanes, one, words, scales, offsets),
                    wide_sums::<L, WIDTH, true, true>(lanes, two, words, scales, offsets),
                ]
            }
        }
    }
}
