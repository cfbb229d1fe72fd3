//! Asking an OpenAI-compatible endpoint: `/completions` with echoed log-probabilities, `/chat/completions` for replies in
//! a chat.

use super::http::{Client, concurrently};
use super::job::{self, EncodedDocument, Job, JobDocument, Work};
use super::options::Options;
use super::prepare::{PreparedDocument, PreparedTask};
use super::record::{Answer, Record};
use crate::task::python::strip_end;
use crate::task::{Dialect, Question, Task};
use anyhow::{Context, Result, bail, ensure};
use files::hash::sha256;
use serde_json::{Value, json};
use std::time::Instant;
use terminal::Stop;

/// An endpoint that is evaluated.
pub(super) struct EndpointModel {
    client: Client,
    model: String,
    chat: bool,
    examples_as_turns: bool,
    max_tokens: Option<usize>,
}

impl EndpointModel {
    /// Checks what can be checked without a request.
    ///
    /// # Errors
    /// When the name of the model is not given.
    pub(super) fn open(url: &str, options: &Options) -> Result<Self> {
        let model = options.endpoint_model.clone();
        Ok(Self {
            client: Client::new(url, &["OPENAI_API_KEY"])?,
            model: model
                .with_context(|| format!("{url} serves models by name; give `--endpoint-model NAME`"))?,
            chat: options.chat_template,
            examples_as_turns: !options.one_message,
            max_tokens: options.max_reply_tokens,
        })
    }

    pub(super) fn description(&self) -> Value {
        json!({ "endpoint": self.client.url(), "model": self.model, "chat_template": self.chat })
    }

