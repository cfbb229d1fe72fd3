//! The flags of every command whose work can be shared.

use crate::Place;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const HEADING: &str = "Several processes";

/// Flags of a command whose work can be shared.
// Commands have a group of this name already.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Share the work with all processes that run the same command on the same `--out`, which may be on a network file
    /// system: the number of shards that it is cut into
    #[arg(long, value_name = "N", help_heading = HEADING)]
    pub shards: Option<usize>,
    /// Number of this worker, from 0 [default: from torchrun, Open MPI, Slurm, Kubernetes or SkyPilot, or else 0]
    #[arg(long, value_name = "I", requires = "shards", help_heading = HEADING)]
    pub worker: Option<usize>,
    /// Number of workers [default: as --worker]
    #[arg(long, value_name = "N", requires = "shards", help_heading = HEADING)]
    pub workers: Option<usize>,
    /// Time after which the shard of a worker that shows no sign of life is taken over, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120.0, requires = "shards", help_heading = HEADING)]
    pub lease: f64,
}

impl Options {
    /// The place of this process.
    ///
    /// # Errors
    /// Those of [`Place::find`].
    pub fn place(&self) -> Result<Place> {
        Place::find((self.worker, self.workers), &|name| std::env::var(name).ok())
    }

    /// The time after which a claim may be taken over.
    ///
    /// # Errors
    /// When it is no time.
    pub fn lease(&self) -> Result<Duration> {
        let lease = Duration::try_from_secs_f64(self.lease).ok().filter(|lease| !lease.is_zero());
        lease.with_context(|| {
            format!("`--lease {}` is not a time; give a number of seconds greater than 0", self.lease)
        })
    }

    /// The number of shards, if the work is shared.
    ///
    /// # Errors
    /// When it is out of range.
    pub fn shards(&self) -> Result<Option<usize>> {
        if let Some(shards) = self.shards {
            ensure!(
                (1..=100_000).contains(&shards),
                "`--shards {shards}` is out of range; give 1 to 100000, a few times the number of workers"
            );
        }
        Ok(self.shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command};

    /// Two groups of one name end every command of a debug build.
    #[test]
    fn the_flags_add_no_group_to_the_commands_that_have_them() {
        assert_eq!(Options::augment_args(Command::new("gen")).get_groups().count(), 0);
    }
}
