//! Words in two 256-bit registers, for x86-64 CPUs with AVX2, FMA and F16C.

use std::arch::x86_64::*;

use super::Lanes;
use crate::avx2::{Avx2, Halves};
use crate::simd::{LANES, Simd, delegate_simd};

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Narrow(Avx2);

impl Narrow {
    /// `None` where the CPU lacks one of them.
    pub(crate) fn detect() -> Option<Self> {
        Avx2::detect().filter(|_| is_x86_feature_detected!("f16c")).map(Self)
    }
}

/// Words 0..8 and words 8..16.
#[derive(Clone, Copy)]
pub(crate) struct WordHalves(__m256i, __m256i);

impl WordHalves {
    #[inline(always)]
    fn map(self, function: impl Fn(__m256i) -> __m256i) -> Self {
        Self(function(self.0), function(self.1))
    }
}

delegate_simd!(Narrow, Avx2);

/// Exact, unlike `maddubs`, whose 16-bit sums of unsigned by signed bytes saturate.
#[inline(always)]
fn add_byte_products(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    // SAFETY: only reached through `Narrow`, which proves AVX2.
    unsafe {
        let even_weights = _mm256_and_si256(weights, _mm256_set1_epi16(0xff));
        let odd_weights = _mm256_srli_epi16::<8>(weights);
        let even_x = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
        let odd_x = _mm256_srai_epi16::<8>(x);
        let even = _mm256_madd_epi16(even_weights, even_x);
        let odd = _mm256_madd_epi16(odd_weights, odd_x);
        _mm256_add_epi32(sum, _mm256_add_epi32(even, odd))
    }
}

/// The odd numbers first, then the even ones, each product and sum rounded once.
#[inline(always)]
fn add_brain_products(sum: __m256, weights: __m256i, x: __m256i) -> __m256 {
    // SAFETY: only reached through `Narrow`, which proves AVX2 and FMA.
    unsafe {
        let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        let odd = |words| _mm256_castsi256_ps(_mm256_and_si256(words, high));
        let even = |words| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words));
        let sum = _mm256_fmadd_ps(odd(weights), odd(x), sum);
        _mm256_fmadd_ps(even(weights), even(x), sum)
    }
}

impl Lanes for Narrow {
    type Words = WordHalves;

    #[inline(always)]
    unsafe fn load_words(self, from: *const u8) -> WordHalves {
        // SAFETY: `self` proves AVX2; the caller says that 64 bytes can be read.
        unsafe { WordHalves(_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())) }
    }

    #[inline(always)]
    fn splat_word(self, word: u32) -> WordHalves {
        // SAFETY: `self` proves AVX2.
        let half = unsafe { _mm256_set1_epi32(word as i32) };
        WordHalves(half, half)
    }

    #[inline(always)]
    fn add_byte_products(self, sum: WordHalves, weights: WordHalves, x: WordHalves) -> WordHalves {
        WordHalves(add_byte_products(sum.0, weights.0, x.0), add_byte_products(sum.1, weights.1, x.1))
    }

    #[inline(always)]
    fn add_brain_products(self, sum: Halves, weights: WordHalves, x: WordHalves) -> Halves {
        Halves(add_brain_products(sum.0, weights.0, x.0), add_brain_products(sum.1, weights.1, x.1))
    }

    #[inline(always)]
    fn low_nibbles(self, words: WordHalves) -> WordHalves {
        // SAFETY: `self` proves AVX2.
        words.map(|half| unsafe { _mm256_and_si256(half, _mm256_set1_epi8(0x0f)) })
    }

    #[inline(always)]
    fn high_nibbles(self, words: WordHalves) -> WordHalves {
        // SAFETY: `self` proves AVX2.
        words.map(|half| unsafe { _mm256_and_si256(_mm256_srli_epi32::<4>(half), _mm256_set1_epi8(0x0f)) })
    }

    #[inline(always)]
    fn to_floats(self, words: WordHalves) -> Halves {
        // SAFETY: `self` proves AVX2.
        unsafe { Halves(_mm256_cvtepi32_ps(words.0), _mm256_cvtepi32_ps(words.1)) }
    }

    #[inline(always)]
    unsafe fn load_floats(self, from: *const u8) -> Halves {
        // SAFETY: `self` proves AVX2; the caller says that sixteen f32 can be read.
        unsafe { Halves(_mm256_loadu_ps(from.cast()), _mm256_loadu_ps(from.cast::<f32>().add(8))) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, from: *const u8) -> Halves {
        // SAFETY: `self` proves F16C; the caller says that sixteen f16 can be read.
        unsafe {
            Halves(
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast())),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_brains(self, from: *const u8) -> Halves {
        // SAFETY: `self` proves AVX2; the caller says that sixteen bfloat16 can be read.
        unsafe {
            let widen =
                |half: __m128i| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)));
            Halves(widen(_mm_loadu_si128(from.cast())), widen(_mm_loadu_si128(from.add(16).cast())))
        }
    }
}
