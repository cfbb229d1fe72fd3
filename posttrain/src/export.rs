//! `posttrain export`: a checkpoint as one GGUF file, for llama.cpp and the programs that are built on it.

use anyhow::{Result, ensure};
use checkpoint::Checkpoint;
use checkpoint::gguf::{self, ExportType};
use clap::ValueEnum;
use report::numbers::separated;
use std::path::PathBuf;

/// The options of `posttrain export`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Checkpoint to export: a folder, such as a run's, a GGUF file or a Hugging Face id
    checkpoint: String,
    /// GGUF file to write
    #[arg(long, value_name = "FILE")]
    gguf: PathBuf,
    /// Type of the matrices; q8_0 and q4_0 are blocks of 32 numbers with 8 and 4 bits each
    #[arg(long = "type", value_enum, default_value_t = Type::Q8_0)]
    kind: Type,
    /// Jinja chat template to export instead of the checkpoint's own
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Type {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
}

impl From<Type> for ExportType {
    fn from(kind: Type) -> Self {
        match kind {
            Type::F32 => Self::F32,
            Type::F16 => Self::F16,
            Type::Bf16 => Self::Bf16,
            Type::Q8_0 => Self::Q8_0,
            Type::Q4_0 => Self::Q4_0,
        }
    }
}

/// Writes the file and prints its length. Returns the exit code.
///
/// # Errors
/// One line that names what is wrong and what to do.
pub fn run(options: &Options) -> Result<u8> {
    let path = &options.gguf;
    ensure!(
        path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")),
        "`--gguf {}` does not end in .gguf; give a file name that does",
        path.display()
    );
    ensure!(path.symlink_metadata().is_err(), "{} exists; remove it or give another name", path.display());
    let checkpoint = Checkpoint::open(&options.checkpoint, options.chat_template.as_deref())?;
    checkpoint.adapter_note().iter().for_each(|note| terminal::message!("note: {note}"));
    checkpoint.warnings.iter().for_each(|warning| terminal::message!("warning: {warning}"));
    let bytes = gguf::export(&checkpoint, path, options.kind.into())?;
    // A closed pipe is no failure: the file is written.
    let _ = terminal::results!("{} has {} bytes", path.display(), separated(bytes));
    Ok(0)
}
