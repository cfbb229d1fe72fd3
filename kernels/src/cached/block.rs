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
use half::slice::HalfFloatSliceExt;
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

    /// Returns whether the block holds what the shape asks for.
    pub(crate) fn is_of(&self, shape: &CacheShape) -> bool {
        self.memory.len() == shape.block_bytes()
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
        let heads = keys.chunks_exact(shape.head_dim).zip(values.chunks_exact(shape.head_dim));
        for (kv_head, (key, value)) in heads.enumerate() {
            let start = self.memory.pointer_mut().wrapping_add(shape.key_offset(layer, kv_head));
            // SAFETY: the keys and values of a head are within the block.
            unsafe {
                match shape.format {
                    CacheFormat::F32 => write_head(start, shape, slot, key, value, |numbers| numbers),
                    CacheFormat::F16 => write_head(start, shape, slot, key, value, to_f16),
                    CacheFormat::Bf16 => {
                        let convert = |numbers: [f32; LANES]| numbers.map(bf16::from_f32);
                        write_head(start, shape, slot, key, value, convert);
                    }
                }
            }
        }
    }
}

/// Writes the key and the value (D) of one position, converted sixteen numbers at a time.
///
/// # Safety
/// The head's keys must begin at `start`, its values must follow them, and all of them must be writable.
#[inline(always)]
unsafe fn write_head<T: Copy>(
    start: *mut u8,
    shape: &CacheShape,
    slot: usize,
    key: &[f32],
    value: &[f32],
    convert: impl Fn([f32; LANES]) -> [T; LANES],
) {
    let dim = shape.padded_dim();
    let (keys, values) = (start.cast::<T>(), start.wrapping_add(shape.head_bytes()).cast::<T>());
    for (index, (key, value)) in key.chunks(LANES).zip(value.chunks(LANES)).enumerate() {
        let padded = |numbers: &[f32]| {
            let mut padded = [0.0; LANES];
            padded[..numbers.len()].copy_from_slice(numbers);
            convert(padded)
        };
        let (converted_key, converted_value) = (padded(key), padded(value));
        for lane in 0..key.len() {
            let d = index * LANES + lane;
            // SAFETY: both are within the head's keys and values.
            unsafe {
                let at = (slot / LANES * dim + d) * LANES + slot % LANES;
                keys.add(at).write_unaligned(converted_key[lane]);
                values.add(slot * dim + d).write_unaligned(converted_value[lane]);
            }
        }
    }
}

/// Sixteen numbers at a time: whether the CPU has an instruction for it is asked once for all of them. What is too large
/// becomes the largest number: an infinity would make the softmax of every later query no number.
fn to_f16(numbers: [f32; LANES]) -> [f16; LANES] {
    let largest = f32::from(f16::MAX);
    let mut halves = [f16::ZERO; LANES];
    halves.convert_from_f32_slice(&numbers.map(|number| number.clamp(-largest, largest)));
    halves
}
