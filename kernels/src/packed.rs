//! Products of activations and packed weights, for inference: weights are laid out to be read once, in order.
//!
//! Sixteen rows of weights are interleaved, so that a vector holds one column of sixteen outputs and no sum runs across
//! lanes.
//!
//! THE ORDER of a sum is that of the columns: f32 adds one column after the other by fused multiply-add from 0.0, bf16
//! adds pairs of columns, quantized formats add whole blocks of 32 or halves of them (whose inner sums are exact
//! integers; `wide_sums` states the order within a block). It does not depend on the batch, the tile or the threads, so a row alone gives the
//! same bits as the row in a batch.

mod activations;
mod blocks;
mod encoding;
mod formats;
mod layout;
mod matrix;
mod pairs;
mod planes;
mod product;
mod quantize;
mod sums;
#[cfg(test)]
mod tests;
mod tile;
mod wide_sums;

pub use activations::Activations;
pub use blocks::BlockType;
pub use matrix::PackedMatrix;
pub use pairs::Epilogue;
pub use product::multiply;
