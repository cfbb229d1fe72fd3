//! Which worker this process is, of how many: from flags, or from the environment of what started it. Workers are alike, and
//! the place only decides where a worker looks for work first, so that what is missing is derived and never an error.

use anyhow::{Result, ensure};
use std::fmt;

/// What started this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// Nothing that is known: a shell, GNU parallel.
    None,
    /// torchrun (<https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables>).
    Torchrun,
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// A job, an array of jobs or `srun` (<https://slurm.schedmd.com/sbatch.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES>).
    Slurm,
    /// An Indexed Job (<https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode>).
    Kubernetes,
    /// SkyPilot (<https://docs.skypilot.co/en/latest/running-jobs/environment-variables.html>).
    SkyPilot,
}

/// Which worker a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub index: usize,
    /// Greater than `index`.
    pub count: usize,
    /// What started the process.
    pub launcher: Launcher,
    /// Where the index is from: a flag, or a variable of the environment.
    pub origin: &'static str,
}

impl Place {
    /// The place by the flags `--worker` and `--workers`, each of which replaces what `variable` says: torchrun's variables,
    /// or else the scheduler's.
    ///
    /// # Errors
    /// When the flags contradict each other, or a variable is no number.
    pub fn find(
        (worker, workers): (Option<usize>, Option<usize>),
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        if let (Some(worker), Some(workers)) = (worker, workers) {
            ensure!(
                worker < workers,
                "`--worker {worker}` is not one of `--workers {workers}`, which are numbered from 0; give 0 to {}",
                workers.saturating_sub(1)
            );
        }
        let environment = Environment { variable };
        let (launcher, origin, index, count) = environment.place()?;
        let (index, origin) = worker.map_or((index, origin), |worker| (worker, "--worker"));
        // A part of an array that is run again has numbers beyond its count.
        let count = workers.or(count).unwrap_or(1).max(index + 1);
        Ok(Self { index, count, launcher, origin })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "worker {} of {}", self.index, self.count)?;
        if self.origin.is_empty() { Ok(()) } else { write!(formatter, " ({})", self.origin) }
    }
}

impl Launcher {
    /// Its name in a run's record.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Torchrun => "torchrun",
            Self::OpenMpi => "mpirun",
            Self::Slurm => "slurm",
            Self::Kubernetes => "kubernetes",
            Self::SkyPilot => "skypilot",
        }
    }
}

