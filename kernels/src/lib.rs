//! CPU f32 arithmetic that the engine and the trainer share: matmul, attention, norms, rotary positions.
//!
//! THE INVARIANT: every output element sums over its inputs in one fixed order, whatever the batch, the
//! tile, the number of threads or the instruction set. So the AVX-512, AVX2 and portable paths give equal
//! bits, and a row computed alone equals the same row computed in a batch. The order: 16 lanes; lane l
//! takes elements l, l+16, l+32 ... ascending by fused multiply-add from 0.0; a tail shorter than 16 is
//! padded with zeros; then the lanes are added as a tree: l with l+8, l+4, l+2, l+1.

use std::sync::OnceLock;

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dot;
mod element;
mod elementwise;
mod gemm;
mod matmul;
mod rope;
mod simd;
#[cfg(test)]
mod tests;
pub mod training;

pub use attention::{AttentionShape, attend};
pub use element::Element;
pub use elementwise::{add, rms_norm, swiglu};
pub use gemm::{Into, Matrix, gemm};
pub use matmul::matmul;
pub use rope::{RopeTable, rope};

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
