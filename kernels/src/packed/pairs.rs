//! Pairs of tiles (2 x 16 outputs) times panels of up to 12 tokens: the sums of a pair and a panel, 2 x 12 vectors, stay in
//! registers. What is added up in between is the kernel of a storage format.

use super::activations::{Activations, Panel, panel_widths};
use super::matrix::{PAIR, PackedMatrix, Section};
use crate::elementwise::{gelu, silu};
use crate::format::ActivationFormat;
use crate::lanes::Lanes;
use crate::simd::LANES;

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

/// The outputs, of which every task writes its own.
pub(super) struct Output(pub(super) *mut f32);

// SAFETY: tasks write disjoint columns.
unsafe impl Sync for Output {}

/// What a task multiplies.
pub(super) struct Job<'a> {
    pub(super) out: &'a Output,
    pub(super) stride: usize,
    pub(super) x: &'a Activations,
    pub(super) matrix: &'a PackedMatrix,
    pub(super) section: &'a Section,
    pub(super) epilogue: Epilogue,
}

/// The inner loop of a storage format.
pub(super) trait Kernel {
    /// The activations that it multiplies with.
    const ACTIVATIONS: ActivationFormat;

    /// The sums of two tiles of rows with one panel of tokens.
    ///
    /// # Safety
    /// The tiles must be of the job's section.
    unsafe fn sums<L: Lanes, const WIDTH: usize>(
        lanes: L,
        job: &Job<'_>,
        tiles: [*const u8; PAIR],
        panel: Panel,
    ) -> [[L::Vector; WIDTH]; PAIR];
}

/// Multiplies the pairs of tiles `first..last` with all tokens.
#[inline(always)]
pub(super) fn multiply_pairs<L: Lanes, K: Kernel>(lanes: L, job: &Job<'_>, first: usize, last: usize) {
    for pair in first..last {
        for panel in job.x.panels() {
            match panel.width {
                12 if const { has_width::<L, K>(12) } => multiply_panel::<L, K, 12>(lanes, job, pair, panel),
                8 if const { has_width::<L, K>(8) } => multiply_panel::<L, K, 8>(lanes, job, pair, panel),
                6 if const { has_width::<L, K>(6) } => multiply_panel::<L, K, 6>(lanes, job, pair, panel),
                4 if const { has_width::<L, K>(4) } => multiply_panel::<L, K, 4>(lanes, job, pair, panel),
                3 if const { has_width::<L, K>(3) } => multiply_panel::<L, K, 3>(lanes, job, pair, panel),
                2 if const { has_width::<L, K>(2) } => multiply_panel::<L, K, 2>(lanes, job, pair, panel),
                _ => multiply_panel::<L, K, 1>(lanes, job, pair, panel),
            }
        }
    }
}

/// Whether there are panels of this width; kernels of others are not compiled.
const fn has_width<L: Lanes, K: Kernel>(width: usize) -> bool {
    let widths = panel_widths(L::ISA, K::ACTIVATIONS);
    let mut index = 0;
    while index < widths.len() {
        if widths[index] == width {
            return true;
        }
        index += 1;
    }
    false
}

/// Multiplies two tiles of rows with one panel of tokens.
#[inline(always)]
fn multiply_panel<L: Lanes, K: Kernel, const WIDTH: usize>(
    lanes: L,
    job: &Job<'_>,
    pair: usize,
    panel: Panel,
) {
    // SAFETY: the pair is one of the section.
    let sums = unsafe { K::sums::<L, WIDTH>(lanes, job, job.matrix.tiles(job.section, pair), panel) };
    for token in 0..WIDTH {
        let row = (panel.first + token) * job.stride;
        let output = |tile: usize| -> Option<&mut [f32; LANES]> {
            let column = tile * LANES;
            // SAFETY: a tile that begins within the stride ends within it; no other task writes there.
            (column < job.stride).then(|| unsafe { &mut *job.out.0.add(row + column).cast() })
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
