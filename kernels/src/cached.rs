//! Causal grouped-query attention over a key/value cache in blocks of positions, for inference.
//!
//! A block holds 64 positions of every layer, so that sequences with a common prefix can share it.
//!
//! THE ORDER: a query processes the blocks one after the other. In a block, scores sum over the dimensions, the softmax
//! over lanes as stated for the crate, the outputs over the positions. Blocks are then merged one after the other,
//! rescaled to their largest score. It does not matter which task computes a block and when, so the output of a query
//! is the same bits alone, in a batch, in prefill and in decoding.

mod attend;
mod block;
mod call;
mod partial;
#[cfg(test)]
mod tests;
mod tile;

pub use attend::attend;
pub(crate) use attend::{Attended, attend_head};
pub use block::{BLOCK_POSITIONS, CacheBlock, CacheShape};
pub use call::{Queries, Span};
