//! A packed matrix: how weights get into tiles, and single rows out of them.

use super::blocks::BlockType;
use super::encoding::Encoding;
use super::layout::Layout;
use super::tile::{pack_tile, put_block, unpack_row};
use crate::disjoint::Disjoint;
use crate::format::WeightFormat;
use crate::memory::Memory;
use crate::simd::LANES;
use crate::threads::{parallel_for, threads};

/// Tiles of sixteen rows that a kernel processes together; they have one format.
pub(super) const PAIR: usize = 2;

/// A matrix of weights (N, K): N outputs, K inputs.
#[derive(Debug)]
pub struct PackedMatrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// One after the other; all need the same form of activations.
    pub(super) sections: Vec<Section>,
    memory: Memory,
}

/// Consecutive pairs of tiles in one format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Section {
    pub(super) format: WeightFormat,
    pub(super) layout: Layout,
    /// The first pair of the matrix, and the one after the last.
    pub(super) pairs: (usize, usize),
    /// The byte of the memory where the first tile is.
    start: usize,
}

impl Section {
    /// The byte of the memory where a tile of the matrix is.
    fn at(&self, tile: usize) -> usize {
        self.start + (tile - self.pairs.0 * PAIR) * self.layout.tile_bytes
    }
}

impl PackedMatrix {
    /// Packs N x K weights, and quantizes them if the format is quantized. `read(row, out)` must write one row (K) as
    /// f32.
    ///
    /// # Panics
    /// If N or K is 0, or the format is one of those that can only be packed from blocks.
    pub fn pack(
        format: WeightFormat,
        rows: usize,
        columns: usize,
        read: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Self {
        Self::of_tiles(
            rows,
            columns,
            |_| format,
            |section, tile, out| {
                let layout = &section.layout;
                let mut values = vec![0.0f32; LANES * layout.padded_columns];
                for (lane, values) in values.chunks_exact_mut(layout.padded_columns).enumerate() {
                    if tile * LANES + lane < rows {
                        read(tile * LANES + lane, &mut values[..columns]);
                    }
                }
                pack_tile(format, &values, layout, out);
            },
        )
    }

    /// Packs N x K weights that are quantized already, K whole blocks, without changing a number. `read(row)` must
    /// return the blocks of one row with their type, or `None` for a row of zeros. Types may differ from row to row, but
    /// not within 32 rows whose first is a multiple of 32: [`PackedMatrix::is_packable`].
    ///
    /// # Panics
    /// If N or K is 0, a row has another number of blocks, or types differ within 32 rows.
    pub fn pack_blocks<'a>(
        rows: usize,
        columns: usize,
        read: impl Fn(usize) -> Option<(BlockType, &'a [u8])> + Sync,
    ) -> Self {
        let type_of = |pair: usize| types(pair, rows, &read).next();
        let first = (0..rows.div_ceil(PAIR * LANES)).find_map(type_of).unwrap_or(BlockType::Q8_0);
        let format_of = |pair: usize| type_of(pair).unwrap_or(first).format();
        Self::of_tiles(rows, columns, format_of, |section, tile, out| {
            for lane in 0..LANES.min(rows - tile * LANES) {
                let Some((blocks, row)) = read(tile * LANES + lane) else { continue };
                assert!(blocks.format() == section.format, "pack_blocks: types differ within 32 rows");
                assert_eq!(
                    row.len() * blocks.numbers(),
                    columns * blocks.bytes(),
                    "pack_blocks: a row has another length"
                );
                for (index, bytes) in row.chunks_exact(blocks.bytes()).enumerate() {
                    put_block(section.format, &section.layout, out, index, lane, &blocks.read(bytes));
                }
            }
        })
    }

    /// Whether [`PackedMatrix::pack_blocks`] can pack rows of these types.
    pub fn is_packable(rows: usize, type_of: impl Fn(usize) -> Option<BlockType>) -> bool {
        let read = |row: usize| type_of(row).map(|kind| (kind, &[] as &[u8]));
        (0..rows.div_ceil(PAIR * LANES)).all(|pair| {
            let mut types = types(pair, rows, &read);
            types.next().is_none_or(|first| types.all(|kind| kind == first))
        })
    }

    /// Fills the tiles, in parallel; they are zeros before.
    fn of_tiles(
        rows: usize,
        columns: usize,
        format_of: impl Fn(usize) -> WeightFormat,
        fill: impl Fn(&Section, usize, &mut [u8]) + Sync,
    ) -> Self {
        assert!(rows > 0 && columns > 0, "PackedMatrix: a matrix of {rows} x {columns} has no weights");
        let (sections, bytes) = sections(rows.div_ceil(PAIR * LANES), columns, format_of);
        let mut memory = Memory::zeroed(bytes);
        let packed = Disjoint::new(memory.bytes_mut());
        let tasks = rows.div_ceil(LANES).min(8 * threads());
        parallel_for(tasks, |task| {
            for tile in (task..rows.div_ceil(LANES)).step_by(tasks) {
                let section = section_of(&sections, tile);
                // SAFETY: every tile belongs to one task and is within the memory.
                fill(section, tile, unsafe { packed.part(section.at(tile), section.layout.tile_bytes) });
            }
        });
        Self { rows, columns, sections, memory }
    }

    /// Returns the storage format; if rows differ, that of the first row.
    pub fn format(&self) -> WeightFormat {
        self.sections[0].format
    }

    /// Returns N, the number of outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns how many bytes of weights a product reads.
    pub fn bytes(&self) -> usize {
        let tiles = self.rows.div_ceil(LANES);
        let bytes = |section: &Section| {
            (tiles.min(section.pairs.1 * PAIR) - section.pairs.0 * PAIR) * section.layout.tile_bytes
        };
        self.sections.iter().map(bytes).sum()
    }

    /// Reads one row (K) as f32, as for an embedding.
    ///
    /// # Panics
    /// If the row does not exist or the length of `out` is not K.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "PackedMatrix: row {row} does not exist; there are {}", self.rows);
        assert_eq!(out.len(), self.columns, "PackedMatrix: the length of out is not that of a row");
        let section = section_of(&self.sections, row / LANES);
        let tile = &self.memory.bytes()[section.at(row / LANES)..][..section.layout.tile_bytes];
        unpack_row(section.format, tile, &section.layout, row % LANES, out);
    }

