//! Rows into the bytes of a tile, and single rows out of them.

use super::encoding::{BLOCK, Encoding, SUPER_BLOCKS, UNEVEN_STEPS};
use super::layout::{HALVES, Layout, scale_bytes};
use super::planes;
use super::quantize::{Block, quantize};
use crate::format::WeightFormat;
use crate::simd::LANES;
use half::{bf16, f16};

/// Packs sixteen rows (16, padded K) into a tile, which is zeros before.
pub(super) fn pack_tile(format: WeightFormat, values: &[f32], layout: &Layout, out: &mut [u8]) {
    let columns = layout.padded_columns;
    let word = |out: &mut [u8], group: usize, lane: usize, bytes: [u8; 4]| {
        out[(group * LANES + lane) * 4..][..4].copy_from_slice(&bytes);
    };
    for (lane, row) in values.chunks_exact(columns).enumerate() {
        match format {
            WeightFormat::F32 => {
                for (group, value) in row.iter().enumerate() {
                    word(out, group, lane, value.to_le_bytes());
                }
            }
            WeightFormat::Bf16 => {
                for (group, pair) in row.as_chunks::<2>().0.iter().enumerate() {
                    let [[a, b], [c, d]] = pair.map(|value| bf16::from_f32(value).to_le_bytes());
                    word(out, group, lane, [a, b, c, d]);
                }
            }
            _ => {
                let columns = Encoding::of(format).columns();
                for (index, values) in row.chunks_exact(columns).enumerate() {
                    put_block(format, layout, out, index, lane, &quantize(format, values));
                }
            }
        }
    }
}

/// Writes a block (or super-block) of one row into a tile.
pub(super) fn put_block(
    format: WeightFormat,
    layout: &Layout,
    out: &mut [u8],
    index: usize,
    lane: usize,
    values: &Block,
) {
    let encoding = Encoding::of(format);
    let blocks = encoding.columns() / BLOCK;
    let bytes = planes::bytes(encoding);
    for (block, quants) in values.quants.as_chunks().0.iter().enumerate().take(blocks) {
        planes::put(encoding.bits, &mut out[(index * blocks + block) * bytes..][..bytes], lane, quants);
    }
    let scales = &mut out[layout.scales + index * scale_bytes(encoding)..][..scale_bytes(encoding)];
    scales[2 * lane..][..2].copy_from_slice(&values.scale.to_le_bytes());
    if encoding.has_minimums {
        // Those of super-blocks are subtracted.
        let minimum = if encoding.small_scales == 0 { values.minimum } else { -values.minimum };
        scales[HALVES + 2 * lane..][..2].copy_from_slice(&minimum.to_le_bytes());
    }
    let rows = if encoding.has_minimums { 2 } else { 1 };
    for index in 0..encoding.small_scales * SUPER_BLOCKS {
        let small = &mut scales[rows * (HALVES + index * LANES)..];
        small[lane] = values.small_scales[index] as u8;
        if encoding.has_minimums {
            small[LANES + lane] = values.small_minimums[index] as u8;
        }
    }
}

/// Unpacks one row (K) of a tile.
pub(super) fn unpack_row(format: WeightFormat, tile: &[u8], layout: &Layout, lane: usize, out: &mut [f32]) {
    let word = |group: usize| -> [u8; 4] {
        let start = (group * LANES + lane) * 4;
        [tile[start], tile[start + 1], tile[start + 2], tile[start + 3]]
    };
    match format {
        WeightFormat::F32 => {
            for (column, value) in out.iter_mut().enumerate() {
                *value = f32::from_le_bytes(word(column));
            }
        }
        WeightFormat::Bf16 => {
            for (column, value) in out.iter_mut().enumerate() {
                let [a, b, c, d] = word(column / 2);
                *value = bf16::from_le_bytes(if column.is_multiple_of(2) { [a, b] } else { [c, d] }).to_f32();
            }
        }
        _ => unpack_quantized(Encoding::of(format), tile, layout, lane, out),
    }
}

fn unpack_quantized(encoding: Encoding, tile: &[u8], layout: &Layout, lane: usize, out: &mut [f32]) {
    let bytes = planes::bytes(encoding);
    let parts = encoding.small_scales.max(1);
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let quants = planes::get(encoding.bits, &tile[block * bytes..][..bytes], lane);
        let width = BLOCK / parts;
        for (part, (quants, out)) in quants.chunks_exact(width).zip(out.chunks_mut(width)).enumerate() {
            let (scale, minimum) = scale_and_minimum(encoding, tile, layout, lane, block * parts + part);
            for (quant, value) in quants.iter().zip(out) {
                let quant = if encoding.is_uneven { UNEVEN_STEPS[usize::from(*quant)] } else { *quant };
                let scaled = scale * (i32::from(quant) - encoding.bias) as f32;
                *value = if encoding.has_minimums { scaled + minimum } else { scaled };
            }
        }
    }
}

/// The scale and the minimum of part `part` of a row: a block, or half of one.
fn scale_and_minimum(
    encoding: Encoding,
    tile: &[u8],
    layout: &Layout,
    lane: usize,
    part: usize,
) -> (f32, f32) {
    let parts = (encoding.small_scales * SUPER_BLOCKS).max(1);
    let scales = &tile[layout.scales + part / parts * scale_bytes(encoding)..];
    let half = |at: usize| f16::from_le_bytes([scales[at + 2 * lane], scales[at + 2 * lane + 1]]).to_f32();
    let rows = if encoding.has_minimums { 2 } else { 1 };
    let (mut scale, mut minimum) = (half(0), if encoding.has_minimums { half(HALVES) } else { 0.0 });
    if encoding.small_scales > 0 {
        let small = &scales[rows * (HALVES + part % parts * LANES)..];
        scale *= f32::from(small[lane] as i8);
        if encoding.has_minimums {
            minimum *= f32::from(small[LANES + lane] as i8);
        }
    }
    (scale, minimum)
}
