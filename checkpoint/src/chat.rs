//! From conversations to tokens, for training, generation, evaluation and serving alike.
//!
//! [`render_prompt`] returns the ids that a model continues. [`render`] returns the ids of a whole conversation, and for
//! every token the message it belongs to and whether the model should learn to generate it: the content and the stop
//! token after it. The text is rendered once and tokenized once. The spans are found by rendering again with a pair of
//! marks around every content, so they are right for any template that prints contents unchanged or trimmed. Any other
//! template is refused with the reason.

mod marks;
mod message;
mod spans;

pub use marks::{document_as_text, spells_special_token};
pub use message::Message;
pub use spans::TokenRole;

use crate::error::Error;
use crate::{ChatTemplate, Tokenizer};
use marks::{MARKS, SPLIT_MARKS, encode, split_special_tokens, unused_characters};
use serde_json::{Map, Value};
use spans::{Span, content_spans, message_spans, role_of};
use std::ops::Range;

/// A conversation as text and as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The whole text.
    pub text: String,
    /// Token ids (T).
    pub ids: Vec<u32>,
    /// The role of each token (T).
    pub roles: Vec<TokenRole>,
    /// Indexes of messages with a `reasoning_content` that the template does not print.
    pub unprinted_reasoning: Vec<usize>,
}

/// Options of [`render_as`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Rendering<'a> {
    /// The tools that the template gets, in OpenAI's format.
    pub tools: Option<&'a Value>,
    /// Variables that the template gets, such as `enable_thinking`.
    pub variables: Option<&'a Map<String, Value>>,
    /// Index of the first message whose tokens must be found. The template may change the messages before it: some
    /// templates remove the reasoning of earlier turns.
    pub first: usize,
    /// Whether the spelling of a special token in a message, such as `<|im_end|>`, is tokenized as ordinary text.
    pub special_tokens_as_text: bool,
}

/// The ids of a conversation up to the start of the assistant's next message.
///
/// # Errors
/// Contains the exception that the template raised.
pub fn render_prompt(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    messages: &[Message],
    tools: Option<&Value>,
) -> Result<Vec<u32>, Error> {
    let text = render_text(template, messages, tools, true, &Map::new())?;
    tokenizer.ids(&text)
}

/// The text of a conversation up to the end of its last message's content, with variables for the template, for a model that continues that message.
///
/// # Errors
/// When the template does not print the last content unchanged or trimmed, or raises an exception.
pub fn render_unfinished(
    template: &ChatTemplate,
    messages: &[Message],
    tools: Option<&Value>,
    variables: &Map<String, Value>,
) -> Result<String, Error> {
    let unknown =
        |reason: &str| Error::Spans { message: messages.len().saturating_sub(1), reason: reason.to_owned() };
    let Some((last, earlier)) = messages.split_last() else {
        return Err(unknown("there is no message to continue"));
    };
    let mark = unused_characters(messages, &MARKS)[0];
    let marked = Message { content: format!("{}{mark}", last.content), ..last.clone() };
    let messages = [earlier, &[marked]].concat();
    let text = template.render_with(&messages, tools, false, variables)?;
    match text.find(mark) {
        Some(end) => Ok(text[..end].to_owned()),
        None => Err(unknown("the template does not print the last message's content unchanged")),
    }
}

/// The text of a conversation up to the end of its last message, or up to the start of the assistant's next message,
/// with variables for the template.
///
/// # Errors
/// Contains the exception that the template raised.
pub fn render_text(
    template: &ChatTemplate,
    messages: &[Message],
    tools: Option<&Value>,
    add_generation_prompt: bool,
    variables: &Map<String, Value>,
) -> Result<String, Error> {
    template.render_with(messages, tools, add_generation_prompt, variables)
}

/// The text of a conversation up to the start of the *user's* next message: Magpie's pre-query prompt.
///
/// # Errors
/// When the template does not print a user's content unchanged, or raises an exception.
pub fn render_user_opening(template: &ChatTemplate, messages: &[Message]) -> Result<String, Error> {
    let mark = unused_characters(messages, &MARKS)[0];
    let mut opened = messages.to_vec();
    opened.push(Message::new("user", mark));
    let text = template.render(&opened, None, false)?;
    match text.find(mark) {
        Some(start) => Ok(text[..start].to_owned()),
        None => Err(Error::Spans {
            message: messages.len(),
            reason: "the template does not print a user's content".to_owned(),
        }),
    }
}

