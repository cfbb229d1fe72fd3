//! `smoleval score --tasks`: the benchmarks of `tasks`, asked and scored document by document.
//!
//! Everything that can fail (names, rows, examples, lengths) is checked before the first token. Each document is written
//! when it is scored, under a key that follows from all that decides its score, so that a stopped run continues.

mod data;
mod encode;
mod endpoint;
mod http;
mod in_training;
mod job;
mod judge;
mod model;
mod native;
mod options;
pub(crate) mod page;
mod prepare;
pub(crate) mod published;
mod record;
mod rescore;
mod settings;
mod shared;
mod shots;
mod split_files;
mod store;
mod summary;
mod values;

pub use in_training::{TrainingBenchmarks, TrainingScore, TrainingTasks};
pub use options::Options;
pub use rescore::{RescoreOptions, rescore};
pub(crate) use settings::Settings;
pub use values::{TaskValues, values_of_models};

use crate::sandbox;
use crate::task::{Group, GroupMean, Task, TasksOfFile};
use crate::tasks;
use anyhow::{Context, Result, ensure};
use data::Data;
use files::run_folder::{Lock, set_aside};
use job::Job;
use judge::Judge;
use model::Model;
use prepare::PreparedTask;
use shards::{Board, Claim};
use std::path::Path;
use std::time::Duration;
use store::Store;
use summary::ModelSummary;
use terminal::{Progress, Stop};

/// Scores the models one after another and prints a table; returns the exit code.
///
/// # Errors
/// One line that names the task, the row or the option that is wrong, before anything is computed.
pub(crate) fn run(settings: &Settings<'_>) -> Result<u8> {
    let stop = Stop::listen().context("cannot handle signals")?;
    let Some(summaries) = score_models(settings, &stop)? else {
        if settings.options.sharing.shards.is_some() {
            return Ok(shards::AGAIN);
        }
        return Ok(stop.exit_code().unwrap_or(terminal::errors::ERROR_EXIT_CODE));
    };
    terminal::print_results(&summary::table(&summaries))?;
    terminal::results!("a line for each document is in {}", settings.out.display())?;
    Ok(0)
}

/// Scores the models one after another; `None` after a signal.
fn score_models(settings: &Settings<'_>, stop: &Stop) -> Result<Option<Vec<ModelSummary>>> {
    let options = settings.options;
    let (selected, groups) = tasks::select(&options.tasks, settings.more_tasks)?;
    for task in &selected {
        ensure!(
            !task.runs_code || options.allow_code,
            "task `{}` runs the model's code; give `--allow-code`",
            task.name
        );
    }
    if selected.iter().any(|task| task.runs_code) {
        sandbox::check(options.unsandboxed)?;
    }
    let judged = selected.iter().find(|task| task.judged.is_some());
    let judge = judged.map(|task| Judge::open(&task.name, options)).transpose()?;
    let prepared: Vec<PreparedTask> = {
        // The files' rows are not needed any more once the documents are made.
        let mut data = Data::open(settings.data, settings.skip_invalid)?;
        selected.iter().map(|task| prepare::task(task, &mut data, settings)).collect::<Result<_>>()?
    };
    let mut summaries = Vec::new();
    for (name, location) in settings.models {
        let folder = settings.out.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        ModelSummary::refuse_foreign(&folder)?;
        let run =
            ModelRun { name, prepared: &prepared, groups: &groups, judge: judge.as_ref(), folder: &folder };
        let summary = match options.sharing.shards()? {
            Some(shards) => run.share(location, settings, shards, stop)?,
            None => {
                if !settings.restart {
                    shards::status::refuse_unfinished(&folder)?;
                }
                let _lock = run.lock(settings)?;
                if settings.restart {
                    set_aside(&folder, &[shards::FOLDER])?;
                }
                run.score(&mut Model::open(location, options)?, settings, stop)?
            }
        };
        let Some(summary) = summary else {
            terminal::message!("note: stopped by a signal; run the same command again for the rest");
            return Ok(None);
        };
        summaries.push(summary);
    }
    Ok(Some(summaries))
}

/// One model, and what it is asked.
struct ModelRun<'a> {
    name: &'a str,
    prepared: &'a [PreparedTask],
    groups: &'a [Group],
    judge: Option<&'a Judge>,
    folder: &'a Path,
}

