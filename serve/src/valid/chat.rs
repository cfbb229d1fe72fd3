//! Body of `POST /v1/chat/completions`.

use super::conversation::{PromptEnd, prompt_end, tools};
use super::generation::Generation;
use super::messages::messages;
use super::unsupported;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::tools::ToolPlan;
use checkpoint::Message;

/// A checked chat request.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Option<ToolPlan>,
    pub(crate) end: PromptEnd,
    pub(crate) generation: Generation,
}

impl ChatRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.need_text("model")?;
        let messages = messages(&mut fields, lenient)?;
        let mut generation = Generation::take(&mut fields)?;
        generation.max_tokens = max_tokens(&mut fields)?;
        generation.logprobs = logprobs(&mut fields)?;
        let tools = tools(&mut fields, lenient)?;
        generation.constrain_to_tools(tools.as_ref())?;
        let end = prompt_end(&mut fields, &messages)?;
        unsupported::take(&mut fields)?;
        fields.finish(lenient)?;
        Ok(Self { model, messages, tools, end, generation })
    }
}

fn max_tokens(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let newer = fields.integer("max_completion_tokens", 1..=usize::MAX)?;
    let older = fields.integer("max_tokens", 1..=usize::MAX)?;
    match (newer, older) {
        (Some(newer), Some(older)) if newer != older => Err(ApiError::invalid(
            "max_tokens",
            format!("`max_tokens` is {older} and `max_completion_tokens` is {newer}; send one"),
        )),
        _ => Ok(newer.or(older)),
    }
}

fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    let has_logprobs = fields.boolean("logprobs")?.unwrap_or(false);
    match (has_logprobs, fields.integer("top_logprobs", 0..=20)?) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            Err(ApiError::invalid("top_logprobs", "`top_logprobs` requires `logprobs: true`"))
        }
    }
}