    /// What is sent for each document of a task.
    ///
    /// # Errors
    /// When the endpoint cannot answer the task, which one request finds out.
    pub(super) fn job<'a>(&self, prepared: &'a PreparedTask) -> Result<Job<'a>> {
        let start = Instant::now();
        let documents = prepared.documents.iter().map(|document| self.prepare(&prepared.task, document));
        let documents: Vec<EncodedDocument<'a>> = documents.collect::<Result<_>>()?;
        if let Some(Work::ScoreText(pairs)) = documents.first().map(|one| &one.document.work) {
            let (context, continuation) = &pairs[0];
            self.loglikelihood(context, continuation)
                .with_context(|| format!("task `{}` needs log-probabilities", prepared.task.name))?;
        }
        Ok(Job::new(prepared, documents, start))
    }

    fn prepare<'a>(&self, task: &Task, prepared: &'a PreparedDocument) -> Result<EncodedDocument<'a>> {
        let texts: Vec<String> = prepared.prompts.iter().map(|prompt| prompt.text()).collect();
        let delimiter = task.target_delimiter;
        let pair = |text: &String, rest: &str| (text.clone(), format!("{delimiter}{rest}"));
        let work = match &prepared.document.question {
            Question::Text(generation) => {
                let unused = task.dialect == Dialect::SmolLm2 && self.chat;
                let stops = if unused { Vec::new() } else { generation.stops.clone() };
                let max_tokens = self.max_tokens.unwrap_or(generation.max_tokens);
                let mut body = json!({ "model": self.model, "temperature": 0, "max_tokens": max_tokens });
                if !stops.is_empty() {
                    // OpenAI takes four; the others are cut here.
                    body["stop"] = json!(stops[..stops.len().min(4)]);
                }
                let prompt = &prepared.prompts[0];
                match self.chat {
                    false => body["prompt"] = json!(texts[0]),
                    true => {
                        ensure!(
                            prompt.reply_start().is_none(),
                            "task `{}` begins the reply, which a chat endpoint cannot; remove `--chat-template`",
                            task.name
                        );
                        let messages = prompt.messages(self.examples_as_turns).into_iter();
                        let message = |(role, content)| json!({ "role": role, "content": content });
                        body["messages"] = messages.map(message).collect();
                    }
                }
                Work::GenerateText { body, stops }
            }
            Question::Conversation(conversation) => {
                ensure!(self.chat, "task `{}` is a conversation; give `--chat-template`", task.name);
                Work::Converse { seeds: job::seeds(task, prepared.doc_id, conversation.turns.len()) }
            }
            _ if self.chat => bail!(
                "task `{}` compares log-likelihoods, which no chat endpoint gives; remove `--chat-template`",
                task.name
            ),
            Question::Choices { choices, .. } => {
                Work::ScoreText(choices.iter().map(|choice| pair(&texts[0], choice)).collect())
            }
            Question::Contexts { continuation, .. } => {
                Work::ScoreText(texts.iter().map(|text| pair(text, continuation)).collect())
            }
            Question::Likelihood => Work::ScoreText(vec![(String::new(), texts[0].clone())]),
        };
        let decoding = match &work {
            Work::GenerateText { body, stops } => json!([body, stops]),
            Work::Converse { seeds } => json!([seeds, self.max_tokens]),
            _ => Value::Null,
        };
        let identity = format!("{} {}", self.client.url(), self.model);
        let form = if self.chat { "chat" } else { "plain" };
        let key = job::key(&sha256(identity), task, form, &texts, prepared, &decoding);
        let text = texts.into_iter().next().unwrap_or_default();
        let document = JobDocument { document: prepared, key, work };
        Ok(EncodedDocument { text, ids: Vec::new(), merged: 0, document })
    }

    /// Answers the documents with these indices, several at a time.
    ///
    /// # Errors
    /// The first error of the endpoint that remains after several attempts.
    pub(super) fn score(
        &self,
        job: &Job<'_>,
        missing: &[usize],
        stop: &Stop,
        finish: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let answer = |index: &usize| self.answer(job.task, &job.documents[*index]);
        concurrently(missing, stop, answer, finish)
    }

    fn answer(&self, task: &Task, document: &JobDocument<'_>) -> Result<Record> {
        match &document.work {
            Work::ScoreText(pairs) => {
                let (mut lls, mut is_greedy, mut tokens) = (Vec::new(), Vec::new(), 0);
                for (context, continuation) in pairs {
                    let scored = self.loglikelihood(context, continuation)?;
                    lls.push(scored.0);
                    is_greedy.push(scored.1);
                    tokens += scored.2;
                }
                job::record_of_scores(task, document, lls, is_greedy, tokens)
            }
            Work::GenerateText { body, stops } => {
                let path = if self.chat { "chat/completions" } else { "completions" };
                let reply = self.client.post(path, body)?;
                let choice = &reply["choices"][0];
                let text = if self.chat { &choice["message"]["content"] } else { &choice["text"] };
                let text = text
                    .as_str()
                    .with_context(|| format!("{} returned no text: {reply}", self.client.url()))?;
                let end =
                    stops.iter().filter_map(|stop| text.find(stop.as_str())).min().unwrap_or(text.len());
                let finish = choice["finish_reason"].as_str().unwrap_or("stop").to_owned();
                let tokens = reply["usage"]["completion_tokens"].as_u64().unwrap_or(0) as usize;
                job::record(task, document, Answer::Text { response: text[..end].to_owned(), finish, tokens })
            }
            Work::Converse { seeds } => job::record(task, document, self.converse(document, seeds)?),
            _ => bail!("this document was prepared for a checkpoint"),
        }
    }

    /// Has a conversation, turn by turn.
    fn converse(&self, document: &JobDocument<'_>, seeds: &[u64]) -> Result<Answer> {
        let Question::Conversation(conversation) = &document.document.document.question else {
            bail!("this document is no conversation");
        };
        let (mut responses, mut tokens) = (Vec::new(), 0);
        for seed in seeds {
            let prompt = document.document.prompts[0].continued(&conversation.turns, &responses);
            let message = |(role, content): (&str, String)| json!({"role": role, "content": content});
            let messages: Vec<Value> = prompt.messages(true).into_iter().map(message).collect();
            let body = json!({
                "model": self.model, "messages": messages, "temperature": conversation.temperature,
                // Servers may accept seeds of 31 bits only.
                "seed": seed >> 33, "max_tokens": self.max_tokens.unwrap_or(conversation.max_tokens),
            });
            let reply = self.client.post("chat/completions", &body)?;
            let text = reply["choices"][0]["message"]["content"].as_str();
            let text = text.with_context(|| format!("{} returned no text: {reply}", self.client.url()))?;
            responses.push(text.to_owned());
            tokens += reply["usage"]["completion_tokens"].as_u64().unwrap_or(0) as usize;
        }
        Ok(Answer::Conversation { responses, tokens, judge: None, judge_key: None, judgments: Vec::new() })
    }

    /// The log-likelihood of a continuation, whether it is greedy, and its number of tokens.
    fn loglikelihood(&self, context: &str, continuation: &str) -> Result<(f64, bool, usize)> {
        let body = json!({
            "model": self.model, "prompt": format!("{context}{continuation}"), "echo": true, "logprobs": 1,
            "max_tokens": 1, "temperature": 0,
        });
        let reply = self.client.post("completions", &body)?;
        let logprobs = &reply["choices"][0]["logprobs"];
        let list = |name: &str| {
            let missing = || {
                format!(
                    "{} returned no `{name}` of the prompt; log-likelihoods need `/completions` with `echo` and \
                     `logprobs`",
                    self.client.url()
                )
            };
            logprobs[name].as_array().filter(|list| list.len() > 1).with_context(missing)
        };
        let (offsets, values, tokens) = (list("text_offset")?, list("token_logprobs")?, list("tokens")?);
        // White space at the context's end belongs to the continuation; the last token is generated.
        let start = strip_end(context).chars().count() as u64;
        let end = start + continuation.chars().count() as u64 + (context.chars().count() as u64 - start);
        let (mut sum, mut is_greedy, mut count) = (0.0, true, 0);
        for (index, offset) in offsets.iter().enumerate() {
            let offset = offset.as_u64().unwrap_or(u64::MAX);
            // The first token of a text has no log-probability.
            let Some(value) = values[index].as_f64().filter(|_| (start..end).contains(&offset)) else {
                continue;
            };
            sum += value;
            count += 1;
            let best = logprobs["top_logprobs"][index].as_object().into_iter().flatten();
            let highest = best.filter_map(|(token, value)| Some((token, value.as_f64()?)));
            let highest =
                highest.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(token, _)| token.as_str());
            is_greedy &= highest.is_none() || highest == tokens[index].as_str();
        }
        ensure!(count > 0, "{} returned no log-probability of {continuation:?}", self.client.url());
        Ok((sum, is_greedy, count))
    }
}
