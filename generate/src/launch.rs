//! `smoltalk launch`: prints the file of a job that runs a shared command on a cluster.

use anyhow::Result;
use shards::launch::Target;

/// Options of `smoltalk launch`.
#[derive(Debug, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    target: Target,
}

/// Prints the file; returns the exit code.
///
/// # Errors
/// Those of [`Target::text`].
pub fn run(options: &Options) -> Result<u8> {
    terminal::results!("{}", options.target.text()?.trim_end())?;
    Ok(0)
}
