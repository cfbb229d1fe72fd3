//! The invariant and the numbers: every path, batch, chunk and thread count gives the same bits, and those
//! bits are within 1e-5 of the same formula in f64. The operations of training have their own: `training`.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod elementwise;
mod gemm;
mod training;

use crate::Path;

/// What may be asked for: on a CPU that lacks one, that is the next one down, with its layout.
pub(crate) const PATHS: [Path; 3] = [Path::Avx512, Path::Avx2, Path::Portable];

/// Numbers in -0.5..0.5 that follow from the seed alone (splitmix64).
pub(crate) fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..length)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1u32 << 24) as f32 - 0.5
        })
        .collect()
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// `scale` is what the terms of the sum add up to without their signs: rounding is relative to that.
pub(crate) fn assert_close(value: f32, expected: f64, scale: f64, what: &str) {
    let error = (f64::from(value) - expected).abs();
    assert!(error <= 1e-5 * scale, "{what}: {value} where f64 gives {expected}");
}

/// Runs `work` in a pool of its own with so many threads.
fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}
