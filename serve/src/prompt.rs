//! From a checked request to the token ids that a model continues.
//!
//! Conversations go through `checkpoint::chat`, the code that training used; the template prints the special tokens, so
//! the tokenizer adds none. Raw texts get the special tokens that the tokenizer puts around a text.

mod special_text;

use crate::background;
use crate::error::ApiError;
use crate::ids;
use crate::model::Model;
use crate::tools::ToolPlan;
use crate::traits::ThinkingTags;
use crate::valid::{Conversation, Prompt, PromptEnd};
use checkpoint::tokenizer::TextStream;
use checkpoint::tools::with_tools_as_text;
use checkpoint::{Message, chat};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Texts with more bytes are rendered and tokenized on another thread, so that other requests are not delayed.
const LONG_TEXT: usize = 4096;
/// Texts with more bytes wait for one another: a megabyte takes seconds and hundreds of megabytes of memory.
const HUGE_TEXT: usize = 64 << 10;
/// A tokenizer may shorten a text before it splits it, but not by more than this factor.
const NORMALIZED: usize = 2;

/// Places for work on other threads. A request waits for its place where it can still be dropped.
static LONG: Semaphore = Semaphore::const_new(4);
static RENDERING: Semaphore = Semaphore::const_new(6);
static HUGE: Semaphore = Semaphore::const_new(1);
static COMPILING: Semaphore = Semaphore::const_new(2);
static PARSING: Semaphore = Semaphore::const_new(1);

/// Runs work that takes time in proportion to `bytes`, on another thread if that may be long.
pub(crate) async fn off_thread_if_long<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match bytes {
        0..=LONG_TEXT => work(),
        _ if bytes <= HUGE_TEXT => off_thread(&LONG, work).await,
        _ => in_background(&HUGE, work).await,
    }
}

/// Renders and tokenizes a conversation of so many bytes: on another thread where another process renders it, which may
/// take as long as it likes.
pub(crate) async fn render_off_thread<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= LONG_TEXT && checkpoint::template::is_isolated() {
        return off_thread(&RENDERING, work).await;
    }
    off_thread_if_long(bytes, work).await
}

/// Runs a compilation on another thread.
pub(crate) async fn compile_off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    in_background(&COMPILING, work).await
}

/// Parses a large body.
pub(crate) async fn parse_in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    in_background(&PARSING, work).await
}

/// Runs work that costs much, behind everything else, when there is a place.
async fn in_background<T: Send + 'static>(
    places: &'static Semaphore,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = places.acquire().await.map_err(|closed| ApiError::internal(closed.to_string()))?;
    let done = background::run(move || {
        let _place = place;
        work()
    });
    done.await.unwrap_or_else(|| Err(ApiError::internal("a part of the request could not be prepared")))
}

/// Runs work on another thread when there is a place.
async fn off_thread<T: Send + 'static>(
    places: &'static Semaphore,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let place = places.acquire().await.map_err(|closed| ApiError::internal(closed.to_string()))?;
    let done = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.unwrap_or_else(|error| Err(ApiError::internal(format!("cannot prepare the prompt: {error}"))))
}

/// Refuses a text that cannot fit into the context, whatever its tokens are, before the work of finding them.
fn check_length(model: &Model, bytes: usize, param: &str) -> Result<(), ApiError> {
    let context = model.engine.limits().context;
    let tokens = bytes / (model.longest_token * NORMALIZED).max(1);
    if tokens <= context {
        return Ok(());
    }
    let message = format!(
        "this model's maximum context length is {context} tokens: a prompt of {bytes} bytes has at least {tokens} \
         tokens; shorten the prompt"
    );
    Err(ApiError::invalid(param, message).with_code("context_length_exceeded"))
}

/// How the texts of messages become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpecialTokens {
    /// A special token is one wherever it is written.
    Everywhere,
    /// Special tokens in messages are text; those of the template are special.
    OfTemplate,
}

/// A conversation's prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreparedPrompt {
    pub(crate) ids: Vec<u32>,
    /// The tags around the model's thoughts, and whether the prompt ends with the opening one.
    pub(crate) thinking: Option<(ThinkingTags, bool)>,
}

