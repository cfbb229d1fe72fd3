//! Training operations, forward and backward, on the CPU: one file each. Kernels for other devices take the same
//! operands, so that they can be compared with these.
//!
//! Sequences are packed one after the other. `starts` (also known as `cu_seqlens`) holds the first token of each, then
//! the total. Activations are f32 or bf16 (`Element`); the residual stream, its gradient and all sums are f32. Shapes:
//! T tokens of all sequences, C channels, F feed-forward features, H query heads, K key heads, D elements of a head, V
//! vocabulary.

mod adamw;
mod attention;
mod bias;
mod cross_entropy;
mod divergence;
mod elements;
mod embedding;
mod gate;
mod head_norm;
mod norm;
mod rotary;
mod rows;

pub use adamw::{AdamW, adamw, squared_norm};
pub use attention::{AttentionShape, attention_backward, attention_forward};
pub use bias::{bias_backward, bias_forward};
pub use cross_entropy::{TokenLoss, cross_entropy_backward, cross_entropy_forward};
pub use divergence::Divergence;
pub use elements::{residual_add, round};
pub use embedding::{embedding_backward, embedding_forward};
pub use gate::{geglu_backward, geglu_forward, swiglu_backward, swiglu_forward};
pub use head_norm::{NormedHeads, head_norm_backward, head_norm_forward};
pub use norm::{rms_norm_add, rms_norm_backward, rms_norm_forward};
pub use rotary::{Direction, rotate};
