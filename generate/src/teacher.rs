//! Who answers: a checkpoint in this process, or OpenAI-compatible endpoints.

mod batch;
mod endpoints;
mod http;
mod local;
#[cfg(test)]
mod tests;
mod trust;

use crate::endpoint::is_endpoint;
use crate::keys::Keys;
use crate::recipe::StepSampling;
use crate::run::Run;
use crate::store::{Key, Reply};
use anyhow::{Result, bail};
use engine::Constraint;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use smollm::{ChatTemplate, Message};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A teacher that is ready to answer.
#[allow(clippy::large_enum_variant, reason = "there are one to four of them")]
pub(crate) enum Teacher {
    Local(local::LocalTeacher),
    Http(http::HttpTeacher),
}

/// What a teacher is asked.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    pub(crate) prompt: Prompt,
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) max_tokens: usize,
    pub(crate) seed: u64,
    pub(crate) schema: Option<serde_json::Value>,
    pub(crate) regex: Option<String>,
}

/// What the teacher goes on from.
#[derive(Debug, Clone, Serialize)]
pub(crate) enum Prompt {
    /// A conversation; the teacher is the assistant.
    Assistant(Vec<Message>),
    /// A conversation; the teacher writes the user's next turn (Magpie).
    User(Vec<Message>),
}

impl fmt::Display for Prompt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (messages, next) = match self {
            Self::Assistant(messages) => (messages, None),
            Self::User(messages) => (messages, Some("[user]")),
        };
        let lines = messages.iter().map(|message| format!("[{}] {}", message.role, message.content));
        formatter.write_str(&lines.chain(next.map(str::to_owned)).collect::<Vec<_>>().join("\n"))
    }
}

/// A call of some row's step, and the run that pays for it.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) run: &'a Arc<Run>,
    pub(crate) key: &'a Key,
    pub(crate) step: &'a str,
    pub(crate) call: &'a Call,
}

/// How endpoints are used.
#[derive(Debug, Clone)]
pub(crate) struct Manners {
    pub(crate) keys: Keys,
    /// The most calls at a time, of each endpoint and model.
    pub(crate) in_flight: usize,
    /// How long one call may take.
    pub(crate) timeout: Duration,
    /// How long an endpoint may answer nothing of use before the run stops.
    pub(crate) patience: Duration,
    /// Where calls go as provider batches: seconds between two looks at one.
    pub(crate) batch_poll: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The prompt does not fit the teacher's context.
    TooLong(String),
    /// The teacher will not answer this call; an endpoint says so with a status.
    Rejected(Option<u16>, String),
    /// The same of an endpoint that has answered nothing yet: perhaps it is no verdict on this call.
    Doubted(String),
    /// It failed again and again; a later try may succeed.
    Failed(String),
    /// The run is stopping, or its budget is spent.
    Stopped,
    /// The teacher cannot be used at all; the run must stop.
    Gone(anyhow::Error),
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Gone(error)
    }
}

impl Call {
    /// A call with a step's sampling and no constraint.
    pub(crate) fn new(prompt: Prompt, sampling: StepSampling, seed: u64) -> Self {
        let StepSampling { temperature, top_p, max_tokens } = sampling;
        Self { prompt, temperature, top_p, max_tokens, seed, schema: None, regex: None }
    }

    fn constraint(&self) -> Option<Constraint> {
        let schema = self.schema.clone().map(Constraint::JsonSchema);
        schema.or_else(|| self.regex.clone().map(Constraint::Regex))
    }
}

impl Teacher {
    /// Opens `http://host:port/v1#model`, a checkpoint folder, or a hub id. Several endpoints of one model,
    /// with commas between them, share its calls.
    pub(crate) async fn open(name: &str, template: Option<&Path>, manners: &Manners) -> Result<Self> {
        if is_endpoint(name) {
            let template = match template {
                Some(file) => ChatTemplate::read(file, "", "")?,
                None => ChatTemplate::chatml(),
            };
            return Ok(Self::Http(http::HttpTeacher::connect(name, template, manners).await?));
        }
        if manners.batch_poll.is_some() {
            bail!("--batch is for endpoints; {name} answers in this process");
        }
        Ok(Self::Local(local::LocalTeacher::open(name, template)?))
    }

    /// Answers a call; the answer is recorded when it returns.
    pub(crate) async fn answer(&self, asking: Asking<'_>) -> Result<Reply, Refusal> {
        match self {
            Self::Local(teacher) => teacher.answer(asking).await,
            Self::Http(teacher) => teacher.answer(asking).await,
        }
    }

    /// What a call of the row at `position` is known by in the store: the row, so that what is recorded together
    /// lies together and a million answers are found as quickly as a thousand, and the SHA-256 of the content.
    pub(crate) fn key(&self, position: usize, call: &Call) -> Key {
        let content = json!({"teacher": self.identity(), "call": call});
        let (mut key, row) = (Key::default(), (position as u32).to_be_bytes());
        let (first, rest) = key.split_at_mut(row.len());
        first.copy_from_slice(&row);
        rest.copy_from_slice(&Sha256::digest(content.to_string().as_bytes())[..rest.len()]);
        key
    }

    /// Calls that may be on their way at a time.
    pub(crate) fn calls_at_a_time(&self, manners: &Manners) -> usize {
        match self {
            Self::Local(_) => manners.in_flight,
            Self::Http(teacher) => manners.in_flight * teacher.endpoints(),
        }
    }

    /// Rows that may be on their way at a time, so that no endpoint waits for work while rows wait for the disk.
    pub(crate) fn rows_in_flight(&self, manners: &Manners) -> usize {
        match self {
            Self::Local(_) => self.calls_at_a_time(manners),
            Self::Http(_) if manners.batch_poll.is_some() => batch::MOST_CALLS,
            Self::Http(_) => 2 * self.calls_at_a_time(manners),
        }
    }

    /// What "the same teacher" means in the store: the weights' hash, or the model's name wherever it is served.
    pub(crate) fn identity(&self) -> &str {
        match self {
            Self::Local(teacher) => &teacher.identity,
            Self::Http(teacher) => &teacher.model,
        }
    }

    /// Positions of the teacher's context, where they are known.
    pub(crate) fn context(&self) -> Option<usize> {
        match self {
            Self::Local(teacher) => Some(teacher.context()),
            Self::Http(_) => None,
        }
    }

    /// What the user should know, once.
    pub(crate) fn warnings(&self) -> &[String] {
        match self {
            Self::Local(teacher) => &teacher.warnings,
            Self::Http(_) => &[],
        }
    }
}
