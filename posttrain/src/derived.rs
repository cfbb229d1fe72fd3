//! Checkpoints that are made from others without training: what `merge` and `average` share.

use anyhow::{Result, ensure};
use checkpoint::Checkpoint;
use checkpoint::folder::CheckpointWriter;
use checkpoint::weights::Precision;
use clap::ValueEnum;
use std::path::Path;
use training::Parameters;

/// Data type of the written weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WrittenPrecision {
    /// That of the model
    Stored,
    /// 32-bit floats
    F32,
    /// bfloat16
    Bf16,
}

/// Refuses a folder that has files.
///
/// # Errors
/// Names the folder.
pub(crate) fn refuse_used_folder(out: &Path) -> Result<()> {
    let is_used = out.read_dir().map_or(out.exists(), |mut entries| entries.next().is_some());
    ensure!(!is_used, "`--out {}` is not empty; give another folder", out.display());
    Ok(())
}

/// Writes weights with all other files of a checkpoint.
///
/// # Errors
/// Names the file that cannot be written.
pub(crate) fn write(
    out: &Path,
    checkpoint: &Checkpoint,
    parameters: &Parameters,
    precision: WrittenPrecision,
) -> Result<()> {
    let precision = match precision {
        WrittenPrecision::Stored => checkpoint.weights.stored(),
        WrittenPrecision::F32 => Precision::F32,
        WrittenPrecision::Bf16 => Precision::Bf16,
    };
    files::atomic::create_folder(out)?;
    let writer = CheckpointWriter {
        config: &checkpoint.config,
        tokenizer: &checkpoint.tokenizer,
        tokenizer_config: &checkpoint.tokenizer_config,
        generation_config: &checkpoint.generation_config,
        inherited: &checkpoint.inherited,
        template: checkpoint.has_own_template.then_some(&checkpoint.template),
        adapter: None,
    };
    writer.write(out, &parameters.named(), precision)?;
    Ok(())
}
