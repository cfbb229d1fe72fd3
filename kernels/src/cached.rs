//! Causal grouped-query attention over keys and values that lie in blocks of positions.
//!
//! A block holds 64 positions of every layer, so that sequences that begin alike can share it. Keys lie
//! sixteen positions side by side: a vector holds one dimension of sixteen keys, and no sum runs across lanes.
//!
//! THE ORDER: each query takes the blocks in turn. In a block the scores sum over the dimensions, the softmax
//! over lanes as everywhere (see the crate), the values over the positions; blocks are then merged one after
//! the other by their largest score. Who computes a block and when does not matter, so a query's answer is
//! the same bits alone, in a batch, while a prompt is read and while an answer is written.

mod attend;
#[cfg(test)]
mod tests;
mod tile;

pub use attend::{Queries, Span, attend};

use half::{bf16, f16};

use crate::format::CacheFormat;
use crate::memory::Memory;
use crate::simd::LANES;

/// Positions of a block.
pub const BLOCK_POSITIONS: usize = 64;

/// What a block holds of each position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Decoder layers.
    pub layers: usize,
    /// H, query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// K, key and value heads; query head h reads key head h / (H / K).
    pub kv_heads: usize,
    /// D, elements of a head.
    pub head_dim: usize,
    /// How they are stored.
    pub format: CacheFormat,
}

impl CacheShape {
    /// D rounded up to whole vectors.
    fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Bytes of one head's keys, or of its values.
    fn part_bytes(&self) -> usize {
        BLOCK_POSITIONS * self.padded_dim() * self.format.bytes()
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        self.layers * self.kv_heads * 2 * self.part_bytes()
    }

    fn key_part(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.kv_heads + kv_head) * 2 * self.part_bytes()
    }
}

/// Keys and values of 64 positions, every layer.
#[derive(Debug)]
pub struct CacheBlock {
    memory: Memory,
}

impl CacheBlock {
    /// A block of nothing: what stands in its slots is read only once they are written.
    pub fn new(shape: &CacheShape) -> Self {
        Self { memory: Memory::alone(shape.block_bytes()) }
    }

    /// Writes one position of one layer: keys and values, each (K, D).
    ///
    /// # Panics
    /// When the slot or a length does not fit the shape.
    pub fn write(&mut self, shape: &CacheShape, layer: usize, slot: usize, keys: &[f32], values: &[f32]) {
        let row = shape.kv_heads * shape.head_dim;
        assert!(
            slot < BLOCK_POSITIONS && layer < shape.layers,
            "CacheBlock: no slot {slot} of layer {layer}"
        );
        assert!(
            keys.len() == row && values.len() == row,
            "CacheBlock: keys and values must be {row} numbers"
        );
        assert!(self.memory.len() >= shape.block_bytes(), "CacheBlock: made for another shape");
        let base = self.memory.pointer_mut();
        let heads = keys.chunks_exact(shape.head_dim).zip(values.chunks_exact(shape.head_dim));
        for (kv_head, (key, value)) in heads.enumerate() {
            let start = shape.key_part(layer, kv_head);
            let dim = shape.padded_dim();
            for (d, number) in key.iter().enumerate() {
                let place = (slot / LANES * dim + d) * LANES + slot % LANES;
                // SAFETY: the place lies within the head's keys, which lie within the block.
                unsafe { put(base.add(start), place, shape.format, *number) };
            }
            for (d, number) in value.iter().enumerate() {
                // SAFETY: as above, for the values behind the keys.
                unsafe { put(base.add(start + shape.part_bytes()), slot * dim + d, shape.format, *number) };
            }
        }
    }
}

/// Stores the number `place` places after `base`.
///
/// # Safety
/// The place can be written.
#[inline(always)]
unsafe fn put(base: *mut u8, place: usize, format: CacheFormat, number: f32) {
    // SAFETY: said by the caller.
    unsafe {
        match format {
            CacheFormat::F32 => base.cast::<f32>().add(place).write_unaligned(number),
            CacheFormat::F16 => base.cast::<f16>().add(place).write_unaligned(f16::from_f32(number)),
            CacheFormat::Bf16 => base.cast::<bf16>().add(place).write_unaligned(bf16::from_f32(number)),
        }
    }
}
