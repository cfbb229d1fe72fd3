//! What of a shared run is done, running and missing, and the command that runs what is missing.

use crate::board::{FOLDER, RECORD};
use crate::claim::{CLAIMS, ClaimFile, DONE, claim_file};
use crate::listing::{latest_claims, names};
use crate::owner::Owner;
use crate::record::{Record, Stage};
use anyhow::{Result, ensure};
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The state of a run.
#[derive(Debug)]
struct State {
    folder: PathBuf,
    record: Record,
    done: HashSet<String>,
    claims: HashMap<String, u32>,
    here: Owner,
    now: SystemTime,
}

/// The shards of a stage.
#[derive(Debug, Default)]
struct Counts {
    done: usize,
    running: Vec<(usize, String)>,
    stale: Vec<(usize, String)>,
    missing: Vec<usize>,
}

/// Whether a folder contains a shared run, finished or not.
pub fn is_shared(out: &Path) -> bool {
    out.join(FOLDER).join(RECORD).is_file()
}

/// Whether a folder contains a shared run whose last stage is not done.
///
/// # Errors
/// When its record cannot be read.
fn is_unfinished(out: &Path) -> Result<bool> {
    if !is_shared(out) {
        return Ok(false);
    }
    let folder = out.join(FOLDER);
    let (record, done) = (Record::read(&folder.join(RECORD))?, names(&folder.join(DONE))?);
    let is_open = |stage: &Stage| (0..stage.shards).any(|shard| !done.contains(&stage.unit(shard)));
    Ok(record.stages.last().is_some_and(is_open))
}

/// Refuses a folder in which workers have not finished: a process that knows nothing of them would do their work again.
///
/// # Errors
/// When there is such a run, or its record cannot be read.
pub fn refuse_unfinished(out: &Path) -> Result<()> {
    ensure!(
        !is_unfinished(out)?,
        "{0} contains a shared run that is not finished; give the same `--shards`, or see `smoltalk status {0}`",
        out.display()
    );
    Ok(())
}

/// Describes the shared run in the folder `out`. Claims older than `lease` are stale.
///
/// # Errors
/// When there is none.
pub fn text(out: &Path, lease: Duration) -> Result<String> {
    let folder = out.join(FOLDER);
    ensure!(
        is_shared(out),
        "{} contains no shared run; give the `--out` of a command that was started with `--shards`",
        out.display()
    );
    let here = Owner::this();
    let state = State {
        record: Record::read(&folder.join(RECORD))?,
        done: names(&folder.join(DONE))?,
        claims: latest_claims(&folder.join(CLAIMS))?,
        now: present(&folder.join(CLAIMS)),
        folder,
        here,
    };
    Ok(state.text(lease))
}

impl State {
    fn text(&self, lease: Duration) -> String {
        let mut text = format!("{} in {}\n", self.record.program, self.folder.with_file_name("").display());
        let mut left = 0;
        for stage in &self.record.stages {
            let counts = self.counts(stage, lease);
            let Counts { done, running, stale, missing } = &counts;
            left = left.max(stage.shards - done);
            let _ = writeln!(
                text,
                "{}: {} shards, {done} done, {} running, {} stale, {} missing",
                stage.name,
                stage.shards,
                running.len(),
                stale.len(),
                missing.len()
            );
            for (title, list) in [("running", running), ("stale", stale)] {
                for (shard, holder) in list {
                    let _ = writeln!(text, "  {title} {shard}: {holder}");
                }
            }
            if !missing.is_empty() && missing.len() < stage.shards {
                let _ = writeln!(text, "  missing {}", ranges(missing));
            }
        }
        match left {
            0 => text.push_str("complete"),
            left => {
                let _ = write!(text, "to run what is left: {}", self.remedy(left));
            }
        }
        text
    }

    fn counts(&self, stage: &Stage, lease: Duration) -> Counts {
        let mut counts = Counts::default();
        for shard in 0..stage.shards {
            let unit = stage.unit(shard);
            if self.done.contains(&unit) {
                counts.done += 1;
                continue;
            }
            let Some(epoch) = self.claims.get(&unit) else {
                counts.missing.push(shard);
                continue;
            };
            let file = claim_file(&self.folder, &unit, *epoch);
            let claim = ClaimFile::read(&file);
            let age = age(&file, self.now).unwrap_or_default();
            let holder = match &claim {
                Some(ClaimFile { owner, worker, .. }) => format!(
                    "worker {worker}, process {} on {}, seen {} s ago",
                    owner.process,
                    owner.host,
                    age.as_secs()
                ),
                None => "a claim that cannot be read".to_owned(),
            };
            match claim {
                Some(claim) if claim.released => counts.missing.push(shard),
                Some(claim) if age <= lease && !claim.owner.has_ended(&self.here) => {
                    counts.running.push((shard, holder));
                }
                _ => counts.stale.push((shard, holder)),
            }
        }
        counts
    }

    /// The launcher's line that runs what is left: as many workers as there are shards, at most as many as before. Which
    /// shards they are is in the folder, so that the numbers of the workers do not matter.
    fn remedy(&self, left: usize) -> String {
        let Record { command, launcher, workers, .. } = &self.record;
        let workers = left.min(*workers);
        let command = crate::launch::quoted(command);
        match launcher.as_str() {
            "slurm" => format!("smoltalk launch slurm --workers {workers} -- {command} | sbatch"),
            "kubernetes" => format!(
                "smoltalk launch kubernetes --workers {workers} --image IMAGE --volume CLAIM=PATH -- {command} | kubectl create -f -"
            ),
            "mpirun" => format!("mpirun -n {workers} {command}"),
            "torchrun" => format!("torchrun --no-python --nproc-per-node {workers} {command}"),
            _ => command,
        }
    }
}

/// The present of the file system that holds the claims: the time of a file that is written now. Who may only read gets the
/// time of this machine.
fn present(claims: &Path) -> SystemTime {
    let written = || -> io::Result<SystemTime> {
        // With a name of its own for each process, which is new and no link, and by which `Board::clear` knows it.
        let mut clock = tempfile::Builder::new().prefix(".writing-").tempfile_in(claims)?;
        clock.write_all(b"\n")?;
        clock.as_file().sync_all()?;
        clock.as_file().metadata()?.modified()
    };
    written().unwrap_or_else(|_| SystemTime::now())
}

/// The time since a claim was renewed; `None` if it is gone.
fn age(claim: &Path, now: SystemTime) -> Option<Duration> {
    let renewed = claim.metadata().ok()?.modified().ok()?;
    Some(now.duration_since(renewed).unwrap_or_default())
}

/// Numbers in order as ranges: `0-3,7`.
fn ranges(numbers: &[usize]) -> String {
    let groups = numbers.chunk_by(|one, other| one + 1 == *other);
    let range = |group: &[usize]| match group {
        [first, .., last] => format!("{first}-{last}"),
        _ => group[0].to_string(),
    };
    groups.map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn the_present_is_known_also_where_nothing_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        for claims in [folder.path(), &folder.path().join("absent")] {
            let away = present(claims).duration_since(SystemTime::now() - Duration::from_secs(60)).unwrap();
            assert!(away < Duration::from_secs(120), "{away:?}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn numbers_are_written_as_a_launcher_takes_them() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    }
}
