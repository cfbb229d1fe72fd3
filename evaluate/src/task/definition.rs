//! A task and a group of tasks.

use super::data_set::DataSet;
use super::document::Document;
use super::judged::Judged;
use super::metrics::{ChoiceMetrics, Scorer};
use super::row::Row;
use anyhow::Result;

/// Whose prompts, shots and metrics a task repeats. They are never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// lm-evaluation-harness 0.4.13.
    LmEval,
    /// The lighteval tasks of the SmolLM2 paper (huggingface/smollm, text/evaluation/smollm2/tasks.py).
    SmolLm2,
}

impl Dialect {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::LmEval => "lm-eval-0.4.13",
            Self::SmolLm2 => "smollm2",
        }
    }
}

/// Where the solved examples before a question come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ShotSource {
    /// There are none.
    None,
    /// The first rows of a split.
    First(DataSet),
    /// Rows that Python's `random.sample` draws from a split for each document, from one generator for the whole task.
    Random(DataSet),
    /// Rows of a split, drawn once for the whole task so that all answers are equally frequent.
    Balanced(DataSet),
    /// The first rows of a file of examples that belongs to the task.
    Fixed(DataSet),
    /// The `samples` of an entry (`task.form`) of a file with one object, which also has the task's `description`.
    Listed(DataSet, String),
}

/// A task. `Task { shots: 5, ..Task::new(...) }` is the usual form.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name for `--tasks`. Another dialect than lm-evaluation-harness's ends in `@smollm2`.
    pub name: String,
    /// What it measures, in a few words.
    pub about: &'static str,
    /// Increased whenever the same row would give another prompt or verdict.
    pub version: u32,
    /// Whose form it has.
    pub dialect: Dialect,
    /// The rows that are evaluated.
    pub data: DataSet,
    /// Where its solved examples come from.
    pub shot_source: ShotSource,
    /// The number of solved examples, unless `--num-fewshot` changes it.
    pub shots: usize,
    /// The text before the examples; a system message in a chat.
    pub description: String,
    /// What separates a question from its answer.
    pub target_delimiter: &'static str,
    /// What separates an example from the next one.
    pub shot_delimiter: &'static str,
    /// Makes a document of a row.
    pub document: fn(&Row) -> Result<Document>,
    /// Makes an example of a row, where that differs.
    pub shot: Option<fn(&Row) -> Result<Document>>,
    /// How its documents are scored.
    pub scorer: Scorer,
    /// How replies are judged, where another model does it.
    pub judged: Option<Judged>,
    /// Whether the model's code is run, which `--allow-code` must permit.
    pub runs_code: bool,
}

impl Task {
    /// A task of lm-evaluation-harness with choices and without examples.
    pub fn new(
        name: impl Into<String>,
        about: &'static str,
        data: DataSet,
        document: fn(&Row) -> Result<Document>,
    ) -> Self {
        Self {
            name: name.into(),
            about,
            version: 1,
            dialect: Dialect::LmEval,
            data,
            shot_source: ShotSource::None,
            shots: 0,
            description: String::new(),
            target_delimiter: " ",
            shot_delimiter: "\n\n",
            document,
            shot: None,
            scorer: Scorer::Choices(ChoiceMetrics::AccuracyAndNormalized),
            judged: None,
            runs_code: false,
        }
    }

    /// The task in the dialect of the SmolLM2 paper, whose targets carry their own leading space.
    pub fn smollm2(
        name: &str,
        about: &'static str,
        data: DataSet,
        document: fn(&Row) -> Result<Document>,
    ) -> Self {
        Self {
            dialect: Dialect::SmolLm2,
            target_delimiter: "",
            ..Self::new(format!("{name}@smollm2"), about, data, document)
        }
    }
}

/// How the score of a group follows from its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupMean {
    /// Each document counts the same.
    OfDocuments,
    /// Each task counts the same.
    OfTasks,
    /// There is no common score; the name only stands for the tasks.
    None,
}

/// A name for several tasks.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name for `--tasks`.
    pub name: String,
    /// What it measures, in a few words.
    pub about: &'static str,
    /// The names of its tasks and of groups in it.
    pub tasks: Vec<String>,
    /// How its score follows from theirs.
    pub mean: GroupMean,
}
