//! `smoltalk status`: what of a shared run is done, and what runs the rest.

use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `smoltalk status`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The `--out` of a command that was started with `--shards`
    out: PathBuf,
    /// Time after which a worker that shows no sign of life is called stale, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    lease: u64,
}

/// Prints the state of the run; returns the exit code.
///
/// # Errors
/// When there is none.
pub fn run(options: &Options) -> Result<u8> {
    terminal::results!("{}", shards::status::text(&options.out, Duration::from_secs(options.lease))?)?;
    Ok(0)
}
