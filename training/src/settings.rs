//! Where and in which precision a step is computed, as plain values. Flags and recipe files are translated into these
//! once, by the program that reads them.

use std::fmt;

/// A device that computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The CPU, all threads of the current rayon pool.
    Cpu,
    /// The GPU with this number, as CUDA counts them.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(ordinal) => write!(formatter, "cuda:{ordinal}"),
        }
    }
}

/// Data type of activations and of the operands of matrix products. Weights, gradients, moments and sums are f32 in
/// either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

/// How a step is computed. Changes speed, memory and the last bits of a result, not what is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputeSettings {
    /// Where.
    pub device: Device,
    /// Data type of activations.
    pub precision: Precision,
    /// Tokens of a micro-batch.
    pub micro_batch_tokens: usize,
    /// Whether the backward pass computes each layer's activations again instead of keeping them.
    pub layer_checkpointing: bool,
    /// Whether a GPU keeps the outputs of norms, too, where it keeps activations. They are the same bits as computed again.
    pub keep_norms: bool,
}

/// What the forward pass on a GPU keeps for the backward pass, which computes the rest again, to the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The input of each layer.
    Inputs,
    /// Each layer's activations without the outputs of its norms.
    Layers,
    /// Each layer's activations.
    LayersAndNorms,
}

impl ComputeSettings {
    /// Returns what a GPU keeps of the forward pass.
    pub fn kept(&self) -> Kept {
        match (self.layer_checkpointing, self.keep_norms) {
            (true, _) => Kept::Inputs,
            (false, false) => Kept::Layers,
            (false, true) => Kept::LayersAndNorms,
        }
    }
}
