//! A packed matrix: how weights get into tiles, and single rows out of them.

use super::blocks::BlockType;
use super::layout::{BLOCK, Layout};
use super::quantize::{pack_tile, put_block, unpack_row};
use crate::disjoint::Disjoint;
use crate::format::WeightFormat;
use crate::memory::Memory;
use crate::simd::LANES;
use crate::threads::{parallel_for, threads};

/// A matrix of weights (N, K): N outputs, K inputs.
#[derive(Debug)]
pub struct PackedMatrix {
    pub(super) format: WeightFormat,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) layout: Layout,
    memory: Memory,
}

impl PackedMatrix {
    /// Packs N x K weights, and quantizes them if the format is quantized. `read(row, out)` must write one row (K) as
    /// f32.
    ///
    /// # Panics
    /// If N or K is 0.
    pub fn pack(
        format: WeightFormat,
        rows: usize,
        columns: usize,
        read: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        let layout = Layout::new(format, columns);
        Self::of_tiles(format, rows, columns, |tile, out| {
            let mut values = vec![0.0f32; LANES * layout.padded_columns];
            for (lane, values) in values.chunks_exact_mut(layout.padded_columns).enumerate() {
                if tile * LANES + lane < rows {
                    read(tile * LANES + lane, &mut values[..columns]);
                }
            }
            pack_tile(format, &values, &layout, out);
        })
    }

    /// Packs N x K weights that are quantized already, K whole blocks, without changing a number. `read(row)` must
    /// return the blocks of one row, or `None` for a row of zeros.
    ///
    /// # Panics
    /// If N or K is 0, or a row has another number of blocks.
    pub fn pack_blocks<'a>(
        blocks: BlockType,
        rows: usize,
        columns: usize,
        read: impl Fn(usize) -> Option<&'a [u8]> + Sync,
    ) -> Self {
        let layout = Layout::new(blocks.format(), columns);
        Self::of_tiles(blocks.format(), rows, columns, |tile, out| {
            for lane in 0..LANES.min(rows - tile * LANES) {
                let Some(row) = read(tile * LANES + lane) else { continue };
                assert_eq!(
                    row.len() * BLOCK,
                    columns * blocks.bytes(),
                    "pack_blocks: a row has another length"
                );
                for (index, bytes) in row.chunks_exact(blocks.bytes()).enumerate() {
                    put_block(blocks.format(), &layout, out, index, lane, &blocks.read(bytes));
                }
            }
        })
    }

    /// Fills the tiles, in parallel; they are zeros before.
    fn of_tiles(
        format: WeightFormat,
        rows: usize,
        columns: usize,
        fill: impl Fn(usize, &mut [u8]) + Sync,
    ) -> Self {
        assert!(rows > 0 && columns > 0, "PackedMatrix: a matrix of {rows} x {columns} has no weights");
        let layout = Layout::new(format, columns);
        // An even number of tiles: products process two at a time.
        let tiles = rows.div_ceil(2 * LANES) * 2;
        let mut memory = Memory::zeroed(tiles * layout.tile_bytes);
        let packed = Disjoint::new(memory.bytes_mut());
        let tasks = rows.div_ceil(LANES).min(8 * threads());
        parallel_for(tasks, |task| {
            for tile in (task..rows.div_ceil(LANES)).step_by(tasks) {
                // SAFETY: every tile belongs to one task and is within the memory.
                fill(tile, unsafe { packed.part(tile * layout.tile_bytes, layout.tile_bytes) });
            }
        });
        Self { format, rows, columns, layout, memory }
    }

    /// Returns the storage format.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Returns N, the number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns how many bytes of weights a product reads.
    pub fn bytes(&self) -> usize {
        self.rows.div_ceil(LANES) * self.layout.tile_bytes
    }

    /// Reads one row (K) as f32, as for an embedding.
    ///
    /// # Panics
    /// If the row does not exist or the length of `out` is not K.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "PackedMatrix: row {row} does not exist; there are {}", self.rows);
        assert_eq!(out.len(), self.columns, "PackedMatrix: the length of out is not that of a row");
        let layout = &self.layout;
        let tile = &self.memory.bytes()[row / LANES * layout.tile_bytes..][..layout.tile_bytes];
        unpack_row(self.format, tile, layout, row % LANES, out);
    }

    /// Returns a pointer to a tile of sixteen rows; there is an even number of tiles.
    pub(super) fn tile(&self, tile: usize) -> *const u8 {
        let layout = &self.layout;
        debug_assert!((tile + 1) * layout.tile_bytes <= self.memory.len(), "tile {tile} does not exist");
        self.memory.pointer().wrapping_add(tile * layout.tile_bytes)
    }
}
