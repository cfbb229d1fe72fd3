//! The judge of conversations: another model, at an OpenAI-compatible endpoint. It is asked once all replies are stored, so
//! that a judge that fails loses none; its texts are stored, too, and can be read again without it.

use super::http::{Client, concurrently};
use super::job::{Job, JobDocument};
use super::options::Options;
use super::record::{Answer, Record};
use super::store::Store;
use crate::task::{JudgeRequest, Question, Task};
use anyhow::{Context, Result, bail};
use files::hash::sha256;
use openai::chat::ChatRequest;
use openai::message::{Content, Message};
use openai::reply::{CompletionReply, ReplyEnd, ReplyFault};
use openai::request::Sampling;
use serde_json::json;
use terminal::{Progress, Stop};

/// Maximum length of a judgment, in tokens.
const MAX_TOKENS: u64 = 2048;

/// Replies that are to be judged.
struct Waiting {
    record: Record,
    /// One for each reply.
    requests: Vec<JudgeRequest>,
    /// SHA-256 of the judge and of what it is asked.
    key: String,
}

/// A judge.
pub(super) struct Judge {
    client: Client,
    model: String,
}

impl Judge {
    /// Asks the judge one short question, so that one that does not answer is noticed before the first token.
    ///
    /// # Errors
    /// When an option is missing or the judge does not answer.
    pub(super) fn open(task: &str, options: &Options) -> Result<Self> {
        let url = options.judge.as_deref();
        let url = url.with_context(|| {
            format!("task `{task}` needs a judge; give `--judge URL` and `--judge-model NAME` of an OpenAI-compatible endpoint")
        })?;
        let model = options.judge_model.clone();
        let model =
            model.with_context(|| format!("{url} serves models by name; give `--judge-model NAME`"))?;
        let judge = Self { client: Client::new(url, &["JUDGE_API_KEY", "OPENAI_API_KEY"])?, model };
        let question = JudgeRequest { system: String::new(), prompt: "Reply with one word.".to_owned() };
        judge.ask(&question, 8).context("the judge")?;
        Ok(judge)
    }

    /// Who judges, in results.
    fn name(&self) -> String {
        format!("{} {}", self.client.url(), self.model)
    }

    /// Has all replies of a task judged that this judge has not judged yet.
    ///
    /// # Errors
    /// When the judge does not answer, or a line cannot be written; what is judged is stored.
    pub(super) fn judge(&self, job: &Job<'_>, store: &mut Store, stop: &Stop) -> Result<()> {
        let mut waiting = Vec::new();
        for document in &job.documents {
            let Some(record) = store.get(&document.key) else { continue };
            waiting.extend(self.waiting(job, document, record)?);
        }
        let progress =
            Progress::new(format!("{}: judgments", job.task.name), "documents", Some(waiting.len() as u64));
        let judged = |one: &Waiting| self.judged(job.task, one);
        concurrently(&waiting, stop, judged, |record| {
            store.append(record)?;
            progress.advance(1);
            Ok(())
        })?;
        progress.finish();
        Ok(())
    }

    /// What this judge is still to be asked about a document; `None` if its judgments are of these very questions.
    fn waiting(&self, job: &Job<'_>, document: &JobDocument<'_>, record: &Record) -> Result<Option<Waiting>> {
        let judged = job.task.judged.as_ref().context("the task has no judge")?;
        let (Answer::Conversation { responses, judge_key, .. }, Question::Conversation(conversation)) =
            (&record.answer, &document.document.document.question)
        else {
            return Ok(None);
        };
        // The stored record may have been made with other reference answers.
        let record = Record { gold: conversation.gold.clone(), ..record.clone() };
        let request = |turn| (judged.request)(&record.gold, job.judge_prompts, responses, turn);
        let requests = (0..responses.len()).map(request).collect::<Result<Vec<_>>>()?;
        let texts: Vec<_> = requests.iter().map(|one| [&one.system, &one.prompt]).collect();
        let key = sha256(json!([self.name(), MAX_TOKENS, texts]).to_string());
        let is_judged = judge_key.as_ref() == Some(&key);
        Ok((!is_judged).then_some(Waiting { record, requests, key }))
    }

    fn judged(&self, task: &Task, waiting: &Waiting) -> Result<Record> {
        let mut record = waiting.record.clone();
        if let Answer::Conversation { judge, judge_key, judgments, .. } = &mut record.answer {
            let texts = waiting.requests.iter().map(|request| self.ask(request, MAX_TOKENS));
            *judgments = texts.collect::<Result<_>>()?;
            *judge = Some(self.name());
            *judge_key = Some(waiting.key.clone());
        }
        record.score(task)?;
        Ok(record)
    }

    fn ask(&self, request: &JudgeRequest, max_tokens: u64) -> Result<String> {
        let message = |role: &str, text: &str| Message {
            role: role.to_owned(),
            content: Some(Content::Text(text.to_owned())),
            ..Message::default()
        };
        let mut messages = vec![message("user", &request.prompt)];
        if !request.system.is_empty() {
            messages.insert(0, message("system", &request.system));
        }
        let body = ChatRequest {
            model: self.model.clone(),
            messages,
            sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
            max_tokens: Some(max_tokens),
            ..ChatRequest::default()
        };
        match CompletionReply::read(&self.client.post("chat/completions", &body)?) {
            Ok(reply) => match reply.end {
                ReplyEnd::Error(word) | ReplyEnd::Unknown(word) => {
                    bail!("{} ended its answer with `{word}`", self.client.url())
                }
                _ => Ok(reply.text),
            },
            Err(ReplyFault::Error(error)) => bail!("{} reports: {}", self.client.url(), error.message),
            Err(ReplyFault::NoAnswer(reason)) => bail!("{}: {reason}", self.client.url()),
        }
    }
}
