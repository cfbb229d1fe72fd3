//! Bodies of `POST /tokenize`, `/detokenize` and `/apply-template`.

use super::conversation::Conversation;
use super::prompts::{Prompt, prompts};
use crate::error::ApiError;
use crate::fields::Fields;
use serde_json::Value;

/// A checked request of token ids.
#[derive(Debug)]
pub(crate) struct TokenizeRequest {
    pub(crate) model: String,
    pub(crate) source: TokenSource,
    /// Whether the tokens' spellings are returned too.
    pub(crate) with_strings: bool,
}

/// What is tokenized.
#[derive(Debug)]
pub(crate) enum TokenSource {
    Conversation(Box<Conversation>),
    Text { text: String, add_special_tokens: bool },
}

/// A checked request of a text.
#[derive(Debug)]
pub(crate) struct DetokenizeRequest {
    pub(crate) model: String,
    pub(crate) ids: Vec<u32>,
}

/// A checked request of a prompt.
#[derive(Debug)]
pub(crate) struct TemplateRequest {
    pub(crate) model: String,
    pub(crate) conversation: Conversation,
}

impl TokenizeRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.text("model")?.unwrap_or_default();
        let add_special_tokens = fields.boolean("add_special_tokens")?;
        let with_strings = fields.boolean("return_token_strs")?.unwrap_or(false);
        let source = match fields.text("prompt")? {
            Some(text) => TokenSource::Text { text, add_special_tokens: add_special_tokens.unwrap_or(true) },
            None if add_special_tokens == Some(true) => {
                let message = "`add_special_tokens` is true, but the template prints the special tokens of a \
                               conversation; remove it";
                return Err(ApiError::invalid("add_special_tokens", message));
            }
            None => TokenSource::Conversation(Box::new(Conversation::take(&mut fields, lenient)?)),
        };
        fields.finish(lenient)?;
        Ok(Self { model, source, with_strings })
    }
}

impl DetokenizeRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.text("model")?.unwrap_or_default();
        let ids = match fields.need("tokens")? {
            Value::Array(none) if none.is_empty() => Vec::new(),
            tokens => match prompts("tokens", tokens)?.as_slice() {
                [Prompt::Ids(ids)] => ids.clone(),
                _ => return Err(ApiError::invalid("tokens", "`tokens` is not one array of token ids")),
            },
        };
        fields.finish(lenient)?;
        Ok(Self { model, ids })
    }
}

impl TemplateRequest {
    /// Reads a body.
    pub(crate) fn new(mut fields: Fields, lenient: bool) -> Result<Self, ApiError> {
        let model = fields.text("model")?.unwrap_or_default();
        let conversation = Conversation::take(&mut fields, lenient)?;
        fields.finish(lenient)?;
        Ok(Self { model, conversation })
    }
}
