//! Who answers: a checkpoint in this process, or an OpenAI-compatible endpoint.

mod http;
mod local;

use crate::recipe::StepSampling;
use crate::store::Reply;
use anyhow::Result;
use engine::Constraint;
use serde::Serialize;
use smollm::{ChatTemplate, Message};
use std::path::Path;

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

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The prompt does not fit the teacher's context.
    TooLong(String),
    /// The teacher will not answer this call.
    Rejected(String),
    /// The teacher cannot be used at all; the run must stop.
    Gone(anyhow::Error),
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
    /// Opens `http://host:port/v1#model`, a checkpoint folder, or a hub id.
    pub(crate) async fn open(
        name: &str,
        template: Option<&Path>,
        key_variable: Option<&str>,
    ) -> Result<Self> {
        if name.starts_with("http://") || name.starts_with("https://") {
            let template = match template {
                Some(file) => ChatTemplate::read(file, "", "")?,
                None => ChatTemplate::chatml(),
            };
            return Ok(Self::Http(http::HttpTeacher::connect(name, template, key_variable).await?));
        }
        Ok(Self::Local(local::LocalTeacher::open(name, template)?))
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, call: &Call) -> Result<Reply, Refusal> {
        match self {
            Self::Local(teacher) => teacher.answer(call).await,
            Self::Http(teacher) => teacher.answer(call).await,
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
