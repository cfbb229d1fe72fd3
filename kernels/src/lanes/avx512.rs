//! Vectors of sixteen words in one 512-bit register, for x86-64 CPUs with AVX-512 VNNI and BF16 (from Zen 4 and
//! Sapphire Rapids on).

use std::arch::x86_64::*;

use super::operations::Lanes;
use crate::avx512::Avx512;
use crate::isa::Isa;
use crate::simd::{LANES, Simd, delegate_simd};

/// Proof that this CPU has AVX-512 F, VL, BW, DQ, VNNI and BF16, and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Lanes(Avx512);

impl Avx512Lanes {
    /// Returns `None` if the CPU lacks one of them.
    pub(crate) fn detect() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma");
        Avx512::detect().filter(|_| all).map(Self)
    }
}

delegate_simd!(Avx512Lanes, Avx512);

impl Lanes for Avx512Lanes {
    const ISA: Isa = Isa::Avx512;
    type Words = __m512i;

    #[inline(always)]
    unsafe fn load_words(self, from: *const u8) -> __m512i {
        // SAFETY: `self` proves AVX-512F; the caller guarantees 64 readable bytes.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn splat_word(self, word: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_set1_epi32(word as i32) }
    }

    #[inline(always)]
    fn add_byte_products(self, sum: __m512i, weights: __m512i, x: __m512i) -> __m512i {
        // SAFETY: `self` proves VNNI.
        unsafe { _mm512_dpbusd_epi32(sum, weights, x) }
    }

    #[inline(always)]
    fn add_bf16_products(self, sum: __m512, weights: __m512i, x: __m512i) -> __m512 {
        // SAFETY: `self` proves BF16; the casts keep the bits.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512i, __m512bh>(weights),
                std::mem::transmute::<__m512i, __m512bh>(x),
            )
        }
    }

    #[inline(always)]
    fn low_nibbles(self, words: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_and_si512(words, _mm512_set1_epi8(0x0f)) }
    }

    #[inline(always)]
    fn high_nibbles(self, words: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_and_si512(_mm512_srli_epi32::<4>(words), _mm512_set1_epi8(0x0f)) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn add_words(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn shift_left(self, words: __m512i, count: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_sllv_epi32(words, _mm512_set1_epi32(count as i32)) }
    }

    #[inline(always)]
    fn shift_right(self, words: __m512i, count: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_srlv_epi32(words, _mm512_set1_epi32(count as i32)) }
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 16], words: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512BW; the table has sixteen bytes.
        unsafe {
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, words)
        }
    }

    #[inline(always)]
    fn to_f32(self, words: __m512i) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_cvtepi32_ps(words) }
    }

    #[inline(always)]
    unsafe fn load_f32(self, from: *const u8) -> __m512 {
        // SAFETY: `self` proves AVX-512F; the caller guarantees sixteen readable f32.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load_f16(self, from: *const u8) -> __m512 {
        // SAFETY: `self` proves AVX-512F; the caller guarantees sixteen readable f16.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u8) -> __m512 {
        // SAFETY: `self` proves AVX-512F; the caller guarantees sixteen readable bfloat16.
        unsafe {
            let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(self, from: *const u8) -> __m512 {
        // SAFETY: `self` proves AVX-512F; the caller guarantees sixteen readable i8.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
}
