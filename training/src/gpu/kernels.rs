//! Every kernel in `training/cuda` as a struct with the kernel's own parameters. A test compares names, order and types
//! with the CUDA sources.
//!
//! Shapes: T tokens, C channels, F feed-forward, H heads, K key heads, D head dimension, V vocabulary, N rows.

mod attention;
mod head;
mod launch;
mod optimizer;
mod product;
mod rows;
#[cfg(test)]
pub(super) mod signatures;

pub(super) use attention::{
    AttentionBackwardKey, AttentionBackwardKey64, AttentionBackwardQuery, AttentionBackwardQuery64,
    AttentionDelta, AttentionForward, AttentionForward64, AttentionKeySums64, TENSOR_HEAD_DIM,
};
pub(super) use head::{CrossEntropyForward, CrossEntropyGradient, CrossEntropyGradientHalved};
pub(super) use optimizer::{AdamW, CastToBf16, Fill, GradientNorm, NORM_PARTS, SquaredNorm};
pub(super) use product::product;
#[cfg(test)]
pub(super) use product::{ProductBf16, ProductBf16F32, ProductF32};
pub(super) use rows::{
    EmbeddingBackward, EmbeddingForward, NormBackward, NormBackwardWeight, NormForward, Rotate,
    SwigluBackward, SwigluForward,
};
