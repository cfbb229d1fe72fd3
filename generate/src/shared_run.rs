//! `smoltalk gen --shards`: many processes make the rows of one dataset. A shard is the rows at every N-th position. A worker
//! makes it as a run of its own, with the store on its own disk, and hands the whole store in; the last worker merges the
//! stores and writes the dataset, as if one process had made all rows.

use crate::resume;
use crate::rows::{self, Portion};
use crate::run::{FOLDER, Run, STORE_FILE};
use crate::setup::Setup;
use crate::store::{Store, merge, write_whole};
use crate::write_dataset::{self, Written};
use anyhow::{Context, Result, bail};
use datasets::export::FileFormat;
use files::atomic::NewFile;
use files::output_folder::OutputFolder;
use serde_json::json;
use shards::{Board, Claim, Stage};
use std::convert::Infallible;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use terminal::Stop;

/// The stages of the work.
const ROWS: usize = 0;
const FINISH: usize = 1;
/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// A run that this process shares with others.
pub(crate) struct SharedRun<'a> {
    pub(crate) out: &'a Path,
    pub(crate) options: &'a shards::Options,
    pub(crate) shards: usize,
    /// The number of rows per task, of all shards together.
    pub(crate) rows: usize,
    pub(crate) format: FileFormat,
    pub(crate) no_lock: bool,
}

/// How it ended for this process.
pub(crate) enum Ended {
    /// A signal stopped it; what it was working on is recorded.
    Stopped,
    /// The dataset is written, by another process.
    Complete,
    /// The dataset is written, by this one.
    Written(Written),
}