/// The prompt of a conversation; `param` is the parameter that its messages came from.
pub(crate) async fn conversation(
    model: &Arc<Model>,
    conversation: Conversation,
    special: SpecialTokens,
    param: &'static str,
) -> Result<PreparedPrompt, ApiError> {
    let (size, model) = (size(&conversation), Arc::clone(model));
    let work = move || {
        let bytes = conversation.messages.iter().map(|message| message.content.len()).sum();
        check_length(&model, bytes, param)?;
        let (text, ids) = rendered(&model, &conversation, special)?;
        // An answer that continues a message may begin anywhere.
        let tags = model.traits.thinking.filter(|_| conversation.end == PromptEnd::AssistantTurn);
        let thinking = tags.map(|tags| (tags, text.trim_end().ends_with(tags.open)));
        Ok(PreparedPrompt { ids, thinking })
    };
    render_off_thread(size, work).await
}

/// The text of a conversation, and its token ids.
pub(crate) fn rendered(
    model: &Model,
    conversation: &Conversation,
    special: SpecialTokens,
) -> Result<(String, Vec<u32>), ApiError> {
    if special == SpecialTokens::Everywhere {
        let text = text(model, conversation)?;
        let ids = encode(model, &text)?;
        return Ok((text, ids));
    }
    let (marked, mark) = special_text::marked(&model.tokenizer, conversation)?;
    let marked = text(model, &marked)?;
    let mut ids = Vec::new();
    for piece in marked.split(mark) {
        ids.extend(encode(model, piece)?);
    }
    Ok((marked.replace(mark, ""), ids))
}

/// The size of a conversation, in bytes.
pub(crate) fn size(conversation: &Conversation) -> usize {
    messages_size(&conversation.messages, conversation.tools.as_ref())
}

fn messages_size(messages: &[Message], tools: Option<&ToolPlan>) -> usize {
    // The template prints tools as JSON; their size is not worth measuring.
    let has_tools = tools.is_some() || messages.iter().any(|message| message.tool_calls.is_some());
    let sizes = messages.iter().map(|message| message.content.len() + 64);
    sizes.sum::<usize>() + if has_tools { LONG_TEXT } else { 0 }
}

/// Raw prompts as tokens; with their text where it is echoed. A client that leaves ends the work between two prompts.
pub(crate) async fn raw_prompts(
    model: &Arc<Model>,
    prompts: Vec<Prompt>,
    echo: bool,
    param: &'static str,
) -> Result<Vec<Arc<TokenizedPrompt>>, ApiError> {
    let mut tokenized = Vec::with_capacity(prompts.len());
    let mut prompts = prompts.into_iter().peekable();
    while prompts.peek().is_some() {
        let (mut batch, mut size) = (Vec::new(), 0);
        while let Some(prompt) =
            prompts.next_if(|prompt| batch.is_empty() || size + prompt.size() <= HUGE_TEXT)
        {
            size += prompt.size();
            batch.push(prompt);
        }
        let model = Arc::clone(model);
        let work = move || {
            let tokenize = |prompt: &Prompt| {
                if let Prompt::Text(text) = prompt {
                    check_length(&model, text.len(), param)?;
                }
                match echo {
                    true => with_offsets(&model, prompt),
                    false => {
                        Ok(TokenizedPrompt { ids: raw_ids(&model, prompt)?, ..TokenizedPrompt::default() })
                    }
                }
            };
            batch.iter().map(|prompt| tokenize(prompt).map(Arc::new)).collect::<Result<Vec<_>, _>>()
        };
        tokenized.extend(off_thread_if_long(size, work).await?);
    }
    Ok(tokenized)
}

/// The text of a conversation.
fn text(model: &Model, conversation: &Conversation) -> Result<String, ApiError> {
    let (template, tools) = (&model.template, conversation.tools.as_ref().map(ToolPlan::tools));
    let Conversation { messages, end, variables, .. } = conversation;
    let mut messages = with_tools_as_text(template, messages.clone(), tools.unwrap_or(&Value::Null));
    if model.traits.short_call_ids {
        shorten_call_ids(&mut messages);
    }
    let rendered = match end {
        PromptEnd::OpenMessage => chat::render_unfinished(template, &messages, tools, variables),
        end => chat::render_text(template, &messages, tools, *end == PromptEnd::AssistantTurn, variables),
    };
    rendered.map_err(|error| ApiError::invalid("messages", error.to_string()))
}

/// Gives calls ids that the template takes, wherever they came from; a call and its result keep theirs in common.
fn shorten_call_ids(messages: &mut [Message]) {
    for message in messages {
        if let Some(id) = &mut message.tool_call_id {
            *id = ids::short_call_id(id);
        }
        for call in message.tool_calls.iter_mut().filter_map(Value::as_array_mut).flatten() {
            if let Some(id) = call.get("id").and_then(Value::as_str).map(ids::short_call_id) {
                call["id"] = id.into();
            }
        }
    }
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