/// The launcher, where the index is from, the index, and the number of workers if it is known.
type KnownPlace = (Launcher, &'static str, usize, Option<usize>);

/// The environment of the process.
struct Environment<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Environment<'_> {
    fn number(&self, name: &str) -> Result<Option<usize>> {
        let Some(text) = (self.variable)(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let number = text.trim().parse().ok();
        ensure!(
            number.is_some(),
            "the environment says {name}={text}, which is no number from 0; give `--worker` and `--workers`, or unset it"
        );
        Ok(number)
    }

    /// What the first launcher that is there says.
    fn place(&self) -> Result<KnownPlace> {
        for (launcher, index, count) in [
            (Launcher::Torchrun, "RANK", "WORLD_SIZE"),
            (Launcher::OpenMpi, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ] {
            if let Some(number) = self.number(index)? {
                return Ok((launcher, index, number, self.number(count)?));
            }
        }
        if let Some(place) = self.slurm()? {
            return Ok(place);
        }
        if let Some(number) = self.number("JOB_COMPLETION_INDEX")? {
            // Kubernetes does not tell the number of completions.
            return Ok((Launcher::Kubernetes, "JOB_COMPLETION_INDEX", number, None));
        }
        if let Some(number) = self.number("SKYPILOT_NODE_RANK")? {
            let count = self.number("SKYPILOT_NUM_NODES")?;
            return Ok((Launcher::SkyPilot, "SKYPILOT_NODE_RANK", number, count));
        }
        Ok((Launcher::None, "", 0, None))
    }

    /// Slurm's array and `srun` together: each job of an array may run several tasks.
    fn slurm(&self) -> Result<Option<KnownPlace>> {
        let (array, task) = (self.number("SLURM_ARRAY_TASK_ID")?, self.number("SLURM_PROCID")?);
        let tasks = match self.number("SLURM_NTASKS")? {
            Some(tasks) => Some(tasks),
            None => self.number("SLURM_NPROCS")?,
        };
        let Some(array) = array else {
            return Ok(task.map(|task| (Launcher::Slurm, "SLURM_PROCID", task, tasks)));
        };
        let first = self.number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
        let (task, tasks) = (task.unwrap_or(0), tasks.unwrap_or(1).max(1));
        let index = array.saturating_sub(first) * tasks + task;
        let jobs = self.number("SLURM_ARRAY_TASK_COUNT")?;
        Ok(Some((Launcher::Slurm, "SLURM_ARRAY_TASK_ID", index, jobs.map(|jobs| jobs * tasks))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    fn place(flags: (Option<usize>, Option<usize>), environment: &str) -> Result<String> {
        let pairs: Vec<(&str, &str)> =
            environment.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
        let variable =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Place::find(flags, &variable).map(|place| format!("{}: {place}", place.launcher.name()))
    }

    /// Variables as each launcher sets them.
    #[test]
    fn each_launcher_says_the_place_in_its_own_words() {
        let array = "SLURM_JOB_ID=9 SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_COUNT=10";
        let step = "SLURM_PROCID=3 SLURM_LOCALID=1 SLURM_NODEID=1 SLURM_NTASKS=4 SLURM_NNODES=2";
        for (environment, expected) in [
            ("", "none: worker 0 of 1"),
            ("RANK=2 LOCAL_RANK=0 WORLD_SIZE=4", "torchrun: worker 2 of 4 (RANK)"),
            ("OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=3", "mpirun: worker 1 of 3 (OMPI_COMM_WORLD_RANK)"),
            (array, "slurm: worker 6 of 10 (SLURM_ARRAY_TASK_ID)"),
            (step, "slurm: worker 3 of 4 (SLURM_PROCID)"),
            (&format!("{array} {step}"), "slurm: worker 27 of 40 (SLURM_ARRAY_TASK_ID)"),
            ("JOB_COMPLETION_INDEX=5", "kubernetes: worker 5 of 6 (JOB_COMPLETION_INDEX)"),
            ("SKYPILOT_NODE_RANK=1 SKYPILOT_NUM_NODES=2", "skypilot: worker 1 of 2 (SKYPILOT_NODE_RANK)"),
        ] {
            assert_eq!(place((None, None), environment).unwrap(), expected, "{environment}");
        }
    }

    #[test]
    fn flags_come_first_then_torchrun_then_the_scheduler() {
        let both = "SLURM_PROCID=3 SLURM_NTASKS=4 RANK=1 WORLD_SIZE=2";
        assert_eq!(place((None, None), both).unwrap(), "torchrun: worker 1 of 2 (RANK)");
        assert_eq!(place((Some(5), Some(9)), both).unwrap(), "torchrun: worker 5 of 9 (--worker)");
        assert_eq!(
            place((None, Some(9)), "JOB_COMPLETION_INDEX=5").unwrap(),
            "kubernetes: worker 5 of 9 (JOB_COMPLETION_INDEX)"
        );
    }

    #[test]
    fn what_is_missing_is_derived_and_what_is_wrong_is_refused() {
        assert_eq!(place((None, None), "RANK=2").unwrap(), "torchrun: worker 2 of 3 (RANK)");
        assert_eq!(place((None, None), "SLURM_PROCID=0").unwrap(), "slurm: worker 0 of 1 (SLURM_PROCID)");
        // `--array=3,17` is a part of an array that is run again.
        let part = "SLURM_ARRAY_TASK_ID=17 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_COUNT=2";
        assert_eq!(place((None, None), part).unwrap(), "slurm: worker 14 of 15 (SLURM_ARRAY_TASK_ID)");
        assert_eq!(place((Some(2), None), "").unwrap(), "none: worker 2 of 3 (--worker)");
        let error = place((Some(3), Some(3)), "").unwrap_err().to_string();
        assert!(error.contains("give 0 to 2"), "{error}");
        let error = place((None, None), "SLURM_PROCID=two").unwrap_err().to_string();
        assert!(error.contains("SLURM_PROCID=two") && error.contains("`--worker`"), "{error}");
    }
}