impl ModelRun<'_> {
    /// Locks the model's folder.
    fn lock(&self, settings: &Settings<'_>) -> Result<Lock> {
        let lock = Lock::acquire_unless(settings.options.no_lock, self.folder, "smoleval score")?;
        // What a killed run left.
        files::atomic::remove_abandoned(self.folder, Duration::ZERO)?;
        Ok(lock)
    }

    /// Scores the model together with other processes; `None` after a signal.
    fn share(
        &self,
        location: &str,
        settings: &Settings<'_>,
        shards: usize,
        stop: &Stop,
    ) -> Result<Option<ModelSummary>> {
        let options = settings.options;
        ensure!(!settings.restart, "`--restart` does not apply to a shared run; give another `--out`");
        let mut model = Model::open(location, options)?;
        let jobs = self.prepared.iter().map(|task| model.job(task)).collect::<Result<Vec<Job<'_>>>>();
        let jobs = jobs.with_context(|| self.name.to_owned())?;
        // Before all is scored for nothing.
        jobs.iter().try_for_each(|job| store::refuse_foreign(self.folder, &job.task.name))?;
        let board = shared::score(self.folder, &mut model, &jobs, (&options.sharing, shards), stop)?;
        while let Some(claim) = board.next(shared::FINISH, stop)? {
            let written = self.hand_in(&board, &claim, &jobs, &mut model, settings, stop);
            let written = claim.unless_lost(written)?;
            if written.is_some() {
                claim.complete(None, serde_json::json!({}))?;
                board.clear()?;
                return Ok(written);
            }
        }
        if !board.is_done(shared::FINISH)? {
            return Ok(None);
        }
        // The worker that wrote the results may have been killed before it did this.
        board.clear()?;
        ModelSummary::read(self.folder).map(Some)
    }

    /// Writes what all workers scored; `None` if another one does, or a signal stopped this one.
    fn hand_in(
        &self,
        board: &Board,
        claim: &Claim,
        jobs: &[Job<'_>],
        model: &mut Model,
        settings: &Settings<'_>,
        stop: &Stop,
    ) -> Result<Option<ModelSummary>> {
        let Some(_lock) = claim.wait_for(stop, || self.lock(settings))? else { return Ok(None) };
        if claim.is_lost_now() {
            return Ok(None);
        }
        shared::hand_in(board, self.folder, jobs)?;
        self.score(model, settings, stop)
    }

    /// Scores the model on all tasks; `None` after a signal.
    fn score(&self, model: &mut Model, settings: &Settings<'_>, stop: &Stop) -> Result<Option<ModelSummary>> {
        let name = self.name;
        for note in model.notes() {
            terminal::message!("note: {name}: {note}");
        }
        let jobs = self.prepared.iter().map(|task| model.job(task)).collect::<Result<Vec<Job<'_>>>>();
        let jobs = jobs.with_context(|| name.to_owned())?;
        let mut summary = ModelSummary::new(name, model.description(settings.options));
        for job in &jobs {
            let mut store = Store::open(self.folder, &job.task.name, settings.restart)?;
            let missing: Vec<usize> = (0..job.documents.len())
                .filter(|index| !store.contains(&job.documents[*index].key))
                .collect();
            let total = job.documents.len() as u64;
            let progress = Progress::new(format!("{name}: {}", job.task.name), "documents", Some(total))
                .resumed_at(total - missing.len() as u64);
            model.score(job, &missing, stop, |record| {
                store.append(record)?;
                progress.advance(1);
                Ok(())
            })?;
            let seconds = job.seconds + progress.elapsed().as_secs_f64();
            progress.finish();
            if let Some(judge) = self.judge.filter(|_| !stop.is_requested()) {
                judge.judge(job, &mut store, stop)?;
            }
            if stop.is_requested() {
                return Ok(None);
            }
            terminal::message!("{name}: {}: {total} documents in {seconds:.1} s", job.task.name);
            let documents = job.documents.iter().map(|one| (one.key.as_str(), one.document.doc_id));
            let records = store.finish(documents)?;
            summary.add_task(job, &records, seconds);
            summary.add_groups(self.groups);
            summary.write(self.folder)?;
        }
        Ok(Some(summary))
    }
}

/// Prints the names of all tasks, with what they measure; `more` are those that the caller hands in.
///
/// # Errors
/// When they cannot be written.
pub fn list(more: &[TasksOfFile]) -> Result<u8> {
    let (tasks, groups) = tasks::all(more);
    // The subjects of a benchmark are shown as their group alone.
    let is_alone =
        |task: &&Task| groups.iter().all(|group| is_short(group) || !group.tasks.contains(&task.name));
    for task in tasks.iter().filter(is_alone) {
        terminal::results!("{:<28} {}", task.name, task.about)?;
    }
    for group in &groups {
        let (count, names) = (group.tasks.len(), names(&group.tasks));
        terminal::results!("{:<28} {} [{count} tasks: {names}]", group.name, group.about)?;
    }
    Ok(0)
}

/// Whether a group only stands for a few tasks, or for tasks without a common score.
fn is_short(group: &Group) -> bool {
    group.mean == GroupMean::None || group.tasks.len() <= 6
}

/// The names of a group's tasks, shortened.
fn names(tasks: &[String]) -> String {
    match tasks {
        [first, .., last] if tasks.len() > 6 => format!("{first}, ..., {last}"),
        _ => tasks.join(", "),
    }
}
