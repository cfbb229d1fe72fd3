//! What packed products and cached attention need beyond [`Simd`]: sixteen 32-bit words, each four bytes
//! or two bfloat16 numbers, and conversions from stored numbers.
//!
//! Byte products are exact integers, so they are the same bits on every path. bfloat16 products are not:
//! the AVX-512 BF16 instruction flushes denormals and rounds in its own way. On one kind of CPU an answer
//! is the same whatever the batch; between kinds only f32, q8_0 and q4_0 agree to the bit.

use crate::Path;
use crate::simd::{LANES, Portable, Simd};

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

/// Sixteen words beside sixteen floats.
pub(crate) trait Lanes: Simd {
    /// Sixteen 32-bit words.
    type Words: Copy;

    /// # Safety
    /// 64 bytes can be read at `from`.
    unsafe fn load_words(self, from: *const u8) -> Self::Words;
    fn splat_word(self, word: u32) -> Self::Words;
    /// Adds to each i32 the products of its four unsigned bytes of `weights` with four signed ones of `x`.
    fn add_byte_products(self, sum: Self::Words, weights: Self::Words, x: Self::Words) -> Self::Words;
    /// Adds to each f32 the products of its two bfloat16 numbers.
    fn add_brain_products(self, sum: Self::Vector, weights: Self::Words, x: Self::Words) -> Self::Vector;
    /// The low four bits of every byte.
    fn low_nibbles(self, words: Self::Words) -> Self::Words;
    /// The high four bits of every byte.
    fn high_nibbles(self, words: Self::Words) -> Self::Words;
    /// i32 to f32.
    fn to_floats(self, words: Self::Words) -> Self::Vector;
    /// # Safety
    /// Sixteen f32 can be read at `from`.
    unsafe fn load_floats(self, from: *const u8) -> Self::Vector;
    /// # Safety
    /// Sixteen f16 can be read at `from`.
    unsafe fn load_halves(self, from: *const u8) -> Self::Vector;
    /// # Safety
    /// Sixteen bfloat16 can be read at `from`.
    unsafe fn load_brains(self, from: *const u8) -> Self::Vector;
}

/// The path that [`on_lanes`] takes where `path` is wished for: many CPUs with AVX-512 lack its BF16 or VNNI and compute
/// as the next one down. Whatever is laid out for a path's width is laid out for this one.
pub(crate) fn lanes_path(path: Path) -> Path {
    match path {
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 if avx512::Wide::detect().is_some() => Path::Avx512,
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 | Path::Avx2 if avx2::Narrow::detect().is_some() => Path::Avx2,
        _ => Path::Portable,
    }
}

/// Runs `kernel::<L>(lanes, arguments...)` compiled for the widest instruction set of `$path` that has
/// what [`Lanes`] needs.
macro_rules! on_lanes {
    ($path:expr, $kernel:ident $(::<$generic:ty>)? ($($name:ident: $type:ty),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(
            enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vnni,avx512bf16,avx2,fma,f16c"
        )]
        fn on_avx512(lanes: $crate::lanes::avx512::Wide, $($name: $type),*) {
            $kernel::<_ $(, $generic)?>(lanes, $($name),*);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn on_avx2(lanes: $crate::lanes::avx2::Narrow, $($name: $type),*) {
            $kernel::<_ $(, $generic)?>(lanes, $($name),*);
        }
        match $path {
            #[cfg(target_arch = "x86_64")]
            $crate::Path::Avx512 if let Some(lanes) = $crate::lanes::avx512::Wide::detect() => {
                // SAFETY: the CPU has these instructions: `lanes` was detected.
                unsafe { on_avx512(lanes, $($name),*) }
            }
            #[cfg(target_arch = "x86_64")]
            $crate::Path::Avx512 | $crate::Path::Avx2
                if let Some(lanes) = $crate::lanes::avx2::Narrow::detect() =>
            {
                // SAFETY: the CPU has these instructions: `lanes` was detected.
                unsafe { on_avx2(lanes, $($name),*) }
            }
            _ => $kernel::<_ $(, $generic)?>($crate::simd::Portable, $($name),*),
        }
    }};
}
pub(crate) use on_lanes;

impl Lanes for Portable {
    type Words = [u32; LANES];

    #[inline(always)]
    unsafe fn load_words(self, from: *const u8) -> Self::Words {
        // SAFETY: the caller says that 64 bytes can be read.
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
    fn add_brain_products(self, sum: Self::Vector, weights: Self::Words, x: Self::Words) -> Self::Vector {
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
    fn to_floats(self, words: Self::Words) -> Self::Vector {
        words.map(|word| word as i32 as f32)
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const u8) -> Self::Vector {
        // SAFETY: the caller says that sixteen f32 can be read.
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_halves(self, from: *const u8) -> Self::Vector {
        // SAFETY: the caller says that sixteen f16 can be read.
        unsafe { from.cast::<[half::f16; LANES]>().read_unaligned() }.map(half::f16::to_f32)
    }

    #[inline(always)]
    unsafe fn load_brains(self, from: *const u8) -> Self::Vector {
        // SAFETY: the caller says that sixteen bfloat16 can be read.
        unsafe { from.cast::<[half::bf16; LANES]>().read_unaligned() }.map(half::bf16::to_f32)
    }
}