    /// Returns pointers to the two tiles of sixteen rows of a pair.
    pub(super) fn tiles(&self, section: &Section, pair: usize) -> [*const u8; PAIR] {
        let start = section.at(pair * PAIR);
        let bytes = section.layout.tile_bytes;
        debug_assert!(start + PAIR * bytes <= self.memory.len(), "pair {pair} does not exist");
        std::array::from_fn(|tile| self.memory.pointer().wrapping_add(start + tile * bytes))
    }
}

/// The types of the rows of a pair of tiles.
fn types<'a>(
    pair: usize,
    rows: usize,
    read: impl Fn(usize) -> Option<(BlockType, &'a [u8])>,
) -> impl Iterator<Item = BlockType> {
    let range = pair * PAIR * LANES..rows.min((pair + 1) * PAIR * LANES);
    range.filter_map(move |row| read(row).map(|(kind, _)| kind))
}

/// Returns runs of pairs of one format, and the bytes of all of their tiles.
fn sections(
    pairs: usize,
    columns: usize,
    format_of: impl Fn(usize) -> WeightFormat,
) -> (Vec<Section>, usize) {
    let mut sections: Vec<Section> = Vec::new();
    let mut bytes = 0;
    for pair in 0..pairs {
        let format = format_of(pair);
        match sections.last_mut().filter(|section| section.format == format) {
            Some(section) => section.pairs.1 += 1,
            None => {
                let layout = Layout::new(format, columns);
                let whole = !format.is_quantized()
                    || Encoding::of(format).small_scales == 0
                    || layout.padded_columns == columns;
                assert!(whole, "PackedMatrix: {columns} columns are not whole blocks of {format:?}");
                sections.push(Section { format, layout, pairs: (pair, pair + 1), start: bytes });
            }
        }
        bytes += PAIR * sections.last().expect("pushed above").layout.tile_bytes;
    }
    let first = sections[0].format.activations();
    let is_same = |section: &Section| section.format.activations() == first;
    assert!(sections.iter().all(is_same), "PackedMatrix: formats need different activations");
    (sections, bytes)
}

fn section_of(sections: &[Section], tile: usize) -> &Section {
    let section = sections.iter().find(|section| tile < section.pairs.1 * PAIR);
    section.expect("the sections have all tiles")
}
