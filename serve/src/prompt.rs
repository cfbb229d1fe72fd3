//! From a checked request to the ids a model continues.
//!
//! Conversations go through `smollm::chat`, the code that training used, and their text is tokenized without extra
//! special tokens: the template has printed them. Raw texts get what the tokenizer puts around a text.

use crate::error::ApiError;
use crate::model::Model;
use crate::tools::ToolPlan;
use crate::valid::{Ending, Prompt};
use serde_json::Value;
use smollm::tools::tell_tools;
use smollm::{Message, chat};
use std::sync::Arc;

/// Texts longer than this are rendered and tokenized on a thread of their own, so that others are still served.
const LONG_TEXT: usize = 4096;

/// Does what takes time in proportion to `bytes` where it holds nobody up.
pub(crate) async fn off_thread_if_long<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= LONG_TEXT { work() } else { off_thread(work).await }
}

/// Does what takes time on a thread of its own.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ApiError::internal(format!("preparing the prompt failed: {error}"))))
}

/// The ids of a conversation, made where it holds nobody up.
pub(crate) async fn conversation(
    model: &Arc<Model>,
    messages: Vec<Message>,
    tools: Option<&ToolPlan>,
    ending: Ending,
) -> Result<Vec<u32>, ApiError> {
    // Tools go through the template's JSON printer; their size is not worth measuring.
    let told = if tools.is_some() { LONG_TEXT } else { 0 };
    let told = if messages.iter().any(|message| message.tool_calls.is_some()) { LONG_TEXT } else { told };
    let size = messages.iter().map(|message| message.content.len() + 64).sum::<usize>() + told;
    let (of, tools) = (Arc::clone(model), tools.map(|plan| plan.tools().clone()));
    let work = move || encode(&of, &text(&of, &messages, tools.as_ref(), ending)?);
    off_thread_if_long(size, work).await
}

/// The text of a conversation.
pub(crate) fn text(
    model: &Model,
    messages: &[Message],
    tools: Option<&Value>,
    ending: Ending,
) -> Result<String, ApiError> {
    let template = &model.template;
    let told = tell_tools(template, messages.to_vec(), tools.unwrap_or(&Value::Null));
    let rendered = match ending {
        Ending::Unfinished => chat::render_unfinished(template, &told, tools),
        ending => chat::render_text(template, &told, tools, ending == Ending::Assistant),
    };
    rendered.map_err(|error| ApiError::invalid("messages", error.to_string()))
}

/// The ids of a text that carries its special tokens already.
pub(crate) fn encode(model: &Model, text: &str) -> Result<Vec<u32>, ApiError> {
    let encoded = model.tokenizer.encode(text).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(encoded.ids)
}

/// A raw prompt as tokens, and as the text that `echo` repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) text: String,
    pub(crate) ids: Vec<u32>,
    /// Characters of the text before each token.
    pub(crate) offsets: Vec<usize>,
}

/// The ids of a raw prompt; those the model has no row for are left for the engine to refuse.
pub(crate) fn raw_ids(model: &Model, prompt: &Prompt) -> Result<Vec<u32>, ApiError> {
    match prompt {
        Prompt::Ids(ids) => Ok(ids.clone()),
        Prompt::Text(text) => {
            model.tokenizer.encode_document(text).map_err(|error| ApiError::internal(error.to_string()))
        }
    }
}

/// A raw prompt with the places of its tokens.
pub(crate) fn raw(model: &Model, prompt: &Prompt) -> Result<Raw, ApiError> {
    let ids = raw_ids(model, prompt)?;
    match prompt {
        Prompt::Text(text) => {
            let failed = |error: smollm::Error| ApiError::internal(error.to_string());
            let encoded = model.tokenizer.encode(text).map_err(failed)?;
            let starts: Vec<usize> = encoded.ranges.iter().map(|range| range.start).collect();
            // The tokenizer's own special tokens stand before and after the text's and cover nothing of it.
            let before = ids.windows(encoded.ids.len().max(1)).position(|window| window == encoded.ids);
            let (before, end) = (before.unwrap_or(0), text.chars().count());
            let mut offsets = vec![0; before];
            offsets.extend(characters_before(text, &starts));
            offsets.resize(ids.len(), end);
            Ok(Raw { text: text.clone(), ids, offsets })
        }
        Prompt::Ids(_) => {
            let bytes = model.tokenizer.token_bytes();
            let of = |id: &u32| bytes.get(*id as usize).map_or(&[][..], Vec::as_slice);
            let joined: Vec<u8> = ids.iter().flat_map(of).copied().collect();
            let text = String::from_utf8_lossy(&joined).into_owned();
            let mut stream = smollm::tokenizer::TextStream::default();
            let mut characters = 0;
            let offset = |id| {
                let before = characters;
                characters += stream.push(of(id)).chars().count();
                before
            };
            let offsets = ids.iter().map(offset).collect();
            Ok(Raw { text, ids, offsets })
        }
    }
}

/// How many characters stand before each of the ascending byte positions.
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
