//! Raw prompts as completions and embeddings spell them.

use crate::error::ApiError;
use crate::fields::wrong;
use serde_json::Value;

/// One raw prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// A text; the tokenizer adds its special tokens.
    Text(String),
    /// Token ids, used as they are.
    Ids(Vec<u32>),
}

impl Prompt {
    /// Its size, about in bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ids(ids) => ids.len(),
        }
    }
}

/// Maximum number of prompts in one request.
const MAX_PROMPTS: usize = 2048;

/// Reads a string, an array of strings, an array of token ids, or an array of arrays of token ids.
pub(super) fn prompts(name: &str, value: Value) -> Result<Vec<Prompt>, ApiError> {
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
    if items.len() > MAX_PROMPTS {
        let message = format!("`{name}` has {} prompts; expected at most {MAX_PROMPTS}", items.len());
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
