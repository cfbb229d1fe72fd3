//! The arithmetic of a training step: forward and backward passes of a Llama, log-probabilities of trained tokens,
//! AdamW, and a plan of the memory; on the CPU or on a GPU.
//!
//! A training loop calls a [`Learner`]: any number of gradients, whose sums add up, then one update. Behind it is a
//! [`Backend`], which owns weights, gradients and moments of one device. Anything else that computes a step is one more
//! implementation of [`Backend`]:
//! - a second kind of device: a module beside `cpu` and `gpu`, and an arm in `learner`;
//! - several processes: a wrapper that averages the gradients of all processes in `update`
//!   ([`Backend::edit_gradients`]) and passes everything else on;
//! - an adapter (LoRA) is one: `cpu::AdapterTrainer` owns a frozen [`Base`], and weights, gradients and moments of the
//!   adapter only.
//!
//! Shapes throughout: T tokens of all sequences, C channels, F feed-forward, H heads, K key heads, D head dimension,
//! V vocabulary, N trained tokens.

mod adapter;
mod base;
mod batch;
mod parameters;
mod quantized;

mod optimizer;
mod settings;
mod stored;
mod totals;
mod values;

mod backend;
pub mod cpu;
pub mod gpu;
mod learner;

mod device;
pub mod memory;
mod peak;

pub use adapter::AdapterSettings;
pub use backend::{Backend, Distillation, DistilledTokens, Score, Teacher, TrainingState, WeightsOf};
pub use base::Base;
pub use batch::{Batch, Sequence};
pub use device::{DeviceInfo, check_architecture, memory_taken, slow_paths};
pub use kernels::training::{Divergence, TokenLoss};
pub use learner::{Learner, scorer, scorer_of_base, teacher};
pub use optimizer::{Optimizer, OptimizerSettings};
pub use parameters::{Layout, Parameters, Tensor};
pub use peak::Peak;
pub use settings::{ComputeSettings, Device, Kept, Precision};
pub use stored::{StoredDistributions, TopTokens};
pub use totals::Totals;
pub use values::Values;
