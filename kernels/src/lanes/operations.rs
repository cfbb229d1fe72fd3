//! Operations of packed products and cached attention beyond [`Simd`]: vectors of sixteen 32-bit words, each four bytes
//! or two bfloat16 numbers, and conversions from stored numbers; and their portable form.

use crate::isa::Isa;
use crate::simd::{LANES, Portable, Simd};

/// Vectors of sixteen 32-bit words, next to the vectors of sixteen f32 of [`Simd`].
pub(crate) trait Lanes: Simd {
    /// The instruction set.
    const ISA: Isa;
    /// Sixteen 32-bit words.
    type Words: Copy;

    /// # Safety
    /// 64 bytes must be readable at `from`.
    unsafe fn load_words(self, from: *const u8) -> Self::Words;
    fn splat_word(self, word: u32) -> Self::Words;
    /// Adds to each i32 of `sum` the products of four unsigned bytes of `weights` and four signed bytes of `x`.
    fn add_byte_products(self, sum: Self::Words, weights: Self::Words, x: Self::Words) -> Self::Words;
    /// Adds to each f32 of `sum` the products of two bfloat16 numbers of `weights` and two of `x`.
    fn add_bf16_products(self, sum: Self::Vector, weights: Self::Words, x: Self::Words) -> Self::Vector;
    /// The low four bits of every byte.
    fn low_nibbles(self, words: Self::Words) -> Self::Words;
    /// The high four bits of every byte.
    fn high_nibbles(self, words: Self::Words) -> Self::Words;
    fn and(self, a: Self::Words, b: Self::Words) -> Self::Words;
    fn or(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Adds 32-bit words, wrapping.
    fn add_words(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// Shifts 32-bit words; a count that is known when this is compiled is part of the instruction.
    fn shift_left(self, words: Self::Words, count: u32) -> Self::Words;
    fn shift_right(self, words: Self::Words, count: u32) -> Self::Words;
    /// Replaces every byte, which is less than 16, by that entry of the table.
    fn look_up(self, table: &[u8; 16], words: Self::Words) -> Self::Words;
    /// Converts each i32 to f32, rounding to nearest, ties to even.
    fn to_f32(self, words: Self::Words) -> Self::Vector;
    /// # Safety
    /// Sixteen f32 must be readable at `from`.
    unsafe fn load_f32(self, from: *const u8) -> Self::Vector;
    /// # Safety
    /// Sixteen f16 must be readable at `from`.
    unsafe fn load_f16(self, from: *const u8) -> Self::Vector;
    /// # Safety
    /// Sixteen bfloat16 must be readable at `from`.
    unsafe fn load_bf16(self, from: *const u8) -> Self::Vector;
    /// # Safety
    /// Sixteen i8 must be readable at `from`.
    unsafe fn load_i8(self, from: *const u8) -> Self::Vector;
}

impl Lanes for Portable {
    const ISA: Isa = Isa::Portable;
    type Words = [u32; LANES];

    #[inline(always)]
    unsafe fn load_words(self, from: *const u8) -> Self::Words {
        // SAFETY: the caller guarantees 64 readable bytes.
        unsafe { from.cast::<Self::Words>().read_unaligned() }
    }

    #[inline(always)]
    fn splat_word(self, word: u32) -> Self::Words {
        [word; LANES]
    }

    #[inline(always)]
    fn add_byte_products(self, sum: Self::Words, weights: Self::Words, x: Self::Words) -> Self::Words {
        std::array::from_fn(|lane| {
            let (weights, x) = (weights[lane].to_le_bytes(), x[lane].to_le_bytes());
            let products = weights.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(x as i8));
            (sum[lane] as i32 + products.sum::<i32>()) as u32
        })
    }

    #[inline(always)]
    fn add_bf16_products(self, sum: Self::Vector, weights: Self::Words, x: Self::Words) -> Self::Vector {
        let low = |word: u32| f32::from_bits(word << 16);
        let high = |word: u32| f32::from_bits(word & 0xffff_0000);
        std::array::from_fn(|lane| {
            let odd = high(weights[lane]).mul_add(high(x[lane]), sum[lane]);
            low(weights[lane]).mul_add(low(x[lane]), odd)
        })
    }

    #[inline(always)]
    fn low_nibbles(self, words: Self::Words) -> Self::Words {
        words.map(|word| word & 0x0f0f_0f0f)
    }

    #[inline(always)]
    fn high_nibbles(self, words: Self::Words) -> Self::Words {
        words.map(|word| word >> 4 & 0x0f0f_0f0f)
    }

    #[inline(always)]
    fn and(self, a: Self::Words, b: Self::Words) -> Self::Words {
        std::array::from_fn(|lane| a[lane] & b[lane])
    }

    #[inline(always)]
    fn or(self, a: Self::Words, b: Self::Words) -> Self::Words {
        std::array::from_fn(|lane| a[lane] | b[lane])
    }

    #[inline(always)]
    fn add_words(self, a: Self::Words, b: Self::Words) -> Self::Words {
        std::array::from_fn(|lane| a[lane].wrapping_add(b[lane]))
    }

    #[inline(always)]
    fn shift_left(self, words: Self::Words, count: u32) -> Self::Words {
        words.map(|word| word << count)
    }

    #[inline(always)]
    fn shift_right(self, words: Self::Words, count: u32) -> Self::Words {
        words.map(|word| word >> count)
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], words: Self::Words) -> Self::Words {
        words.map(|word| u32::from_le_bytes(word.to_le_bytes().map(|byte| table[usize::from(byte & 15)])))
    }

    #[inline(always)]
    fn to_f32(self, words: Self::Words) -> Self::Vector {
        words.map(|word| word as i32 as f32)
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const u8) -> Self::Vector {
        // SAFETY: the caller guarantees sixteen readable f32.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> Self::Vector {
        // SAFETY: the caller guarantees sixteen readable f16.
        unsafe { from.cast::<[half::f16; LANES]>().read_unaligned() }.map(half::f16::to_f32)
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> Self::Vector {
        // SAFETY: the caller guarantees sixteen readable bfloat16.
        unsafe { from.cast::<[half::bf16; LANES]>().read_unaligned() }.map(half::bf16::to_f32)
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const u8) -> Self::Vector {
        // SAFETY: the caller guarantees sixteen readable i8.
        unsafe { from.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from)
    }
}
