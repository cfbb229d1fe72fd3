//! The judge of conversations: another model, at an OpenAI-compatible endpoint. It is asked once all replies are stored, so
//! that a judge that fails loses none; its texts are stored, too, and can be read again without it.

use super::http::{Client, concurrently};
use super::job::Job;
use super::options::Options;
use super::record::{Answer, Record};
use super::store::Store;
use crate::task::JudgeRequest;
use anyhow::{Context, Result, bail};
use openai::chat::ChatRequest;
use openai::message::{Content, Message};
use openai::reply::{CompletionReply, ReplyEnd, ReplyFault};
use openai::request::Sampling;
use terminal::{Progress, Stop};

/// Maximum length of a judgment, in tokens.
const MAX_TOKENS: u64 = 2048;

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
        let name = self.name();
        let is_waiting = |record: &&Record| match &record.answer {
            Answer::Conversation { judge, .. } => judge.as_deref() != Some(&name),
            _ => false,
        };
        let records = job.documents.iter().filter_map(|document| store.get(&document.key));
        let waiting: Vec<Record> = records.filter(is_waiting).cloned().collect();
        let progress =
            Progress::new(format!("{}: judgments", job.task.name), "documents", Some(waiting.len() as u64));
        let judged = |record: &Record| self.judged(job, record, &name);
        concurrently(&waiting, stop, judged, |record| {
            store.append(record)?;
            progress.advance(1);
            Ok(())
        })?;
        progress.finish();
        Ok(())
    }

    fn judged(&self, job: &Job<'_>, record: &Record, name: &str) -> Result<Record> {
        let mut record = record.clone();
        let judged = job.task.judged.as_ref().context("the task has no judge")?;
        if let Answer::Conversation { responses, judge, judgments, .. } = &mut record.answer {
            let texts = (0..responses.len()).map(|turn| {
                let request = (judged.request)(&record.gold, job.judge_prompts, responses, turn)?;
                self.ask(&request, MAX_TOKENS)
            });
            *judgments = texts.collect::<Result<_>>()?;
            *judge = Some(name.to_owned());
        }
        record.score(job.task)?;
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
