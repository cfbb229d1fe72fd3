//! CPU arithmetic that the engine and the trainer share.
//!
//! Inference: packed products (`packed`), attention over cached blocks (`cached`), norms, rotary positions.
//! THE INVARIANT: every output element sums over its inputs in one fixed order, whatever the batch, the tile
//! or the number of threads, so a row computed alone equals the same row computed in a batch; in f32, q8_0
//! and q4_0 whatever the instruction set, too. Each operation states its order. Sums over a vector's own
//! elements (norms, softmax): 16 lanes; lane l takes elements l, l+16, l+32 ... ascending by fused
//! multiply-add from 0.0; a tail shorter than 16 is padded with zeros; then the lanes are added as a tree:
//! l with l+8, l+4, l+2, l+1. Training (`gemm`, `training`) is free to use the widest multipliers.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cached;
mod element;
mod elementwise;
mod format;
mod gemm;
mod lanes;
mod memory;
mod packed;
mod rope;
mod simd;
#[cfg(test)]
mod tests;
mod threads;
pub mod training;

pub use cached::{BLOCK_POSITIONS, CacheBlock, CacheShape, Queries, Span, attend};
pub use element::Element;
pub use elementwise::{add, rms_norm};
pub use format::{CacheFormat, WeightFormat};
pub use gemm::{Into, Matrix, gemm};
pub use packed::{Activations, Epilogue, PackedMatrix, multiply};
pub use rope::{RopeTable, rope};
pub use threads::{each, set_threads, threads};
pub use training::AttentionShape;

/// The instruction set that computes; the answers are the same bits on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// 512-bit vectors, x86-64 with AVX-512F and VL.
    Avx512,
    /// 256-bit vectors, x86-64 with AVX2 and FMA.
    Avx2,
    /// Plain Rust: quick where the target itself has fused multiply-add (aarch64), slow on old x86-64.
    Portable,
}

/// The path this process computes on: the widest the CPU has, found once.
///
/// The environment variable `SMOL_KERNELS` (`portable`, `avx2` or `avx512`) forces one; a path that this
/// CPU lacks, or any other text, is ignored.
pub fn path() -> Path {
    static PATH: OnceLock<Path> = OnceLock::new();
    *PATH.get_or_init(|| {
        let available = available_paths();
        let forced = match std::env::var("SMOL_KERNELS").as_deref() {
            Ok("portable") => Some(Path::Portable),
            Ok("avx2") => Some(Path::Avx2),
            Ok("avx512") => Some(Path::Avx512),
            _ => None,
        };
        match forced {
            Some(path) if available.contains(&path) => path,
            _ => available[0],
        }
    })
}

/// What this CPU can run, widest first; the portable path is always the last.
pub(crate) fn available_paths() -> Vec<Path> {
    let available = |path: &Path| match path {
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => avx512::Avx512::detect().is_some(),
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => avx2::Avx2::detect().is_some(),
        #[cfg(not(target_arch = "x86_64"))]
        Path::Avx512 | Path::Avx2 => false,
        Path::Portable => true,
    };
    [Path::Avx512, Path::Avx2, Path::Portable].into_iter().filter(available).collect()
}
