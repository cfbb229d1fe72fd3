//! From a checked request to the token ids that a model continues.
//!
//! Conversations go through `checkpoint::chat`, the code that training used; the template prints the special tokens, so
//! the tokenizer adds none. Raw texts get the special tokens that the tokenizer puts around a text.

use crate::error::ApiError;
use crate::model::Model;
use crate::tools::ToolPlan;
use crate::valid::{Prompt, PromptEnd};
use checkpoint::tokenizer::TextStream;
use checkpoint::tools::with_tools_as_text;
use checkpoint::{Message, chat};
use serde_json::Value;
use std::sync::Arc;

/// Texts with more bytes are rendered and tokenized on another thread, so that other requests are not delayed.
const LONG_TEXT: usize = 4096;

/// Runs work that takes time in proportion to `bytes`, on another thread if that may be long.
pub(crate) async fn off_thread_if_long<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= LONG_TEXT { work() } else { off_thread(work).await }
}

/// Runs work on another thread.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ApiError::internal(format!("cannot prepare the prompt: {error}"))))
}

/// The token ids of a conversation.
pub(crate) async fn conversation(
    model: &Arc<Model>,
    messages: Vec<Message>,
    tools: Option<&ToolPlan>,
    end: PromptEnd,
) -> Result<Vec<u32>, ApiError> {
    // The template prints tools as JSON; their size is not worth measuring.
    let has_tools = tools.is_some() || messages.iter().any(|message| message.tool_calls.is_some());
    let size = messages.iter().map(|message| message.content.len() + 64).sum::<usize>()
        + if has_tools { LONG_TEXT } else { 0 };
    let (model, tools) = (Arc::clone(model), tools.map(|plan| plan.tools().clone()));
    let work = move || encode(&model, &text(&model, &messages, tools.as_ref(), end)?);
    off_thread_if_long(size, work).await
}

/// The text of a conversation.
pub(crate) fn text(
    model: &Model,
    messages: &[Message],
    tools: Option<&Value>,
    end: PromptEnd,
) -> Result<String, ApiError> {
    let template = &model.template;
    let messages = with_tools_as_text(template, messages.to_vec(), tools.unwrap_or(&Value::Null));
    let rendered = match end {
        PromptEnd::OpenMessage => chat::render_unfinished(template, &messages, tools),
        end => chat::render_text(template, &messages, tools, end == PromptEnd::AssistantTurn),
    };
    rendered.map_err(|error| ApiError::invalid("messages", error.to_string()))
}

/// The token ids of a text that has its special tokens already.
pub(crate) fn encode(model: &Model, text: &str) -> Result<Vec<u32>, ApiError> {
    let encoded = model.tokenizer.encode(text).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(encoded.ids)
}

/// A raw prompt as tokens, and as the text that `echo` repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenizedPrompt {
    /// Empty where nothing is echoed.
    pub(crate) text: String,
    pub(crate) ids: Vec<u32>,
    /// Characters of the text before each token; empty where nothing is echoed.
    pub(crate) offsets: Vec<usize>,
}

/// The token ids of a raw prompt. The engine refuses ids that the model does not have.
pub(crate) fn raw_ids(model: &Model, prompt: &Prompt) -> Result<Vec<u32>, ApiError> {
    match prompt {
        Prompt::Ids(ids) => Ok(ids.clone()),
        Prompt::Text(text) => {
            model.tokenizer.encode_document(text).map_err(|error| ApiError::internal(error.to_string()))
        }
    }
}

/// A raw prompt with its text and the offsets of its tokens.
pub(crate) fn with_offsets(model: &Model, prompt: &Prompt) -> Result<TokenizedPrompt, ApiError> {
    let ids = raw_ids(model, prompt)?;
    match prompt {
        Prompt::Text(text) => text_offsets(model, text, ids),
        Prompt::Ids(_) => Ok(id_offsets(model, ids)),
    }
}

fn text_offsets(model: &Model, text: &str, ids: Vec<u32>) -> Result<TokenizedPrompt, ApiError> {
    let encoded = model.tokenizer.encode(text).map_err(|error| ApiError::internal(error.to_string()))?;
    let starts: Vec<usize> = encoded.ranges.iter().map(|range| range.start).collect();
    // The tokenizer's own special tokens come before and after the text's tokens and cover nothing of it.
    let before = ids.windows(encoded.ids.len().max(1)).position(|window| window == encoded.ids);
    let mut offsets = vec![0; before.unwrap_or(0)];
    offsets.extend(characters_before(text, &starts));
    offsets.resize(ids.len(), text.chars().count());
    Ok(TokenizedPrompt { text: text.to_owned(), ids, offsets })
}

fn id_offsets(model: &Model, ids: Vec<u32>) -> TokenizedPrompt {
    let token_bytes = model.tokenizer.token_bytes();
    let bytes = |id: u32| token_bytes.get(id as usize).map_or(&[][..], Vec::as_slice);
    let joined: Vec<u8> = ids.iter().flat_map(|id| bytes(*id)).copied().collect();
    let text = String::from_utf8_lossy(&joined).into_owned();
    let mut stream = TextStream::default();
    let mut characters = 0;
    let offset = |id: &u32| {
        let before = characters;
        characters += stream.push(bytes(*id)).chars().count();
        before
    };
    let offsets = ids.iter().map(offset).collect();
    TokenizedPrompt { text, ids, offsets }
}

/// The number of characters before each of the ascending byte positions.
fn characters_before(text: &str, positions: &[usize]) -> Vec<usize> {
    let mut characters = text.char_indices().map(|(byte, _)| byte).peekable();
    let mut count = 0;
    let before = |position: &usize| {
        while characters.next_if(|byte| byte < position).is_some() {
            count += 1;
        }
        count
    };
    positions.iter().map(before).collect()
}

#[cfg(test)]
mod tests {
    use super::characters_before;

    #[test]
    fn offsets_count_characters() {
        assert_eq!(characters_before("aé🙂z", &[0, 1, 3, 7]), [0, 1, 2, 3]);
        assert_eq!(characters_before("", &[0]), [0]);
    }
}
