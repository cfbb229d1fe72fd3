//! Vectors of sixteen lanes in two 256-bit registers, for x86-64 CPUs with AVX2 and FMA.
//!
//! Each operation rounds exactly as the portable form does, so results are the same bits.

use std::arch::x86_64::*;

use crate::simd::{LANES, Simd};

/// Proof that this CPU has AVX2 and FMA: only `detect` constructs it.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Returns `None` if the CPU lacks AVX2 or FMA.
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

/// The two registers of a vector: lanes 0..8 and lanes 8..16.
#[derive(Clone, Copy)]
pub(crate) struct RegisterPair(pub(crate) __m256, pub(crate) __m256);

impl Simd for Avx2 {
    type Vector = RegisterPair;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, value: f32) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        let half = unsafe { _mm256_set1_ps(value) };
        RegisterPair(half, half)
    }

    #[inline(always)]
    fn load(self, values: &[f32; LANES]) -> RegisterPair {
        let pointer = values.as_ptr();
        // SAFETY: `self` proves AVX2; the reference covers the 16 values read, at any alignment.
        unsafe { RegisterPair(_mm256_loadu_ps(pointer), _mm256_loadu_ps(pointer.add(8))) }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES], vector: RegisterPair) {
        let pointer = out.as_mut_ptr();
        // SAFETY: `self` proves AVX2; the reference covers the 16 values written, at any alignment.
        unsafe {
            _mm256_storeu_ps(pointer, vector.0);
            _mm256_storeu_ps(pointer.add(8), vector.1);
        }
    }

    #[inline(always)]
    fn add(self, a: RegisterPair, b: RegisterPair) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        unsafe { RegisterPair(_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn subtract(self, a: RegisterPair, b: RegisterPair) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        unsafe { RegisterPair(_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn multiply(self, a: RegisterPair, b: RegisterPair) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        unsafe { RegisterPair(_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn divide(self, a: RegisterPair, b: RegisterPair) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        unsafe { RegisterPair(_mm256_div_ps(a.0, b.0), _mm256_div_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn multiply_add(self, a: RegisterPair, b: RegisterPair, c: RegisterPair) -> RegisterPair {
        // SAFETY: `self` proves FMA.
        unsafe { RegisterPair(_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
    }

    #[inline(always)]
    fn maximum(self, a: RegisterPair, b: RegisterPair) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        unsafe { RegisterPair(_mm256_max_ps(a.0, b.0), _mm256_max_ps(a.1, b.1)) }
    }

    #[inline(always)]
    fn select_less(
        self,
        a: RegisterPair,
        b: RegisterPair,
        yes: RegisterPair,
        no: RegisterPair,
    ) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        unsafe {
            RegisterPair(
                _mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0)),
                _mm256_blendv_ps(no.1, yes.1, _mm256_cmp_ps::<_CMP_LT_OQ>(a.1, b.1)),
            )
        }
    }

    #[inline(always)]
    fn power_of_two(self, n: RegisterPair) -> RegisterPair {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_add_epi32(_mm256_cvtps_epi32(n.0), bias);
            let high = _mm256_add_epi32(_mm256_cvtps_epi32(n.1), bias);
            RegisterPair(
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)),
            )
        }
    }

    #[inline(always)]
    fn sum(self, vector: RegisterPair) -> f32 {
        // SAFETY: `self` proves AVX2.
        unsafe {
            // Lane l plus l+8, then l+4, l+2, l+1.
            let eight = _mm256_add_ps(vector.0, vector.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }
}
