//! A block of the key/value cache: keys and values of 64 positions of every layer, and their layout.
//!
//! ```text
//! block:  layer 0, head 0: keys | values,  layer 0, head 1: keys | values,  ...,  layer 1, head 0: ...
//!
//! keys of a head (64 / 16, D, 16):              values of a head (64, D):
//!     d 0:  p0  p1  p2 ... p15                      p0:  d0 d1 d2 ...
//!     d 1:  p0  p1  p2 ... p15                      p1:  d0 d1 d2 ...
//!     ...   then p16 ... p31, and so on             ...
//! ```
//!
//! A vector of keys holds one dimension of sixteen positions, so no sum of a score runs across lanes.

use crate::format::CacheFormat;
use crate::memory::Memory;
use crate::simd::LANES;
use half::{bf16, f16};

/// Positions in a block.
pub const BLOCK_POSITIONS: usize = 64;

/// The dimensions and the format of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Decoder layers.
    pub layers: usize,
    /// H, the number of query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// K, the number of key and value heads; query head h reads key head h / (H / K).
    pub kv_heads: usize,
    /// D, the elements of a head.
    pub head_dim: usize,
    /// The storage format.
    pub format: CacheFormat,
}

impl CacheShape {
    /// Returns D rounded up to whole vectors.
    pub(super) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Returns the size of the keys of one head, which is also that of its values, in bytes.
    pub(super) fn head_bytes(&self) -> usize {
        BLOCK_POSITIONS * self.padded_dim() * self.format.bytes()
    }

    /// Returns the size of a block, in bytes.
    pub fn block_bytes(&self) -> usize {
        self.layers * self.kv_heads * 2 * self.head_bytes()
    }

    /// Returns the byte offset of the keys of a head; its values follow them.
    pub(super) fn key_offset(&self, layer: usize, kv_head: usize) -> usize {
        (layer * self.kv_heads + kv_head) * 2 * self.head_bytes()
    }
}

/// Keys and values of 64 positions, for every layer.
#[derive(Debug)]
pub struct CacheBlock {
    pub(super) memory: Memory,
}

impl CacheBlock {
    /// Returns a block with unspecified contents. Attention reads a slot only after it is written.
    pub fn new(shape: &CacheShape) -> Self {
        Self { memory: Memory::with_own_map(shape.block_bytes()) }
    }

    /// Returns a block with the same keys and values in its first positions, for a sequence that continues differently.
    /// The other slots have unspecified contents.
    ///
    /// # Panics
    /// If there are more positions than slots, or the block was made for a smaller shape.
    pub fn copy_of_first(&self, shape: &CacheShape, positions: usize) -> Self {
        assert!(
            positions <= BLOCK_POSITIONS,
            "CacheBlock: {positions} positions; there are {BLOCK_POSITIONS} slots"
        );
        assert!(
            self.memory.len() >= shape.block_bytes(),
            "CacheBlock: the block was made for a smaller shape"
        );
        let mut copy = Self::new(shape);
        let position_bytes = shape.padded_dim() * shape.format.bytes();
        let key_bytes = positions.next_multiple_of(LANES) * position_bytes;
        let (from, to) = (self.memory.pointer(), copy.memory.pointer_mut());
        for head in 0..shape.layers * shape.kv_heads {
            let keys = shape.key_offset(0, head);
            let values = keys + shape.head_bytes();
            for (start, length) in [(keys, key_bytes), (values, positions * position_bytes)] {
                // SAFETY: the range is within the keys or the values of the head, which are within both blocks; the
                // blocks do not overlap.
                unsafe { from.add(start).copy_to_nonoverlapping(to.add(start), length) };
            }
        }
        copy
    }

    /// Writes the keys and values, each (K, D), of one position of one layer.
    ///
    /// # Panics
    /// If the slot, the layer or a length does not match the shape.
    pub fn write(&mut self, shape: &CacheShape, layer: usize, slot: usize, keys: &[f32], values: &[f32]) {
        let row = shape.kv_heads * shape.head_dim;
        assert!(
            slot < BLOCK_POSITIONS && layer < shape.layers,
            "CacheBlock: slot {slot} of layer {layer} does not exist; there are {BLOCK_POSITIONS} slots and {} layers",
            shape.layers
        );
        assert!(
            keys.len() == row && values.len() == row,
            "CacheBlock: there are {} keys and {} values; expected {row} of each",
            keys.len(),
            values.len()
        );
        assert!(
            self.memory.len() >= shape.block_bytes(),
            "CacheBlock: the block was made for a smaller shape"
        );
        let base = self.memory.pointer_mut();
        let heads = keys.chunks_exact(shape.head_dim).zip(values.chunks_exact(shape.head_dim));
        for (kv_head, (key, value)) in heads.enumerate() {
            let start = shape.key_offset(layer, kv_head);
            let dim = shape.padded_dim();
            for (d, number) in key.iter().enumerate() {
                let index = (slot / LANES * dim + d) * LANES + slot % LANES;
                // SAFETY: the index is within the keys of the head, which are within the block.
                unsafe { store(base.add(start), index, shape.format, *number) };
            }
            for (d, number) in value.iter().enumerate() {
                // SAFETY: as above, for the values, which follow the keys.
                unsafe { store(base.add(start + shape.head_bytes()), slot * dim + d, shape.format, *number) };
            }
        }
    }
}

/// Stores a number at an index of the array at `base`.
///
/// # Safety
/// The element must be writable.
#[inline(always)]
unsafe fn store(base: *mut u8, index: usize, format: CacheFormat, number: f32) {
    // SAFETY: the caller guarantees it.
    unsafe {
        match format {
            CacheFormat::F32 => base.cast::<f32>().add(index).write_unaligned(number),
            CacheFormat::F16 => base.cast::<f16>().add(index).write_unaligned(f16::from_f32(number)),
            CacheFormat::Bf16 => base.cast::<bf16>().add(index).write_unaligned(bf16::from_f32(number)),
        }
    }
}