/// A whole conversation as tokens, each with its message and whether it is content.
///
/// # Errors
/// When the template raises an exception, changes a content beyond trimming it, or ends an assistant's message without a
/// special token (the model could not learn to stop).
pub fn render(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    messages: &[Message],
    tools: Option<&Value>,
) -> Result<RenderedChat, Error> {
    render_as(template, tokenizer, messages, Rendering { tools, ..Rendering::default() })
}

/// As [`render`], with options. Where the template prints an assistant's reasoning before its content, the reasoning is
/// part of the content.
///
/// # Errors
/// As [`render`].
pub fn render_as(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    messages: &[Message],
    options: Rendering<'_>,
) -> Result<RenderedChat, Error> {
    let split;
    let (messages, mark) = match options.special_tokens_as_text {
        true => {
            let mark = unused_characters(messages, &SPLIT_MARKS);
            split = split_special_tokens(tokenizer, messages, mark[0]);
            (split.as_slice(), Some(mark[0]))
        }
        false => (messages, None),
    };
    let no_variables = Map::new();
    let variables = options.variables.unwrap_or(&no_variables);
    let text = template.render_with(messages, options.tools, false, variables)?;
    let first = options.first.min(messages.len().saturating_sub(1));
    let contents = content_spans(template, messages, options.tools, variables, first, &text)?;
    let (ids, ranges) = encode(tokenizer, &text, mark)?;
    let special: Vec<(u32, Range<usize>)> = ids
        .iter()
        .zip(&ranges)
        .filter(|(id, _)| tokenizer.is_special(**id))
        .map(|(id, range)| (*id, range.clone()))
        .collect();
    let of_spans = &messages[first..];
    let mut spans = message_spans(of_spans, &contents, &special, text.len())?;
    let mut unprinted_reasoning = add_reasoning(&mut spans, of_spans, &text, || opening(template, variables));
    unprinted_reasoning.iter_mut().for_each(|index| *index += first);
    let roles = ranges.iter().map(|range| role_of(range, &spans, first)).collect();
    let text = match mark {
        Some(mark) => text.replace(mark, ""),
        None => text,
    };
    Ok(RenderedChat { text, ids, roles, unprinted_reasoning })
}

/// The text that the template prints before an assistant's reply; empty if the template does not show it.
fn opening(template: &ChatTemplate, variables: &Map<String, Value>) -> String {
    let messages = [Message::new("user", "Hi")];
    let text = |prompt: bool| template.render_with(&messages, None, prompt, variables).unwrap_or_default();
    let (without, with) = (text(false), text(true));
    with.strip_prefix(&without).unwrap_or_default().to_owned()
}

/// Extends each content to begin with the reasoning that the template prints before it. Returns the indexes of messages
/// whose reasoning is not printed.
fn add_reasoning(
    spans: &mut [Span],
    messages: &[Message],
    text: &str,
    opening: impl FnOnce() -> String,
) -> Vec<usize> {
    let thoughts = |message: &Message| {
        message.reasoning_content.as_deref().map(str::trim).unwrap_or_default().to_owned()
    };
    if messages.iter().all(|message| thoughts(message).is_empty()) {
        return Vec::new();
    }
    let (opening, mut unprinted) = (opening(), Vec::new());
    for (index, (span, message)) in spans.iter_mut().zip(messages).enumerate() {
        let reasoning = thoughts(message);
        if reasoning.is_empty() {
            continue;
        }
        let before = &text[span.whole.start..span.content.start];
        // The last one: the header may spell the same.
        let Some(at) = before.rfind(&reasoning) else {
            unprinted.push(index);
            continue;
        };
        let header = before.find(&opening).map(|start| start + opening.len());
        let start = header.filter(|end| !opening.is_empty() && *end <= at).unwrap_or(at);
        span.content.start = span.whole.start + start;
    }
    unprinted
}
