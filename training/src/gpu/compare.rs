//! Comparisons of a GPU with the CPU: every operation forward and backward in odd shapes, whole models, and gradients of
//! transformers. `training/gpu/check` makes them on a GPU, the tests on the emulated one.

mod attention;
mod comparison;
mod goldens;
mod head;
mod optimizer;
mod rows;
mod whole;

pub use comparison::Comparison;
pub use goldens::gradients as golden_gradients;
pub use whole::{models, shapes};

use super::device::Gpu;
use anyhow::Result;
use comparison::Comparisons;
use half::bf16;

/// How large the shapes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// For tools that slow every memory access down a hundred times.
    Small,
    /// With rows and sequences longer than any block.
    Full,
}

/// Which operations. A fault leaves a process unable to use the GPU, so `training/gpu/check` runs each part in a process
/// of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The optimizer, and gradients that are f32 whatever the activations are.
    F32Only,
    /// Operations by row, logits and products, with f32 activations.
    RowsF32,
    /// The same with bf16 activations.
    RowsBf16,
    /// Attention in f32.
    AttentionF32,
    /// Attention in bf16, on tensor cores.
    AttentionBf16,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 5] =
        [Self::F32Only, Self::RowsF32, Self::RowsBf16, Self::AttentionF32, Self::AttentionBf16];

    /// Returns its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32Only => "f32-only",
            Self::RowsF32 => "rows-f32",
            Self::RowsBf16 => "rows-bf16",
            Self::AttentionF32 => "attention-f32",
            Self::AttentionBf16 => "attention-bf16",
        }
    }
}

/// Compares the operations of a part.
///
/// # Errors
/// When the GPU fails; a wrong result is a comparison that does not pass.
pub fn operations(gpu: &Gpu, part: Part, extent: Extent) -> Result<Vec<Comparison>> {
    let mut comparisons = Comparisons { gpu, list: Vec::new() };
    let full = extent == Extent::Full;
    match part {
        Part::F32Only => {
            rows::compare_f32_only(&mut comparisons, full)?;
            optimizer::compare(&mut comparisons)?;
        }
        Part::RowsF32 => {
            rows::compare::<f32>(&mut comparisons, full)?;
            head::compare::<f32>(&mut comparisons, full)?;
        }
        Part::RowsBf16 => {
            rows::compare::<bf16>(&mut comparisons, full)?;
            head::compare::<bf16>(&mut comparisons, full)?;
        }
        Part::AttentionF32 => attention::compare::<f32>(&mut comparisons, full)?,
        Part::AttentionBf16 => attention::compare::<bf16>(&mut comparisons, full)?,
    }
    Ok(comparisons.list)
}
