//! Body of `POST /v1/chat/completions`.

use super::conversation::Conversation;
use super::generation::Generation;
use super::unsupported;
use crate::error::ApiError;
use crate::fields::Fields;
use serde_json::json;

/// A checked chat request.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    /// Empty for the first model.
    pub(crate) model: String,
    pub(crate) conversation: Conversation,
    pub(crate) generation: Generation,
    /// The parameter that limits the number of tokens.
    pub(crate) limit_name: &'static str,
    /// Whether reasoning is separated from the content.
    pub(crate) splits_reasoning: bool,
}

impl ChatRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.text("model")?.unwrap_or_default();
        let mut conversation = Conversation::take(&mut fields, lenient)?;
        if let Some(effort) = fields.text("reasoning_effort")? {
            conversation.set_effort("reasoning_effort".to_owned(), &effort)?;
        }
        let mut generation = Generation::take(&mut fields)?;
        let limit_name;
        (limit_name, generation.max_tokens) = max_tokens(&mut fields)?;
        generation.logprobs = logprobs(&mut fields)?;
        generation.take_prompt_logprobs(&mut fields)?;
        generation.returns_ids = fields.boolean("return_token_ids")?.unwrap_or(false);
        generation.constrain_to_tools(conversation.tools.as_ref())?;
        let splits_reasoning = splits_reasoning(&mut fields)?;
        unsupported::take(&mut fields)?;
        unsupported::take_engine_defaults(&mut fields)?;
        fields.neutral("echo", &[json!(false)], "send `/v1/completions` a raw prompt to have it repeated")?;
        fields.neutral("add_special_tokens", &[json!(false)], "the template prints the special tokens")?;
        fields.finish(lenient)?;
        Ok(Self { model, conversation, generation, limit_name, splits_reasoning })
    }
}

/// Takes the limit of tokens, and the name it was given by; -1 is none, as llama.cpp's clients write it.
fn max_tokens(fields: &mut Fields) -> Result<(&'static str, Option<usize>), ApiError> {
    let mut limit = |name: &'static str| {
        if fields.get(name).is_some_and(|value| *value == -1) {
            fields.take(name);
        }
        fields.integer(name, 1..=usize::MAX)
    };
    let (newer, older) = (limit("max_completion_tokens")?, limit("max_tokens")?);
    match (newer, older) {
        (Some(newer), Some(older)) if newer != older => Err(ApiError::invalid(
            "max_tokens",
            format!("`max_tokens` is {older} and `max_completion_tokens` is {newer}; send one"),
        )),
        (Some(_), _) => Ok(("max_completion_tokens", newer)),
        _ => Ok(("max_tokens", older)),
    }
}

/// Takes llama.cpp's `reasoning_format` and vLLM's `include_reasoning`.
fn splits_reasoning(fields: &mut Fields) -> Result<bool, ApiError> {
    let include = [json!(true)];
    fields.neutral(
        "include_reasoning",
        &include,
        "reasoning is never left out; ignore `reasoning_content`",
    )?;
    match fields.text("reasoning_format")?.as_deref() {
        None | Some("auto" | "deepseek") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => {
            let expected = "`auto`, `deepseek` or `none`";
            Err(crate::fields::wrong("reasoning_format", &other.into(), expected))
        }
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
