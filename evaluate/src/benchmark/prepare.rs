//! A task's documents with their prompts, before any model is opened: every row is read and checked here.

use super::data::Data;
use super::settings::Settings;
use super::shots::Shots;
use crate::task::python::Random;
use crate::task::{Dialect, Document, Judged, Prompt, Question, Row, Task, prompts};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;

/// The seed of lighteval's order of documents.
const ORDER_SEED: u32 = 42;

/// A task that is ready to be asked.
pub(super) struct PreparedTask {
    pub(super) task: Task,
    pub(super) shots: usize,
    pub(super) documents: Vec<PreparedDocument>,
    /// The judge's prompts, for a task that is judged.
    pub(super) judge_prompts: Vec<Row>,
    /// The SHA-256 of every file that was read, by its path.
    pub(super) files: BTreeMap<String, String>,
}

/// A document that is ready to be asked.
pub(super) struct PreparedDocument {
    /// The number of its row in the evaluated split, from 0.
    pub(super) doc_id: usize,
    pub(super) document: Document,
    /// One, or one for each of its contexts.
    pub(super) prompts: Vec<Prompt>,
}

/// Reads a task's rows and makes their prompts.
///
/// # Errors
/// Names the task, the file and the row.
pub(super) fn task(task: &Task, data: &mut Data, settings: &Settings<'_>) -> Result<PreparedTask> {
    prepare(task, data, settings).with_context(|| format!("task `{}`", task.name))
}

fn prepare(task: &Task, data: &mut Data, settings: &Settings<'_>) -> Result<PreparedTask> {
    let options = settings.options;
    let read = data.rows(&task.data)?;
    let rows = read.rows;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let mut random = Random::new(ORDER_SEED);
    if task.dialect == Dialect::SmolLm2 {
        random.shuffle(&mut order);
    }
    for sample in &options.samples {
        ensure!(*sample < rows.len(), "`--samples {sample}` is not a row; there are {} rows", rows.len());
    }
    if !options.samples.is_empty() {
        order.retain(|row| options.samples.contains(row));
    }
    order.truncate(settings.limit.unwrap_or(usize::MAX));
    let count = options.num_fewshot.unwrap_or(task.shots);
    let mut shots = Shots::read(task, count, data, random)?;
    let judge = task.judged.as_ref().map(|judged| JudgeFiles::read(judged, data)).transpose()?;
    let mut task = task.clone();
    task.description = shots.description.take().unwrap_or(task.description);
    let documents = order.into_iter().map(|doc_id| {
        let row = &rows[doc_id];
        let mut document = (task.document)(row).with_context(|| row.place.clone())?;
        if let Some(judge) = &judge {
            judge.add_reference(&mut document);
            judge.check(&task, &document).with_context(|| row.place.clone())?;
        }
        let examples = shots.next(row)?;
        let prompts = prompts(&task, &document, &examples, options.system.as_deref());
        Ok(PreparedDocument { doc_id, document, prompts })
    });
    let documents = documents.collect::<Result<Vec<_>>>()?;
    let mut files = read.files;
    files.extend(std::mem::take(&mut shots.files));
    let JudgeFiles { prompts, files: of_judge, .. } = judge.unwrap_or_default();
    files.extend(of_judge);
    Ok(PreparedTask { task, shots: count, documents, judge_prompts: prompts, files })
}

/// The judge's prompts, and the reference answers by the id of their question.
#[derive(Default)]
struct JudgeFiles {
    prompts: Vec<Row>,
    references: Vec<(Value, Value)>,
    files: BTreeMap<String, String>,
}

impl JudgeFiles {
    fn read(judged: &Judged, data: &mut Data) -> Result<Self> {
        let (prompts, references) = (data.rows(&judged.prompts)?, data.rows(&judged.references)?);
        let reference = |row: &Row| (judged.reference)(row).with_context(|| row.place.clone());
        let mut files = prompts.files;
        files.extend(references.files);
        let references = references.rows.iter().map(reference).collect::<Result<_>>()?;
        Ok(Self { prompts: prompts.rows, references, files })
    }

    fn add_reference(&self, document: &mut Document) {
        if let Question::Conversation(conversation) = &mut document.question
            && let Some((_, reference)) =
                self.references.iter().find(|(id, _)| *id == conversation.gold["id"])
        {
            conversation.gold["reference"] = reference.clone();
        }
    }

    /// Makes the judge's requests for empty replies, so that a missing prompt or reference is noticed before the first
    /// reply is made.
    fn check(&self, task: &Task, document: &Document) -> Result<()> {
        if let (Question::Conversation(conversation), Some(judged)) = (&document.question, &task.judged) {
            let replies = vec![String::new(); conversation.turns.len()];
            for turn in 0..replies.len() {
                (judged.request)(&conversation.gold, &self.prompts, &replies, turn)?;
            }
        }
        Ok(())
    }
}
