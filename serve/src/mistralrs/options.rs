//! How mistral.rs is set up.

use engine::WeightFormat;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The settings of one model.
#[derive(Debug, Clone)]
pub(crate) struct MistralOptions {
    /// Maximum number of requests inside mistral.rs on a GPU; on the CPU it is one.
    pub(crate) max_sequences: NonZeroUsize,
    /// Maximum number of waiting requests; further requests are refused.
    pub(crate) max_waiting: usize,
    /// Data type of the weights; `None` is f32 on the CPU and the checkpoint's own on a GPU. Not for GGUF files.
    pub(crate) weights: Option<WeightFormat>,
    /// Jinja file to use instead of the model's own template.
    pub(crate) chat_template: Option<PathBuf>,
    /// Where the model runs.
    pub(crate) device: Device,
}

impl MistralOptions {
    /// Number of requests that run at once: one on the CPU, where batches give wrong logits (see `mistralrs`).
    pub(super) fn permits(&self) -> NonZeroUsize {
        match self.device {
            Device::Cpu => NonZeroUsize::MIN,
            Device::Cuda => self.max_sequences,
        }
    }
}

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Cpu,
    /// The first GPU; requires the cargo feature `cuda`.
    Cuda,
}