impl SharedRun<'_> {
    /// Works on shards until none is left.
    ///
    /// # Errors
    /// When the folder has another run, a teacher cannot be used, or the disk refuses something.
    pub(crate) async fn generate(&self, setup: &Setup, stop: &Stop) -> Result<Ended> {
        // Where others work already, the folder was looked at, and one of them may be writing the dataset.
        if !shards::status::is_shared(self.out) {
            OutputFolder::look(self.out, &FOLDER)?;
            if self.out.join(STORE_FILE).exists() {
                bail!(
                    "{} contains a run of one process; remove `--shards` to resume it, or give another `--out`",
                    self.out.display()
                );
            }
        }
        let stages = vec![Stage::new("rows", self.shards), Stage::new("finish", 1)];
        let mut settings = setup.configuration.clone();
        settings["rows"] = json!(self.rows);
        settings["format"] = json!(format!("{:?}", self.format));
        let board = Board::join(self.out, self.options, FOLDER.program, stages, settings)?;
        while let Some(claim) = board.next(ROWS, stop)? {
            self.make_shard(setup, claim, stop).await?;
        }
        while let Some(claim) = board.next(FINISH, stop)? {
            if let Some(written) = self.finish(setup, &board, claim, stop)? {
                return Ok(Ended::Written(written));
            }
        }
        if !board.is_done(FINISH)? {
            return Ok(Ended::Stopped);
        }
        // The worker that wrote the dataset may have been killed before it did this.
        board.clear()?;
        Ok(Ended::Complete)
    }

    /// Makes the rows of a shard, unless a signal stops this process or another worker takes the shard over.
    async fn make_shard(&self, setup: &Setup, claim: Claim, stop: &Stop) -> Result<()> {
        let shard = claim.shard;
        match self.part_of(setup, &claim, stop).await {
            Ok(Some(part)) => {
                if !claim.complete(Some(&part), json!({}))? {
                    terminal::message!("note: another worker has finished shard {shard}; its rows count");
                }
            }
            Ok(None) => {}
            // Whoever finished the run has removed the files of this claim.
            Err(_) if claim.is_lost_now() => {
                terminal::message!("note: another worker has shard {shard} by now; its rows count");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Makes the rows of a shard and hands the store with them in; `None` if it was stopped.
    async fn part_of(&self, setup: &Setup, claim: &Claim, stop: &Stop) -> Result<Option<PathBuf>> {
        let scratch = scratch(&std::env::temp_dir())?;
        let run = Arc::new(Run::of_shard(scratch.path(), claim, setup.prices.clone())?);
        let portion = Portion { shard: claim.shard, shards: self.shards };
        let work = async {
            for recipe in setup.recipes.iter().filter(|_| !run.is_stopping()) {
                Box::pin(rows::run_all(setup, recipe, &run, self.rows, portion)).await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        tokio::select! {
            ended = work => ended?,
            never = watch(&run, claim, stop) => match never {},
        }
        if let Some(reason) = run.failure() {
            bail!("{reason}");
        }
        if run.is_stopping() {
            return Ok(None);
        }
        let (whole, part) = (scratch.path().join("whole.sqlite"), claim.part("sqlite"));
        write_whole(&run.store, &whole)?;
        copied(&whole, &part)?.commit()?;
        Ok(Some(part))
    }

    /// Merges the shards and writes the dataset; `None` if another worker does, or a signal stopped this one.
    fn finish(&self, setup: &Setup, board: &Board, claim: Claim, stop: &Stop) -> Result<Option<Written>> {
        let written = claim.unless_lost(self.write(setup, board, &claim, stop))?;
        if written.is_some() {
            claim.complete(None, json!({}))?;
            board.clear()?;
        }
        Ok(written)
    }

    fn write(&self, setup: &Setup, board: &Board, claim: &Claim, stop: &Stop) -> Result<Option<Written>> {
        let scratch = scratch(&std::env::temp_dir())?;
        let path = |name: &str| scratch.path().join(name);
        let store = Store::open(&path(STORE_FILE))?;
        for shard in 0..self.shards {
            let (_, part) = board.result(ROWS, shard)?;
            let part = part.with_context(|| format!("shard {shard} has no part"))?;
            // SQLite would lock it, which network file systems do badly.
            copied(&part, &path("part.sqlite"))?.commit()?;
            merge(&store, &path("part.sqlite"))?;
        }
        drop(store);
        let open = || Run::merged(self.out, scratch.path(), setup.prices.clone(), self.no_lock);
        let Some(run) = claim.wait_for(stop, open)?.map(Arc::new) else { return Ok(None) };
        resume::check(&run.store, &setup.configuration, &setup.recipes, self.out)?;
        write_whole(&run.store, &path("whole.sqlite"))?;
        let limits = vec![self.rows; setup.recipes.len()];
        let dataset = write_dataset::prepare(setup, &run, &limits, (self.format, true))?;
        let whole = copied(&path("whole.sqlite"), &self.out.join(STORE_FILE))?;
        // This worker may have been paused, and what is there may be another's, or a later run's.
        if claim.is_lost_now() {
            return Ok(None);
        }
        whole.commit()?;
        Ok(Some(dataset.install(&run)?))
    }
}

/// A folder in one for temporary files, on this machine's own disk.
fn scratch(temporary: &Path) -> Result<TempDir> {
    // SQLite is not to follow links, of which the folder's own path may have some.
    let create = || tempfile::tempdir_in(temporary.canonicalize()?);
    create().with_context(|| {
        format!("cannot create a folder in {}; set TMPDIR to a local folder with room", temporary.display())
    })
}

/// Stops the run when a signal asks to, or when another worker has taken the shard over.
async fn watch(run: &Run, claim: &Claim, stop: &Stop) -> Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        if run.is_stopping() {
            continue;
        }
        if claim.is_lost() {
            terminal::message!(
                "note: another worker has taken shard {} over, because this one was silent for longer than `--lease`",
                claim.shard
            );
            run.stop();
        } else if stop.is_requested() {
            terminal::message!(
                "stopping: waiting for the calls in flight; repeat the signal to stop at once"
            );
            run.stop();
        }
    }
}

/// A copy of a file, on the disk but for its name.
fn copied(from: &Path, to: &Path) -> Result<NewFile> {
    let mut new = NewFile::create(to)?;
    let copied = File::open(from).and_then(|mut file| std::io::copy(&mut file, &mut new));
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    new.sync()?;
    Ok(new)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;

    #[test]
    fn stores_are_merged_in_a_temporary_folder_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let scratch = scratch(&link).unwrap();
        let path = |name: &str| scratch.path().join(name);
        let store = Store::open(&path(STORE_FILE)).unwrap();
        store.set_meta(&[("a", "b")]).unwrap();
        write_whole(&store, &path("whole.sqlite")).unwrap();
        merge(&store, &path("whole.sqlite")).unwrap();
    }
}
