//! CPU arithmetic that the engine and the trainer share.
//!
//! Inference: products with packed weights (`packed`), attention over cached blocks (`cached`), RMS norm, rotary
//! positions. Training: matrix products (`gemm`), forward and backward operations (`training`). Sentence encoders: what BERT
//! has beside products (`encoder`).
//!
//! THE INVARIANT of inference: every output element sums over its inputs in one fixed order, whatever the batch, the
//! tile or the number of threads. A row computed alone has the same bits as the row in a batch, and in f32 and the
//! quantized formats the same bits on every instruction set. Each operation documents its order. Sums over the elements of
//! one vector (norms, softmax) use 16 lanes: lane l adds elements l, l+16, l+32, ... in ascending order by fused
//! multiply-add from 0.0, with a tail shorter than 16 padded with zeros. Then the lanes are added as a tree: l with
//! l+8, then l+4, l+2, l+1. The forward pass of training has the same orders, so that a trained token's log-probability is
//! the engine's; its backward pass uses the widest multipliers of the CPU in orders of its own, so its bits may differ
//! between kinds of CPU.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cached;
mod disjoint;
mod element;
mod elementwise;
pub mod encoder;
mod format;
mod gemm;
mod isa;
mod lanes;
mod log_probability;
mod memory;
mod narrow;
mod packed;
mod rope;
mod simd;
#[cfg(test)]
mod tests;
mod threads;
pub mod training;

pub use cached::{BLOCK_POSITIONS, CacheBlock, CacheShape, Queries, Span, attend};
pub use element::Element;
pub use elementwise::{add, geglu_alternating, rms_norm, swiglu_alternating};
pub use format::{CacheFormat, WeightFormat};
pub use gemm::{Accumulate, Matrix, gemm};
pub use isa::{Isa, cpu_features, isa};
pub use log_probability::LogSum;
pub use narrow::bf16_bytes;
pub use packed::{Activations, BlockType, Epilogue, PackedMatrix, multiply};
pub use rope::{RopeTable, rope};
pub use threads::{parallel_for, set_threads, threads};
pub use training::AttentionShape;
