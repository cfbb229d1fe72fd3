//! Products of bf16 values with the pairwise multiply-add of AVX-512 BF16.

use super::multiply::{Job, MOST_COLUMNS, Multiply};
use crate::element::Element;
use crate::simd::LANES;
use std::arch::x86_64::*;

/// Products of pairs of bf16 values in one instruction. A value proves that the CPU has AVX-512 BF16.
#[derive(Clone, Copy)]
pub(super) struct Bf16Pairs(());

impl Bf16Pairs {
    /// Returns `None` if the CPU lacks it.
    pub(super) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        has.then_some(Self(()))
    }
}

impl Multiply for Bf16Pairs {
    type Packed = u32;
    type Operand = __m512i;
    type Sums = __m512;
    const STEP: usize = 2;
    const WIDTH: usize = MOST_COLUMNS;

    #[inline(always)]
    fn pack<E: Element>(first: E, second: E) -> u32 {
        u32::from(first.bf16_bits()) | u32::from(second.bf16_bits()) << 16
    }

    #[inline(always)]
    fn as_packed<E: Element>(values: &[E]) -> Option<*const u32> {
        E::BF16.then_some(values.as_ptr().cast())
    }

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn splat(self, value: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_set1_epi32(value.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn load(self, values: *const u32) -> __m512i {
        // SAFETY: the caller guarantees sixteen readable numbers; `self` proves AVX-512F.
        unsafe { _mm512_loadu_si512(values.cast()) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512i, b: __m512i, sums: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512 BF16; both types are 512 bits of bf16 pairs.
        unsafe {
            let pairs = |bits: __m512i| std::mem::transmute::<__m512i, __m512bh>(bits);
            _mm512_dpbf16_ps(sums, pairs(a), pairs(b))
        }
    }

    #[inline(always)]
    fn load_sums(self, values: &[f32; LANES]) -> __m512 {
        // SAFETY: the reference covers the sixteen values read; `self` proves AVX-512F.
        unsafe { _mm512_loadu_ps(values.as_ptr()) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn store(self, out: &mut [f32; LANES], sums: __m512) {
        // SAFETY: the reference covers the sixteen values written; `self` proves AVX-512F.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums) }
    }

    #[inline(always)]
    fn dispatch(self, job: impl Job) {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512bf16,fma")]
        fn inside(job: impl Job) {
            job.run();
        }
        // SAFETY: `self` proves these instructions; every such CPU has FMA.
        unsafe { inside(job) }
    }
}
