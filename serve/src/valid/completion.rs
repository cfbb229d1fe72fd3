//! Body of `POST /v1/completions`, and prompts as it and the embeddings endpoint spell them.

use super::chat::settle;
use super::fields::{Fields, whole, wrong};
use super::generation::Generation;
use crate::error::ApiError;
use serde_json::{Value, json};

/// A completion request, checked.
#[derive(Debug)]
pub(crate) struct CompletionRequest {
    pub(crate) model: String,
    pub(crate) prompts: Vec<Prompt>,
    /// Whether the answer begins with the prompt.
    pub(crate) echo: bool,
    pub(crate) generation: Generation,
}

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// To be tokenized as the tokenizer does it, its own special tokens added.
    Text(String),
    /// Taken as they are.
    Ids(Vec<u32>),
}

/// OpenAI's default for raw completions.
const DEFAULT_MAX_TOKENS: usize = 16;
/// The most prompts in one request.
const MOST_PROMPTS: usize = 2048;
/// The most answers in one request, over all prompts.
const MOST_ANSWERS: usize = 4096;

impl CompletionRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.need_text("model")?;
        let prompts = prompts("prompt", fields.need("prompt")?)?;
        let mut generation = Generation::take(&mut fields)?;
        if prompts.len() * generation.n > MOST_ANSWERS {
            let message = format!(
                "`n` asks for {} answers to {} prompts; at most {MOST_ANSWERS} in one request",
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
        let best_of = fields.integer("best_of", 1..=128)?;
        if best_of.is_some_and(|best_of| best_of != generation.n) {
            let message = "`best_of` other than `n` is not supported: answers are not ranked; use `n`";
            return Err(ApiError::invalid("best_of", message).with_code("unsupported_parameter"));
        }
        fields.only("suffix", &[json!("")], "these models were not trained to fill in the middle")?;
        fields.only("add_special_tokens", &[json!(true)], "send token ids to choose every one of them")?;
        settle(&mut fields)?;
        fields.finish(lenient)?;
        Ok(Self { model, prompts, echo, generation })
    }
}

/// `false` is no log-probabilities, as clients that know only chat completions send it.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, ApiError> {
    match fields.take("logprobs") {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(value) => {
            let top = whole(&value).filter(|top| *top <= 20);
            top.map(Some).ok_or_else(|| wrong("logprobs", &value, "a whole number from 0 to 20"))
        }
    }
}

/// A string, an array of strings, an array of token ids, or an array of arrays of token ids.
pub(crate) fn prompts(name: &str, value: Value) -> Result<Vec<Prompt>, ApiError> {
    let expected = "a string, strings, token ids, or arrays of token ids";
    let items = match value {
        Value::String(text) => return Ok(vec![Prompt::Text(text)]),
        Value::Array(items) if items.is_empty() => {
            return Err(ApiError::invalid(name, format!("`{name}` is empty; expected {expected}")));
        }
        Value::Array(items) => items,
        other => return Err(wrong(name, &other, expected)),
    };
    if items[0].is_number() {
        return Ok(vec![Prompt::Ids(ids(name, &items)?)]);
    }
    if items.len() > MOST_PROMPTS {
        let message = format!("`{name}` holds {} prompts; expected at most {MOST_PROMPTS}", items.len());
        return Err(ApiError::invalid(name, message));
    }
    let read = |(index, item): (usize, Value)| match item {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(items) => ids(&format!("{name}[{index}]"), &items).map(Prompt::Ids),
        other => Err(wrong(&format!("{name}[{index}]"), &other, "a string or an array of token ids")),
    };
    items.into_iter().enumerate().map(read).collect()
}

fn ids(name: &str, items: &[Value]) -> Result<Vec<u32>, ApiError> {
    if items.is_empty() {
        return Err(ApiError::invalid(name, format!("`{name}` is empty; expected at least one token id")));
    }
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    let read = |item| id(item).ok_or_else(|| wrong(name, item, "token ids"));
    items.iter().map(read).collect()
}
