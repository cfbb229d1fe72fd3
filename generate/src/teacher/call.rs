//! A call of a teacher: what is asked, for whom, and why there may be no answer.

use crate::recipe::Sampling;
use crate::run::Run;
use crate::store::CallKey;
use checkpoint::Message;
use engine::Constraint;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// What a teacher is asked. Its JSON identifies the call in the store, so names of fields cannot change.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Call {
    pub(crate) prompt: Prompt,
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) max_tokens: usize,
    pub(crate) seed: u64,
    pub(crate) schema: Option<serde_json::Value>,
    pub(crate) regex: Option<String>,
    /// How many of the likeliest tokens come with each token of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) top_logprobs: Option<u8>,
}

/// What the teacher continues.
#[derive(Debug, Clone, Serialize)]
pub(crate) enum Prompt {
    /// A conversation; the teacher is the assistant.
    Assistant(Vec<Message>),
    /// A conversation; the teacher writes the user's next turn (Magpie).
    User(Vec<Message>),
}

/// A call, the step of a row that makes it, and the run that pays for it.
#[derive(Clone, Copy)]
pub(crate) struct CallContext<'a> {
    pub(crate) run: &'a Arc<Run>,
    pub(crate) key: &'a CallKey,
    pub(crate) step: &'a str,
    pub(crate) call: &'a Call,
    /// What was wrong with the answer to the attempt before, for a teacher that can be told. It follows from that answer
    /// and is no part of the call's key.
    pub(crate) correction: Option<&'a Correction>,
}

/// An answer that could not be used.
#[derive(Debug, Clone)]
pub(crate) struct Correction {
    pub(crate) answer: String,
    pub(crate) error: String,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The prompt does not fit the teacher's context.
    TooLong(String),
    /// The teacher does not answer this call; an endpoint reports that with a status.
    Rejected(Option<u16>, String),
    /// A rejection by an endpoint that has answered nothing yet: the fault may be the teacher's, not the call's.
    RejectedEarly(String),
    /// All attempts failed; a later run may succeed.
    Failed(String),
    /// The run is stopping, or its budget is exhausted.
    Stopped,
    /// The teacher cannot be used; the run must stop.
    Unusable(anyhow::Error),
}

impl From<anyhow::Error> for CallError {
    fn from(error: anyhow::Error) -> Self {
        Self::Unusable(error)
    }
}

impl Call {
    /// A call with a step's sampling and without a constraint.
    pub(crate) fn new(prompt: Prompt, sampling: Sampling, seed: u64) -> Self {
        let Sampling { temperature, top_p, max_tokens } = sampling;
        Self { prompt, temperature, top_p, max_tokens, seed, schema: None, regex: None, top_logprobs: None }
    }

    /// The constraint of the answer.
    pub(super) fn constraint(&self) -> Option<Constraint> {
        let schema = self.schema.clone().map(Constraint::JsonSchema);
        schema.or_else(|| self.regex.clone().map(Constraint::Regex))
    }
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
