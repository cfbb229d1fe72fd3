//! Asking a checkpoint: log-likelihoods by the engine's scorer, texts by the engine.

use super::encode::{Encoder, Form};
use super::job::{self, EncodedDocument, Job, JobDocument, Work};
use super::options::Options;
use super::prepare::{PreparedDocument, PreparedTask};
use super::record::{Answer, Record};
use crate::task::{Conversation, Dialect, Question, Task};
use anyhow::{Context, Result, bail, ensure};
use checkpoint::Checkpoint;
use engine::{
    ContinuationScore, Engine, Events, Finish, NativeEngine, Request, Sampling, Scorer, ScoringRequest,
};
use files::hash::sha256;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Instant;
use terminal::Stop;

/// The form of a conversation, whatever the form of other prompts is: each turn is a turn of the template.
const CONVERSATION: Form = Form::Chat { examples_as_turns: true };
/// Increased whenever the same weights and ids would give other log-likelihoods or texts.
const ENGINE_VERSION: u32 = 1;
/// The number of texts that are written together.
const BATCH: usize = 64;
/// Size of the cache of keys and values, in bytes.
const CACHE_BYTES: usize = 1 << 30;

/// A checkpoint that is evaluated. Its weights are loaded when the first request needs them.
pub(super) struct NativeModel {
    checkpoint: Checkpoint,
    options: engine::Options,
    form: Form,
    max_tokens: Option<usize>,
    weights_sha256: String,
    tokenizer_sha256: String,
    /// The hash of everything that turns a prompt into an answer.
    identity: String,
    scorer: Option<Scorer>,
    engine: Option<NativeEngine>,
}

impl NativeModel {
    /// Opens a checkpoint.
    ///
    /// # Errors
    /// Names what is wrong with the folder, or that it has no chat template.
    pub(super) fn open(location: &str, options: &Options) -> Result<Self> {
        let checkpoint = Checkpoint::open(location, None)?;
        ensure!(
            checkpoint.has_own_template || !options.chat_template,
            "{location} has no chat template; remove `--chat-template`"
        );
        let form = match options.chat_template {
            true => Form::Chat { examples_as_turns: !options.one_message },
            false => Form::Plain,
        };
        let weights_sha256 = checkpoint.weights.sha256();
        let tokenizer_sha256 = sha256(checkpoint.tokenizer.to_json()?);
        let identity = json!([
            ENGINE_VERSION,
            weights_sha256,
            sha256(checkpoint.config.to_json().to_string()),
            tokenizer_sha256,
            checkpoint.stop_ids,
            format!("{:?}", options.dtype),
        ]);
        let engine_options = engine::Options {
            max_sequences: BATCH,
            cache_bytes: CACHE_BYTES,
            weights: Some(options.dtype.format()),
            ..engine::Options::default()
        };
        Ok(Self {
            options: engine_options,
            form,
            max_tokens: options.max_reply_tokens,
            identity: sha256(identity.to_string()),
            weights_sha256,
            tokenizer_sha256,
            scorer: None,
            engine: None,
            checkpoint,
        })
    }

