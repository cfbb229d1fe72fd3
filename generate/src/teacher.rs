//! The teacher of a run: a checkpoint in this process, or OpenAI-compatible endpoints.

mod adjustments;
mod attempts;
mod batch;
mod call;
mod endpoint_settings;
mod endpoints;
mod http;
mod local;
mod rejection_policy;
mod reply;
mod request;
mod request_settings;
#[cfg(test)]
mod tests;
mod worst_case;

pub(crate) use call::{Call, CallContext, CallError, Correction, Prompt};
pub(crate) use endpoint_settings::{EndpointSettings, Rates, UserTurns};
pub(crate) use request::USER_STOPS;
pub(crate) use request_settings::{RequestOptions, RequestSettings, Role};

use crate::endpoint::{is_endpoint, scheme_hint};
use crate::store::{CallKey, Reply};
use anyhow::{Result, bail};
use batch::MAX_CALLS;
use checkpoint::ChatTemplate;
use http::HttpTeacher;
use local::LocalTeacher;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::Path;

/// A teacher that is ready to answer.
#[allow(clippy::large_enum_variant, reason = "there are one to four of them")]
pub(crate) enum Teacher {
    Local(LocalTeacher),
    Http(HttpTeacher),
}

impl Teacher {
    /// Opens `http://host:port/v1#model`, a checkpoint folder, or a Hugging Face id. Several endpoints of one model, with
    /// commas between them, share its calls.
    pub(crate) async fn open(
        name: &str,
        template: Option<&Path>,
        settings: &EndpointSettings,
    ) -> Result<Self> {
        if is_endpoint(name) {
            let template = match template {
                Some(file) => ChatTemplate::read(file, "", "")?,
                None => ChatTemplate::chatml(),
            };
            return Ok(Self::Http(HttpTeacher::connect(name, template, settings).await?));
        }
        if let Some(hint) = scheme_hint(name) {
            bail!("{hint}");
        }
        if settings.batch_poll.is_some() {
            bail!("`--batch` requires an endpoint, and teacher {name} is a checkpoint; remove `--batch`");
        }
        if settings.request.concerns_endpoint() {
            bail!(
                "`--request`, `--extra-body`, `--header` and `--query` change requests to an endpoint, and teacher {name} is a \
                 checkpoint; remove them"
            );
        }
        Ok(Self::Local(LocalTeacher::open(name, template, settings.request.max_tokens)?))
    }

    /// Answers a call; the answer is recorded when this returns.
    pub(crate) async fn answer(&self, context: CallContext<'_>) -> Result<Reply, CallError> {
        match self {
            Self::Local(teacher) => teacher.answer(context).await,
            Self::Http(teacher) => teacher.answer(context).await,
        }
    }

    /// The store's key of a call of the row at `position`: the row's number, so that answers which are recorded together
    /// are stored together and a million of them are found as fast as a thousand, and the SHA-256 of the content.
    pub(crate) fn key(&self, position: usize, call: &Call) -> CallKey {
        let content = json!({"teacher": self.identity(), "call": call});
        let (mut key, row) = (CallKey::default(), (position as u32).to_be_bytes());
        let (first, rest) = key.split_at_mut(row.len());
        first.copy_from_slice(&row);
        rest.copy_from_slice(&Sha256::digest(content.to_string().as_bytes())[..rest.len()]);
        key
    }

    /// Maximum number of tokens of every answer, where the user gave it.
    pub(crate) fn max_tokens(&self) -> Option<usize> {
        match self {
            Self::Local(teacher) => teacher.max_tokens,
            Self::Http(teacher) => teacher.settings().request.max_tokens,
        }
    }

    /// The answer to a step could be used.
    pub(crate) fn useful(&self, step: &str) {
        if let Self::Http(teacher) = self {
            teacher.policy().useful(step);
        }
    }

    /// The answer to a step was of no use, for this reason, which `remedy` may help.
    ///
    /// # Errors
    /// When an endpoint's last answers to the step were all of no use for this reason. A checkpoint may be as weak as it is.
    pub(crate) fn useless(&self, step: &str, reason: &str, remedy: &str) -> Result<()> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Http(teacher) => teacher.policy().useless(step, &teacher.model, reason, remedy),
        }
    }

    /// Maximum number of concurrent calls.
    pub(crate) fn calls_at_a_time(&self, settings: &EndpointSettings) -> usize {
        match self {
            Self::Local(_) => settings.in_flight,
            Self::Http(teacher) => settings.in_flight * teacher.endpoints(),
        }
    }

    /// Maximum number of concurrent rows; more than calls, so that no endpoint is idle while rows wait for the disk.
    pub(crate) fn rows_in_flight(&self, settings: &EndpointSettings) -> usize {
        match self {
            Self::Local(_) => self.calls_at_a_time(settings),
            Self::Http(_) if settings.batch_poll.is_some() => MAX_CALLS,
            Self::Http(_) => 2 * self.calls_at_a_time(settings),
        }
    }

    /// Identifies the teacher in the store: the weights' hash, or the model's name at all endpoints.
    pub(crate) fn identity(&self) -> &str {
        match self {
            Self::Local(teacher) => &teacher.identity,
            Self::Http(teacher) => &teacher.model,
        }
    }

    /// Number of positions of the teacher's context, where it is known.
    pub(crate) fn context(&self) -> Option<usize> {
        match self {
            Self::Local(teacher) => Some(teacher.context()),
            Self::Http(_) => None,
        }
    }

    /// Number of tokens of a text, where they can be counted.
    pub(crate) fn tokens(&self, text: &str) -> Option<usize> {
        match self {
            Self::Local(teacher) => teacher.tokens(text),
            Self::Http(_) => None,
        }
    }

    /// Whether user's turns are asked for with a template that nobody gave.
    pub(crate) fn guesses_template(&self, is_given: bool) -> bool {
        match self {
            Self::Local(_) => false,
            Self::Http(teacher) => teacher.guesses_template(is_given),
        }
    }

    /// What may be wrong with the teacher, to be printed once.
    pub(crate) fn warnings(&self) -> &[String] {
        match self {
            Self::Local(teacher) => &teacher.warnings,
            Self::Http(_) => &[],
        }
    }
}
