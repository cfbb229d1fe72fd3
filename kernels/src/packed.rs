//! Weight matrices laid out for reading once: sixteen rows side by side, so that one vector holds one column
//! of sixteen outputs and no sum runs across lanes.
//!
//! THE ORDER of a sum is the columns' own: f32 adds one column after the other by fused multiply-add from
//! 0.0, bf16 pairs of columns, q8_0 and q4_0 whole blocks of 32 (whose inner sums are exact integers). It
//! does not depend on the batch, the tile or the threads, so a row alone equals the row in a batch.

mod activations;
mod product;
mod quantize;
#[cfg(test)]
mod tests;

pub use activations::Activations;
pub use product::{Epilogue, multiply};

use crate::format::WeightFormat;
use crate::memory::Memory;
use crate::simd::LANES;
use crate::threads::{each, threads};

/// Columns that share a scale in the quantized formats.
pub(crate) const BLOCK: usize = 32;

/// A matrix (N, K) of weights: N outputs, K inputs.
#[derive(Debug)]
pub struct PackedMatrix {
    format: WeightFormat,
    rows: usize,
    columns: usize,
    layout: Layout,
    memory: Memory,
}

impl PackedMatrix {
    /// Packs N x K weights, `read(row, out)` giving one row (K) as f32. Quantizes where `format` says so.
    ///
    /// # Panics
    /// When N or K is 0.
    pub fn pack(
        format: WeightFormat,
        rows: usize,
        columns: usize,
        read: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        assert!(rows > 0 && columns > 0, "PackedMatrix: {rows} x {columns} has nothing to pack");
        let layout = Layout::of(format, columns);
        // An even number of tiles: products take two at a time.
        let tiles = rows.div_ceil(2 * LANES) * 2;
        let mut memory = Memory::zeroed(tiles * layout.tile_bytes);
        let base = Tiles(memory.pointer_mut());
        let tasks = rows.div_ceil(LANES).min(8 * threads());
        each(tasks, |task| {
            let mut values = vec![0.0f32; LANES * layout.padded_columns];
            for tile in (task..rows.div_ceil(LANES)).step_by(tasks) {
                values.fill(0.0);
                for (lane, values) in values.chunks_exact_mut(layout.padded_columns).enumerate() {
                    if tile * LANES + lane < rows {
                        read(tile * LANES + lane, &mut values[..columns]);
                    }
                }
                // SAFETY: every tile belongs to one task, and lies within the memory.
                let out = unsafe {
                    std::slice::from_raw_parts_mut(base.at(tile * layout.tile_bytes), layout.tile_bytes)
                };
                quantize::pack_tile(format, &values, &layout, out);
            }
        });
        Self { format, rows, columns, layout, memory }
    }

    /// How the weights are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// N.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes a product reads.
    pub fn bytes(&self) -> usize {
        self.rows.div_ceil(LANES) * self.layout.tile_bytes
    }

    /// One row (K) as f32: an embedding.
    ///
    /// # Panics
    /// When there is no such row, or `out` is not K long.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "PackedMatrix: no row {row} of {}", self.rows);
        assert_eq!(out.len(), self.columns, "PackedMatrix: out must hold a row");
        let layout = &self.layout;
        // SAFETY: the tile of a row lies within the memory.
        let tile = unsafe {
            let start = self.memory.pointer().add(row / LANES * layout.tile_bytes);
            std::slice::from_raw_parts(start, layout.tile_bytes)
        };
        quantize::unpack_row(self.format, tile, layout, row % LANES, out);
    }

    /// The first byte of a tile of sixteen rows; there is an even number of tiles.
    fn tile(&self, tile: usize) -> *const u8 {
        let layout = &self.layout;
        debug_assert!((tile + 1) * layout.tile_bytes <= self.memory.len(), "tile {tile} lies outside");
        self.memory.pointer().wrapping_add(tile * layout.tile_bytes)
    }
}

/// The bytes of one tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// K, filled up to whole words (bf16) or blocks (quantized).
    padded_columns: usize,
    /// Words of each row: one column of f32, two of bf16, four of the quantized formats.
    groups: usize,
    /// Where the scales begin, in the quantized formats: sixteen f16 a block.
    scales: usize,
    tile_bytes: usize,
}

impl Layout {
    fn of(format: WeightFormat, columns: usize) -> Self {
        const VECTOR: usize = 64;
        match format {
            WeightFormat::F32 => {
                Self { padded_columns: columns, groups: columns, scales: 0, tile_bytes: columns * VECTOR }
            }
            WeightFormat::Bf16 => {
                let groups = columns.div_ceil(2);
                Self { padded_columns: 2 * groups, groups, scales: 0, tile_bytes: groups * VECTOR }
            }
            WeightFormat::Q8_0 | WeightFormat::Q4_0 => {
                let blocks = columns.div_ceil(BLOCK);
                let vectors = if format == WeightFormat::Q8_0 { BLOCK / 4 } else { BLOCK / 8 };
                let scales = blocks * vectors * VECTOR;
                Self {
                    padded_columns: blocks * BLOCK,
                    groups: blocks * BLOCK / 4,
                    scales,
                    tile_bytes: (scales + blocks * 2 * LANES).next_multiple_of(VECTOR),
                }
            }
        }
    }
}

/// A pointer that tasks share; each writes its own part.
#[derive(Clone, Copy)]
struct Tiles(*mut u8);

impl Tiles {
    fn at(&self, offset: usize) -> *mut u8 {
        self.0.wrapping_add(offset)
    }
}

// SAFETY: whoever shares it keeps the parts disjoint.
unsafe impl Sync for Tiles {}
