//! Vectors of sixteen words in two 256-bit registers, for x86-64 CPUs with AVX2, FMA and F16C.

use std::arch::x86_64::*;

use super::operations::Lanes;
use crate::avx2::{Avx2, RegisterPair};
use crate::isa::Isa;
use crate::simd::{LANES, Simd, delegate_simd};

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2Lanes(Avx2);

impl Avx2Lanes {
    /// Returns `None` if the CPU lacks one of them.
    pub(crate) fn detect() -> Option<Self> {
        Avx2::detect().filter(|_| is_x86_feature_detected!("f16c")).map(Self)
    }
}

/// The two registers of a vector: words 0..8 and words 8..16.
#[derive(Clone, Copy)]
pub(crate) struct WordPair(__m256i, __m256i);

impl WordPair {
    #[inline(always)]
    fn map(self, function: impl Fn(__m256i) -> __m256i) -> Self {
        Self(function(self.0), function(self.1))
    }
}

delegate_simd!(Avx2Lanes, Avx2);

/// Exact. The instruction `maddubs` is not: its 16-bit sums of unsigned times signed bytes saturate.
#[inline(always)]
fn add_byte_products(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    // SAFETY: only reached through `Avx2Lanes`, which proves AVX2.
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

/// Adds the products of the odd numbers, then those of the even ones; each fused multiply-add rounds once.
#[inline(always)]
fn add_bf16_products(sum: __m256, weights: __m256i, x: __m256i) -> __m256 {
    // SAFETY: only reached through `Avx2Lanes`, which proves AVX2 and FMA.
    unsafe {
        let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        let odd = |words| _mm256_castsi256_ps(_mm256_and_si256(words, high));
        let even = |words| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words));
        let sum = _mm256_fmadd_ps(odd(weights), odd(x), sum);
        _mm256_fmadd_ps(even(weights), even(x), sum)
    }
}

impl Lanes for Avx2Lanes {
    const ISA: Isa = Isa::Avx2;
    type Words = WordPair;

    #[inline(always)]
    unsafe fn load_words(self, from: *const u8) -> WordPair {
        // SAFETY: `self` proves AVX2; the caller guarantees 64 readable bytes.
        unsafe { WordPair(_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())) }
    }

    #[inline(always)]
    fn splat_word(self, word: u32) -> WordPair {
        // SAFETY: `self` proves AVX2.
        let half = unsafe { _mm256_set1_epi32(word as i32) };
        WordPair(half, half)
    }

    #[inline(always)]
    fn add_byte_products(self, sum: WordPair, weights: WordPair, x: WordPair) -> WordPair {
        WordPair(add_byte_products(sum.0, weights.0, x.0), add_byte_products(sum.1, weights.1, x.1))
    }

    #[inline(always)]
    fn add_bf16_products(self, sum: RegisterPair, weights: WordPair, x: WordPair) -> RegisterPair {
        RegisterPair(add_bf16_products(sum.0, weights.0, x.0), add_bf16_products(sum.1, weights.1, x.1))
    }

    #[inline(always)]
    fn low_nibbles(self, words: WordPair) -> WordPair {
        // SAFETY: `self` proves AVX2.
        words.map(|half| unsafe { _mm256_and_si256(half, _mm256_set1_epi8(0x0f)) })
    }

    #[inline(always)]
    fn high_nibbles(self, words: WordPair) -> WordPair {
        // SAFETY: `self` proves AVX2.
        words.map(|half| unsafe { _mm256_and_si256(_mm256_srli_epi32::<4>(half), _mm256_set1_epi8(0x0f)) })
    }

    #[inline(always)]
    fn and(self, a: WordPair, b: WordPair) -> WordPair {
        // SAFETY: `self` proves AVX2.
        unsafe { WordPair(_mm256_and_si256(a.0, b.0), _mm256_and_si256(a.1, b.1)) }
    }

    #[inline(always)]
    fn or(self, a: WordPair, b: WordPair) -> WordPair {
        // SAFETY: `self` proves AVX2.
        unsafe { WordPair(_mm256_or_si256(a.0, b.0), _mm256_or_si256(a.1, b.1)) }
    }

    #[inline(always)]
    fn add_words(self, a: WordPair, b: WordPair) -> WordPair {
        // SAFETY: `self` proves AVX2.
        unsafe { WordPair(_mm256_add_epi32(a.0, b.0), _mm256_add_epi32(a.1, b.1)) }
    }

    #[inline(always)]
    fn shift_left(self, words: WordPair, count: u32) -> WordPair {
        // SAFETY: `self` proves AVX2.
        words.map(|half| unsafe { _mm256_sllv_epi32(half, _mm256_set1_epi32(count as i32)) })
    }

    #[inline(always)]
    fn shift_right(self, words: WordPair, count: u32) -> WordPair {
        // SAFETY: `self` proves AVX2.
        words.map(|half| unsafe { _mm256_srlv_epi32(half, _mm256_set1_epi32(count as i32)) })
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], words: WordPair) -> WordPair {
        // SAFETY: `self` proves AVX2; the table has sixteen bytes.
        let table = unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())) };
        // SAFETY: `self` proves AVX2.
        words.map(|half| unsafe { _mm256_shuffle_epi8(table, half) })
    }

    #[inline(always)]
    fn to_f32(self, words: WordPair) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        unsafe { RegisterPair(_mm256_cvtepi32_ps(words.0), _mm256_cvtepi32_ps(words.1)) }
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const u8) -> RegisterPair {
        // SAFETY: `self` proves AVX2; the caller guarantees sixteen readable f32.
        unsafe { RegisterPair(_mm256_loadu_ps(from.cast()), _mm256_loadu_ps(from.cast::<f32>().add(8))) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> RegisterPair {
        // SAFETY: `self` proves F16C; the caller guarantees sixteen readable f16.
        unsafe {
            RegisterPair(
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast())),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> RegisterPair {
        // SAFETY: `self` proves AVX2; the caller guarantees sixteen readable bfloat16.
        unsafe {
            let widen =
                |half: __m128i| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(half)));
            RegisterPair(widen(_mm_loadu_si128(from.cast())), widen(_mm_loadu_si128(from.add(16).cast())))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const u8) -> RegisterPair {
        // SAFETY: `self` proves AVX2; the caller guarantees sixteen readable i8.
        unsafe {
            let widen = |half: __m128i| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half));
            RegisterPair(widen(_mm_loadl_epi64(from.cast())), widen(_mm_loadl_epi64(from.add(8).cast())))
        }
    }
}
