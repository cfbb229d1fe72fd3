//! Causal grouped-query attention over packed sequences, forward and backward: no token attends to another sequence. With
//! a window, each query attends to the last positions only, its own included; the others are not computed.
//!
//! The scores exist for one block of queries at a time. The backward pass computes them again from the saved log-sums.

mod backward;
mod call;
mod forward;

pub use backward::attention_backward;
pub use call::AttentionShape;
pub use forward::attention_forward;
