//! A task as it is asked of one model: what is sent for each document, and the record that an answer makes.

use super::prepare::{PreparedDocument, PreparedTask};
use super::record::{Answer, Record, scorer};
use crate::task::{Dialect, Question, Row, Task};
use anyhow::Result;
use engine::{Request, ScoringRequest};
use files::hash::sha256;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// A task as it is asked of a model.
pub(super) struct Job<'a> {
    pub(super) task: &'a Task,
    pub(super) shots: usize,
    /// The judge's prompts, for a task that is judged.
    pub(super) judge_prompts: &'a [Row],
    pub(super) documents: Vec<JobDocument<'a>>,
    pub(super) files: BTreeMap<String, String>,
    pub(super) merged_borders: usize,
    pub(super) first_prompt: String,
    pub(super) first_prompt_ids: Vec<u32>,
    /// The time that it took to make it, in seconds.
    pub(super) seconds: f64,
}

/// A document as it is asked.
pub(super) struct JobDocument<'a> {
    pub(super) document: &'a PreparedDocument,
    pub(super) key: String,
    pub(super) work: Work,
}

/// What is sent for a document.
pub(super) enum Work {
    /// Continuations in ids, with the contexts that differ.
    Score(Vec<ScoringRequest>),
    /// A prompt in ids.
    Generate(Box<Request>),
    /// Turns of a conversation, as [`Question::Conversation`] has them, with the random seed of each reply.
    Converse { seeds: Vec<u64> },
    /// Contexts and continuations as text.
    ScoreText(Vec<(String, String)>),
    /// A prompt as text or as messages, with what decides the reply.
    GenerateText { body: Value, stops: Vec<String> },
}

/// A document with what only the first one's results show.
pub(super) struct EncodedDocument<'a> {
    pub(super) text: String,
    pub(super) ids: Vec<u32>,
    pub(super) merged: usize,
    pub(super) document: JobDocument<'a>,
}

impl<'a> Job<'a> {
    /// Makes a job of documents whose encoding began at `start`.
    pub(super) fn new(
        prepared: &'a PreparedTask,
        documents: Vec<EncodedDocument<'a>>,
        start: Instant,
    ) -> Self {
        let mut job = Self {
            task: &prepared.task,
            shots: prepared.shots,
            judge_prompts: &prepared.judge_prompts,
            documents: Vec::with_capacity(documents.len()),
            files: prepared.files.clone(),
            merged_borders: 0,
            first_prompt: String::new(),
            first_prompt_ids: Vec::new(),
            seconds: start.elapsed().as_secs_f64(),
        };
        for EncodedDocument { text, ids, merged, document } in documents {
            if job.documents.is_empty() {
                (job.first_prompt, job.first_prompt_ids) = (text, ids);
            }
            job.merged_borders += merged;
            job.documents.push(document);
        }
        job
    }
}

/// The hash of everything that decides the score of a document: the model, the prompts, what is asked and with what the
/// answer is compared.
pub(super) fn key(
    model: &str,
    task: &Task,
    form: &str,
    texts: &[String],
    prepared: &PreparedDocument,
    decoding: &Value,
) -> String {
    let asked = match &prepared.document.question {
        Question::Choices { choices, gold } => json!([choices, gold, task.target_delimiter]),
        Question::Contexts { continuation, gold, .. } => json!([continuation, gold, task.target_delimiter]),
        Question::Text(generation) => generation.gold.clone(),
        Question::Conversation(one) => json!([one.turns, one.temperature, one.max_tokens]),
        Question::Likelihood => Value::Null,
    };
    sha256(json!([model, task.name, scorer(task), form, texts, asked, decoding]).to_string())
}

/// The seeds of the replies of a conversation: each follows from the task, the row and the turn.
pub(super) fn seeds(task: &Task, doc_id: usize, turns: usize) -> Vec<u64> {
    let seed = |turn: usize| {
        let hash = sha256(json!([task.name, doc_id, turn]).to_string());
        u64::from_str_radix(&hash[..16], 16).unwrap_or_default()
    };
    (0..turns).map(seed).collect()
}

/// The record of a document's log-likelihoods. `tokens` is their number, for texts.
pub(super) fn record_of_scores(
    task: &Task,
    document: &JobDocument<'_>,
    loglikelihoods: Vec<f64>,
    is_greedy: Vec<bool>,
    tokens: usize,
) -> Result<Record> {
    let prepared = &document.document.document;
    let answer = match &prepared.question {
        Question::Choices { choices, .. } => Answer::Choices {
            choices: choices.clone(),
            lengths: choices.iter().map(|choice| length(task, choice)).collect(),
            loglikelihoods,
            is_greedy,
        },
        Question::Contexts { contexts, continuation, .. } => Answer::Choices {
            choices: contexts.clone(),
            lengths: vec![length(task, continuation); contexts.len()],
            loglikelihoods,
            is_greedy,
        },
        _ => {
            let loglikelihood = loglikelihoods.iter().sum();
            Answer::Likelihood { loglikelihood, tokens, bytes: prepared.query.len() }
        }
    };
    record(task, document, answer)
}

/// The characters that normalized accuracy counts: the paper's tasks leave the choice's own space out.
fn length(task: &Task, choice: &str) -> usize {
    let counted = match task.dialect {
        Dialect::LmEval => choice,
        Dialect::SmolLm2 => choice.strip_prefix(' ').unwrap_or(choice),
    };
    counted.chars().count()
}

/// The scored record of an answer.
///
/// # Errors
/// Those of the task's scorer.
pub(super) fn record(task: &Task, document: &JobDocument<'_>, answer: Answer) -> Result<Record> {
    let prepared = &document.document.document;
    let gold = match &prepared.question {
        Question::Choices { gold, .. } | Question::Contexts { gold, .. } => json!(gold),
        Question::Text(generation) => generation.gold.clone(),
        Question::Conversation(conversation) => conversation.gold.clone(),
        Question::Likelihood => Value::Null,
    };
    let mut record = Record {
        task: task.name.clone(),
        doc_id: document.document.doc_id,
        key: document.key.clone(),
        scorer: String::new(),
        query: prepared.query.clone(),
        gold,
        answer,
        metrics: Vec::new(),
    };
    record.score(task)?;
    Ok(record)
}
