//! Tests of the invariant and of the numbers: every instruction set, batch, chunk and number of threads gives the same
//! bits, and these are within 1e-5 of the same formula in f64. The tests of `training` have their own tolerances.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod elementwise;
mod gemm;
mod training;

use crate::isa::Isa;

/// The cases that are run: all of them, or the first `interpreted` ones by an interpreter such as Miri, which is a thousand
/// times slower.
pub(crate) fn cases<T>(all: &[T], interpreted: usize) -> &[T] {
    if cfg!(miri) { &all[..interpreted] } else { all }
}

/// Every instruction set. On a CPU that lacks one, the next narrower one runs, with its layout.
#[cfg(not(miri))]
pub(crate) const ISAS: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];
/// The instruction set that is interpreted: Miri knows few instructions of AVX-512.
#[cfg(miri)]
pub(crate) const ISAS: [Isa; 1] = [if cfg!(target_feature = "avx2") { Isa::Avx2 } else { Isa::Portable }];

/// Returns numbers in -0.5..0.5 that depend on the seed only (SplitMix64).
pub(crate) fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..length)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut hash = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((hash ^ (hash >> 31)) >> 40) as f32 / (1u32 << 24) as f32 - 0.5
        })
        .collect()
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Asserts an error of at most 1e-5 of `scale`, the sum of the absolute values of the terms: rounding is relative to
/// it.
pub(crate) fn assert_close(value: f32, expected: f64, scale: f64, what: &str) {
    let error = (f64::from(value) - expected).abs();
    assert!(error <= 1e-5 * scale, "{what}: {value} where f64 gives {expected}");
}

/// Runs `work` in its own pool of `threads` threads.
fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}
