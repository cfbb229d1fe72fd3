//! The files of jobs: a script for `sbatch` and a manifest for Kubernetes. They start the same command many times, and
//! nothing else: which worker does what is settled in the run's folder.

mod job;
mod kubernetes;
mod slurm;

pub use job::Job;
pub(crate) use job::quoted;
pub use kubernetes::Kubernetes;
pub use slurm::Slurm;

use anyhow::Result;
use clap::Subcommand;

/// Where jobs run.
#[derive(Debug, Subcommand)]
pub enum Target {
    /// Print a script for `sbatch`: an array of jobs, one for each worker
    Slurm(Slurm),
    /// Print a manifest for `kubectl create -f -`: an Indexed Job, one pod for each worker
    Kubernetes(Kubernetes),
}

impl Target {
    /// The text of the job's file.
    ///
    /// # Errors
    /// When the command is not shared, or an option is not what its target takes.
    pub fn text(&self) -> Result<String> {
        match self {
            Self::Slurm(slurm) => slurm.script(),
            Self::Kubernetes(kubernetes) => kubernetes.manifest(),
        }
    }
}

#[cfg(test)]
mod tests;