    /// What a reader of its figures should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.checkpoint.adapter_note().into_iter().collect();
        if self.checkpoint.has_own_template {
            notes.extend(self.checkpoint.warnings.iter().cloned());
        }
        notes
    }

    /// What the results say about the model and how it was asked.
    pub(super) fn description(&self, options: &Options) -> Value {
        json!({
            "weights_sha256": self.weights_sha256,
            "tokenizer_sha256": self.tokenizer_sha256,
            "template_sha256": sha256(self.checkpoint.template.source()),
            "parameters": self.checkpoint.config.parameters(),
            "context": self.checkpoint.config.max_positions,
            "dtype": format!("{:?}", options.dtype.format()).to_lowercase(),
            "chat_template": options.chat_template,
            "examples_as_turns": options.chat_template && !options.one_message,
            "system": options.system,
        })
    }

    /// Turns a task into tokens.
    ///
    /// # Errors
    /// Names the task and the document that does not fit in the context.
    pub(super) fn job<'a>(&self, prepared: &'a PreparedTask) -> Result<Job<'a>> {
        let start = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = prepared.documents.len().div_ceil(threads).max(1);
        let parts: Vec<Result<Vec<EncodedDocument<'a>>>> = std::thread::scope(|scope| {
            let encode = |part: &'a [PreparedDocument]| {
                scope.spawn(move || part.iter().map(|one| self.encode(&prepared.task, one)).collect())
            };
            let threads: Vec<_> = prepared.documents.chunks(share).map(encode).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|part| part.unwrap_or_else(|_| Err(anyhow::anyhow!("the tokenizer panicked"))))
                .collect()
        });
        let mut documents = Vec::with_capacity(prepared.documents.len());
        for part in parts {
            documents.extend(part?);
        }
        Ok(Job::new(prepared, documents, start))
    }

    fn encode<'a>(&self, task: &Task, prepared: &'a PreparedDocument) -> Result<EncodedDocument<'a>> {
        let encoder = Encoder::new(&self.checkpoint);
        let texts: Vec<String> =
            prepared.prompts.iter().map(|prompt| encoder.text(prompt, self.form)).collect::<Result<_>>()?;
        let mut merged = 0;
        let work = match &prepared.document.question {
            Question::Text(generation) => {
                // lighteval does not use stop strings in a chat.
                let unused = task.dialect == Dialect::SmolLm2 && self.form != Form::Plain;
                Work::Generate(Box::new(Request {
                    prompt: encoder.ids(&texts[0])?,
                    max_tokens: self.max_tokens.unwrap_or(generation.max_tokens),
                    stop_ids: self.checkpoint.stop_ids.clone(),
                    stop_strings: if unused { Vec::new() } else { generation.stops.clone() },
                    deliver_at_end: true,
                    ..Request::default()
                }))
            }
            Question::Conversation(conversation) => {
                ensure!(
                    self.form != Form::Plain,
                    "task `{}` is a conversation; give `--chat-template`",
                    task.name
                );
                Work::Converse { seeds: job::seeds(task, prepared.doc_id, conversation.turns.len()) }
            }
            Question::Likelihood => {
                let (context, continuation) = encoder.pair("", &texts[0])?;
                Work::Score(vec![ScoringRequest { context, continuations: vec![continuation] }])
            }
            Question::Choices { choices, .. } => {
                let ids = encoder.context_ids(&texts[0])?;
                let parts = choices.iter().map(|choice| (&texts[0], ids.clone(), choice)).collect();
                self.scoring(task, &encoder, parts, &mut merged)?
            }
            Question::Contexts { continuation, .. } => {
                let ids: Vec<Vec<u32>> =
                    texts.iter().map(|text| encoder.context_ids(text)).collect::<Result<_>>()?;
                let parts = texts.iter().zip(ids).map(|(text, ids)| (text, ids, continuation)).collect();
                self.scoring(task, &encoder, parts, &mut merged)?
            }
        };
        self.check_length(&encoder, task, prepared, &work)?;
        let asked = match &work {
            Work::Generate(request) => json!([request.stop_strings, request.max_tokens]),
            Work::Converse { seeds } => json!([seeds, self.max_tokens]),
            _ => Value::Null,
        };
        let key = job::key(&self.identity, task, &format!("{:?}", self.form), &texts, prepared, &asked);
        let ids = match &work {
            Work::Score(requests) => {
                requests.first().map(|request| request.context.clone()).unwrap_or_default()
            }
            Work::Generate(request) => request.prompt.clone(),
            _ => Vec::new(),
        };
        let text = texts.into_iter().next().unwrap_or_default();
        Ok(EncodedDocument { text, ids, merged, document: JobDocument { document: prepared, key, work } })
    }

    /// The requests for contexts, each with its ids, and their continuations; those that follow each other with the same
    /// context are one request. `merged` counts the continuations whose first token took in the context's last one.
    fn scoring(
        &self,
        task: &Task,
        encoder: &Encoder<'_>,
        parts: Vec<(&String, Vec<u32>, &String)>,
        merged: &mut usize,
    ) -> Result<Work> {
        // In a chat, lm-evaluation-harness has no delimiter.
        let delimiter = if self.form == Form::Plain { task.target_delimiter } else { "" };
        let mut requests: Vec<ScoringRequest> = Vec::new();
        for (context, context_ids, continuation) in parts {
            let known = context_ids.len();
            let (ids, rest) =
                encoder.continue_ids(context, context_ids, &format!("{delimiter}{continuation}"))?;
            ensure!(!rest.is_empty(), "a choice of task `{}` is empty", task.name);
            *merged += usize::from(ids.len() < known);
            match requests.last_mut().filter(|last| last.context == ids) {
                Some(last) => last.continuations.push(rest),
                None => requests.push(ScoringRequest { context: ids, continuations: vec![rest] }),
            }
        }
        Ok(Work::Score(requests))
    }

    fn check_length(
        &self,
        encoder: &Encoder<'_>,
        task: &Task,
        prepared: &PreparedDocument,
        work: &Work,
    ) -> Result<()> {
        let context = self.checkpoint.config.max_positions;
        let (needed, what) = match work {
            Work::Score(requests) => {
                let longest = |one: &ScoringRequest| {
                    one.context.len() + one.continuations.iter().map(Vec::len).max().unwrap_or(0)
                };
                (requests.iter().map(longest).max().unwrap_or(0), "its longest choice")
            }
            Work::Generate(request) => (request.prompt.len() + request.max_tokens, "the reply"),
            Work::Converse { .. } => match &prepared.document.question {
                Question::Conversation(one) => {
                    let empty = vec![String::new(); one.turns.len() - 1];
                    let prompt = prepared.prompts[0].continued(&one.turns, &empty);
                    let tokens = encoder.ids(&encoder.text(&prompt, CONVERSATION)?)?.len();
                    (tokens + one.turns.len() * self.reply_tokens(one), "all replies")
                }
                _ => (0, ""),
            },
            _ => (0, ""),
        };
        ensure!(
            needed <= context,
            "task `{}`: document {} needs {needed} tokens with {what}, the model's context has {context}; give a \
             smaller `--num-fewshot` or `--max-reply-tokens`",
            task.name,
            prepared.doc_id
        );
        Ok(())
    }

    /// Answers the documents with these indices and hands each record over as soon as it is scored.
    ///
    /// # Errors
    /// When the engine fails or a record cannot be written. After a signal the rest is left out.
    pub(super) fn score(
        &mut self,
        job: &Job<'_>,
        missing: &[usize],
        stop: &Stop,
        mut finish: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let documents: Vec<&JobDocument<'_>> = missing.iter().map(|index| &job.documents[*index]).collect();
        let Some(first) = documents.first() else { return Ok(()) };
        match first.work {
            Work::Score(_) => self.score_continuations(job.task, &documents, stop, &mut finish),
            Work::Converse { .. } => self.converse(job.task, &documents, stop, &mut finish),
            _ => self.generate(job.task, &documents, stop, &mut finish),
        }
    }

    fn score_continuations(
        &mut self,
        task: &Task,
        documents: &[&JobDocument<'_>],
        stop: &Stop,
        finish: &mut impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        self.engine = None;
        let scorer = self.scorer.get_or_insert_with(|| Scorer::load(&self.checkpoint, self.options.weights));
        let (mut requests, mut owners) = (Vec::new(), Vec::new());
        let mut scores: Vec<Vec<Option<Vec<ContinuationScore>>>> = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            let Work::Score(parts) = &document.work else { continue };
            owners.extend((0..parts.len()).map(|part| (index, part)));
            requests.extend(parts.iter().cloned());
            scores.push(vec![None; parts.len()]);
        }
        let mut result = Ok(());
        scorer.score(&requests, |request, part_scores| {
            let (index, part) = owners[request];
            scores[index][part] = Some(part_scores);
            if scores[index].iter().all(Option::is_some) {
                let parts: Vec<ContinuationScore> =
                    std::mem::take(&mut scores[index]).into_iter().flatten().flatten().collect();
                result = record_of_scores(task, documents[index], parts).and_then(&mut *finish);
            }
            match result.is_err() || stop.is_requested() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        result
    }

    fn generate(
        &mut self,
        task: &Task,
        documents: &[&JobDocument<'_>],
        stop: &Stop,
        finish: &mut impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        self.start_engine()?;
        let engine = self.engine.as_ref().context("the engine was started above")?;
        let mut waiting = documents.iter();
        let mut in_flight: VecDeque<(&JobDocument<'_>, Events)> = VecDeque::new();
        while !stop.is_requested() {
            while in_flight.len() < 2 * BATCH {
                let Some(document) = waiting.next() else { break };
                let Work::Generate(request) = &document.work else { continue };
                in_flight.push_back((document, engine.submit((**request).clone())?));
            }
            let Some((document, events)) = in_flight.pop_front() else { break };
            let (response, ending, tokens) = text_of(events)?;
            let answer = Answer::Text { response, finish: ending.to_owned(), tokens };
            finish(job::record(task, document, answer)?)?;
        }
        Ok(())
    }

    fn start_engine(&mut self) -> Result<()> {
        self.scorer = None;
        if self.engine.is_none() {
            self.engine = Some(NativeEngine::start(&self.checkpoint, self.options)?);
        }
        Ok(())
    }

    fn reply_tokens(&self, conversation: &Conversation) -> usize {
        self.max_tokens.unwrap_or(conversation.max_tokens)
    }

    /// Has conversations, many at a time, turn by turn.
    fn converse(
        &mut self,
        task: &Task,
        documents: &[&JobDocument<'_>],
        stop: &Stop,
        finish: &mut impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        self.start_engine()?;
        for batch in documents.chunks(BATCH) {
            let mut replies: Vec<Vec<String>> = vec![Vec::new(); batch.len()];
            let mut tokens = vec![0; batch.len()];
            loop {
                let turns =
                    batch.iter().zip(&replies).map(|(document, replies)| self.next_turn(document, replies));
                let in_flight = turns.collect::<Result<Vec<Option<Events>>>>()?;
                if in_flight.iter().all(Option::is_none) {
                    break;
                }
                // Conversations that are complete are recorded, also after a signal.
                if stop.is_requested() {
                    return Ok(());
                }
                for (index, events) in in_flight.into_iter().enumerate() {
                    let Some(events) = events else { continue };
                    let (reply, _, count) = text_of(events)?;
                    replies[index].push(reply);
                    tokens[index] += count;
                }
            }
            for ((document, responses), tokens) in batch.iter().zip(replies).zip(tokens) {
                let answer = Answer::Conversation {
                    responses,
                    tokens,
                    judge: None,
                    judge_key: None,
                    judgments: Vec::new(),
                };
                finish(job::record(task, document, answer)?)?;
            }
        }
        Ok(())
    }

    /// Asks for the next reply of a conversation; none if it has all.
    fn next_turn(&self, document: &JobDocument<'_>, replies: &[String]) -> Result<Option<Events>> {
        let (Work::Converse { seeds }, Question::Conversation(conversation)) =
            (&document.work, &document.document.document.question)
        else {
            return Ok(None);
        };
        let Some(seed) = seeds.get(replies.len()) else { return Ok(None) };
        let encoder = Encoder::new(&self.checkpoint);
        let prompt = document.document.prompts[0].continued(&conversation.turns, replies);
        let request = Request {
            prompt: encoder.ids(&encoder.text(&prompt, CONVERSATION)?)?,
            sampling: Sampling { temperature: conversation.temperature, seed: *seed, ..Sampling::default() },
            max_tokens: self.reply_tokens(conversation),
            stop_ids: self.checkpoint.stop_ids.clone(),
            deliver_at_end: true,
            ..Request::default()
        };
        let engine = self.engine.as_ref().context("the engine was started")?;
        Ok(Some(engine.submit(request)?))
    }
}

/// A reply, how it ended, and its tokens.
fn text_of(events: Events) -> Result<(String, &'static str, usize)> {
    let answer = events.collect_blocking();
    let ending = match answer.finish {
        Finish::Failed(reason) | Finish::ConstraintFailed(reason) => bail!("the engine failed: {reason}"),
        Finish::Length => "length",
        _ => "stop",
    };
    Ok((answer.text, ending, answer.ids.len()))
}

fn record_of_scores(
    task: &Task,
    document: &JobDocument<'_>,
    scores: Vec<ContinuationScore>,
) -> Result<Record> {
    let Work::Score(requests) = &document.work else { bail!("no log-likelihood was asked for") };
    let tokens = requests.iter().flat_map(|one| &one.continuations).map(Vec::len).sum();
    let (lls, is_greedy) = scores.into_iter().map(|score| (score.logprob, score.is_greedy)).unzip();
    job::record_of_scores(task, document, lls, is_greedy, tokens)
}

#[cfg(test)]
mod tests;
