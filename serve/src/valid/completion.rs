//! Body of `POST /v1/completions`.

use super::generation::Generation;
use super::prompts::{Prompt, prompts};
use super::unsupported;
use crate::error::ApiError;
use crate::fields::{Fields, integer, wrong};
use serde_json::{Value, json};

/// A checked completion request.
#[derive(Debug)]
pub(crate) struct CompletionRequest {
    pub(crate) model: String,
    pub(crate) prompts: Vec<Prompt>,
    /// Whether each answer begins with its prompt.
    pub(crate) echo: bool,
    pub(crate) generation: Generation,
}

/// OpenAI's default for raw completions.
const DEFAULT_MAX_TOKENS: usize = 16;
/// Maximum number of answers in one request, over all prompts.
const MAX_ANSWERS: usize = 4096;

impl CompletionRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.text("model")?.unwrap_or_default();
        let prompts = prompts("prompt", fields.need("prompt")?)?;
        let mut generation = Generation::take(&mut fields)?;
        if prompts.len() * generation.n > MAX_ANSWERS {
            let message = format!(
                "`n` asks for {} answers to each of {} prompts; expected at most {MAX_ANSWERS} answers in one request",
                generation.n,
                prompts.len()
            );
            return Err(ApiError::invalid("n", message));
        }
        let echo = fields.boolean("echo")?.unwrap_or(false);
        let max_tokens = fields.integer("max_tokens", 0..=usize::MAX)?.unwrap_or(DEFAULT_MAX_TOKENS);
        if max_tokens == 0 && !echo {
            return Err(wrong("max_tokens", &json!(0), "at least 1, or `echo: true` to score the prompt"));
        }
        generation.max_tokens = Some(max_tokens);
        generation.logprobs = logprobs(&mut fields)?;
        generation.take_prompt_logprobs(&mut fields)?;
        if generation.prompt_logprobs.is_some() && generation.logprobs.is_some() && echo {
            let message = "`prompt_logprobs` and `logprobs` with `echo` both score the prompt; send one";
            return Err(ApiError::invalid("prompt_logprobs", message));
        }
        generation.returns_ids = fields.boolean("return_token_ids")?.unwrap_or(false);
        best_of(&mut fields, generation.n)?;
        fields.neutral("suffix", &[json!("")], "these models were not trained to fill in the middle")?;
        fields.neutral("add_special_tokens", &[json!(true)], "send token ids to choose every token")?;
        unsupported::take(&mut fields)?;
        unsupported::take_engine_defaults(&mut fields)?;
        fields.neutral("reasoning_effort", &[json!("none")], "a raw prompt has no template")?;
        fields.neutral("chat_template_kwargs", &[json!({})], "a raw prompt has no template")?;
        fields.finish(lenient)?;
        Ok(Self { model, prompts, echo, generation })
    }
}

fn best_of(fields: &mut Fields, n: usize) -> Result<(), ApiError> {
    match fields.integer("best_of", 1..=128)? {
        Some(best_of) if best_of != n => {
            let message = format!(
                "`best_of` is {best_of} and `n` is {n}; answers are not ranked, so `best_of` must equal `n`; remove it"
            );
            Err(ApiError::invalid("best_of", message).with_code("unsupported_parameter"))
        }
        _ => Ok(()),
    }
}

/// `false` means no log-probabilities: clients that know only chat completions send it.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    match fields.take("logprobs") {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(value) => {
            let top = integer(&value).filter(|top| *top <= 20);
            top.map(Some).ok_or_else(|| wrong("logprobs", &value, "an integer from 0 to 20"))
        }
    }
}
