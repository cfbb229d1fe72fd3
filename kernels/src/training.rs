//! The operations of training, forward and backward, on the CPU: one file each. A kernel for another device
//! stands beside these with the same operands.
//!
//! Rows are packed: sequences lie one after another, and `starts` (the field's cu_seqlens) says where each
//! begins, its last entry being the total. Activations are f32 or bf16 (`Element`), the residual stream,
//! its gradient and all sums f32. Shapes: T tokens of all sequences, C channels, F feed-forward, H heads,
//! K key heads, D head dimension, V vocabulary.

mod adamw;
mod attention;
mod cross_entropy;
mod embedding;
mod gate;
mod norm;
mod rotary;

pub use adamw::{AdamW, adamw, squared_norm};
pub use attention::{AttentionShape, attention_backward, attention_forward};
pub use cross_entropy::{TokenLoss, cross_entropy_backward, cross_entropy_forward};
pub use embedding::{embedding_backward, embedding_forward};
pub use gate::{swiglu_backward, swiglu_forward};
pub use norm::{rms_norm_backward, rms_norm_forward};
pub use rotary::{Direction, rotate};

/// Rows a thread takes at a time where an operation goes row by row.
const ROWS: usize = 32;
