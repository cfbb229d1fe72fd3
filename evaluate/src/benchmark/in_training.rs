//! Benchmark tasks scored while a model trains: the rows are read and checked before the first step, then one checkpoint
//! after the other is asked about the same documents.

use super::data::Data;
use super::job::JobDocument;
use super::native::NativeModel;
use super::options::Options;
use super::prepare::{self, PreparedTask};
use super::record::{Record, scorer};
use super::settings::Settings;
use super::summary::ModelSummary;
use crate::task::Group;
use crate::tasks;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;
use terminal::Stop;

/// What is scored while a model trains.
#[derive(Debug, Clone, Copy)]
pub struct TrainingTasks<'a> {
    /// Names of tasks and groups.
    pub names: &'a [String],
    /// A folder of datasets, the hub's cache, one data file or a dataset's hub id; `None` is each task's dataset on the hub.
    pub data: Option<&'a Path>,
    /// Maximum number of documents of each task; `None` means all.
    pub limit: Option<usize>,
    /// Whether questions are put in the model's chat template.
    pub chat_template: bool,
}

/// Tasks with their documents, ready to be asked.
pub struct TrainingBenchmarks {
    tasks: Vec<PreparedTask>,
    groups: Vec<Group>,
    options: Options,
}

/// The score of a task or a group.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingScore {
    /// The task or the group.
    pub task: String,
    /// The metric, such as `acc_norm`.
    pub metric: String,
    /// The score: a share of 1, or what the metric counts.
    pub value: f64,
    /// NaN where there are too few documents to estimate it.
    pub standard_error: f64,
}

impl TrainingBenchmarks {
    /// Reads the rows of the tasks.
    ///
    /// # Errors
    /// Names the task, the file or the row that is wrong; refuses tasks that need more than the model.
    pub fn read(tasks: TrainingTasks<'_>) -> Result<Self> {
        let (selected, groups) = tasks::select(tasks.names, &[])?;
        if let Some(task) = selected.iter().find(|task| task.runs_code) {
            bail!(
                "task `{}` runs the model's code, which is not done while a model trains; score its checkpoints with \
                 `smoleval score`",
                task.name
            );
        }
        if let Some(task) = selected.iter().find(|task| task.judged.is_some()) {
            bail!(
                "task `{}` needs a judge, which is not asked while a model trains; score its checkpoints with \
                 `smoleval score`",
                task.name
            );
        }
        let options = Options { chat_template: tasks.chat_template, ..Options::default() };
        let settings = Settings {
            models: &[],
            data: tasks.data,
            out: Path::new(""),
            limit: tasks.limit,
            restart: false,
            skip_invalid: false,
            options: &options,
            more_tasks: &[],
        };
        let mut data = Data::open(tasks.data, false)?;
        let prepared = selected.iter().map(|task| prepare::task(task, &mut data, &settings));
        Ok(Self { tasks: prepared.collect::<Result<_>>()?, groups, options })
    }

    /// Each task with its scorer's version, its examples, the number of its documents and the SHA-256 of its files.
    pub fn description(&self) -> Value {
        let tasks = self.tasks.iter().map(|one| {
            let about = json!({
                "scorer": scorer(&one.task), "shots": one.shots, "documents": one.documents.len(), "files": one.files,
            });
            (one.task.name.clone(), about)
        });
        Value::Object(tasks.collect::<Map<String, Value>>())
    }

    /// Scores the checkpoint in a folder in float32, as `smoleval score` does, to the bit; `None` after a signal.
    ///
    /// # Errors
    /// When a document does not fit in the context, or the engine fails.
    pub fn score(&self, checkpoint: &Path, stop: &Stop) -> Result<Option<Vec<TrainingScore>>> {
        let mut model = NativeModel::open(&checkpoint.display().to_string(), &self.options)?;
        let mut summary = ModelSummary::new("", Value::Null);
        for prepared in &self.tasks {
            let start = Instant::now();
            let job = model.job(prepared)?;
            let all: Vec<usize> = (0..job.documents.len()).collect();
            let mut scored: HashMap<usize, Record> = HashMap::new();
            model.score(&job, &all, stop, |record| {
                scored.insert(record.doc_id, record);
                Ok(())
            })?;
            if stop.is_requested() {
                return Ok(None);
            }
            let of = |document: &JobDocument<'_>| {
                let id = document.document.doc_id;
                scored.remove(&id).with_context(|| format!("document {id} has no score"))
            };
            let in_order: Vec<Record> = job.documents.iter().map(of).collect::<Result<_>>()?;
            summary.add_task(&job, &in_order, start.elapsed().as_secs_f64());
        }
        summary.add_groups(&self.groups);
        let score = |(task, metric, estimate): (&str, &str, crate::statistics::Estimate)| TrainingScore {
            task: task.to_owned(),
            metric: metric.to_owned(),
            value: estimate.value,
            standard_error: estimate.standard_error,
        };
        Ok(Some(summary.scores().map(score).collect()))
    }
}
