//! `posttrain merge`: an adapter and its base model as one checkpoint, for programs that load no adapters.

use crate::derived::{self, WrittenPrecision, refuse_used_folder};
use anyhow::{Result, ensure};
use checkpoint::Checkpoint;
use std::path::PathBuf;
use training::Parameters;

/// The command line of `posttrain merge`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder of the adapter, such as a run's; its base model is the one that it names
    adapter: String,
    /// Folder of the merged checkpoint, which must not exist or be empty
    #[arg(long)]
    out: PathBuf,
    /// Data type of the saved weights; stored is the base model's
    #[arg(long, value_enum, default_value_t = WrittenPrecision::Stored)]
    save_precision: WrittenPrecision,
}

/// Writes the merged checkpoint. Returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let Options { adapter, out, save_precision } = options;
    refuse_used_folder(out)?;
    let checkpoint = Checkpoint::open(adapter, None)?;
    checkpoint.warnings.iter().for_each(|warning| terminal::message!("warning: {warning}"));
    ensure!(
        checkpoint.weights.is_adapted(),
        "{adapter} is no adapter; give a folder with adapter_config.json"
    );
    checkpoint.check_trainable()?;
    let parameters = Parameters::from_weights(&checkpoint.config, &checkpoint.weights);
    derived::write(out, &checkpoint, &parameters, *save_precision)?;
    // A closed pipe is no failure: the checkpoint is written.
    let _ = terminal::results!("the merged model is in {}", out.display());
    Ok(0)
}
