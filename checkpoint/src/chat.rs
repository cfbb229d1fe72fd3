//! From conversations to tokens, for training, generation, evaluation and serving alike.
//!
//! [`render_prompt`] returns the ids that a model continues. [`render`] returns the ids of a whole conversation, and for
//! every token the message it belongs to and whether the model should learn to generate it: the content and the stop
//! token after it. The text is rendered once and tokenized once. The spans are found by rendering again with a pair of
//! marks around every content, so they are right for any template that prints contents unchanged or trimmed. Any other
//! template is refused with the reason.

use crate::error::Error;
use crate::{ChatTemplate, Tokenizer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::Range;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Its text.
    #[serde(default)]
    pub content: String,
    /// The tool calls of an assistant, in OpenAI's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// The call whose result a tool message contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The name of the author or of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What an assistant thought before its content; templates of reasoning models decide whether they show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
}

impl Message {
    /// A message with a role and a content alone.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: content.into(), ..Self::default() }
    }
}

/// A conversation as text and as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The whole text.
    pub text: String,
    /// Token ids (T).
    pub ids: Vec<u32>,
    /// The role of each token (T).
    pub roles: Vec<TokenRole>,
}

/// The role of a token in its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenRole {
    /// Index of its message; `None` for what the template adds before the first one.
    pub message: Option<u32>,
    /// Whether it is part of the message's content or its stop token, and not of the template around it.
    pub content: bool,
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
    Ok(tokenizer.encode(&text)?.ids)
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
    let mark = unused_characters(messages)[0];
    let marked = Message { content: format!("{}{mark}", last.content), ..last.clone() };
    let messages = as_json(&[earlier, &[marked]].concat());
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
    template.render_with(&as_json(messages), tools, add_generation_prompt, variables)
}

/// The text of a conversation up to the start of the *user's* next message: Magpie's pre-query prompt.
///
/// # Errors
/// When the template does not print a user's content unchanged, or raises an exception.
pub fn render_user_opening(template: &ChatTemplate, messages: &[Message]) -> Result<String, Error> {
    let mark = unused_characters(messages)[0];
    let mut opened = messages.to_vec();
    opened.push(Message::new("user", mark));
    let text = template.render(&as_json(&opened), None, false)?;
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
    let text = template.render(&as_json(messages), tools, false)?;
    let contents = content_spans(template, messages, tools, &text)?;
    let encoded = tokenizer.encode(&text)?;
    let special: Vec<(u32, Range<usize>)> = encoded
        .ids
        .iter()
        .zip(&encoded.ranges)
        .filter(|(id, _)| tokenizer.is_special(**id))
        .map(|(id, range)| (*id, range.clone()))
        .collect();
    let spans = message_spans(messages, &contents, &special, text.len())?;
    let roles = encoded.ranges.iter().map(|range| role_of(range, &spans)).collect();
    Ok(RenderedChat { text, ids: encoded.ids, roles })
}

/// The bytes of a message in the text: all of it, and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    whole: Range<usize>,
    content: Range<usize>,
}

fn as_json(messages: &[Message]) -> Value {
    serde_json::to_value(messages).expect("messages are plain JSON")
}

/// The byte range of every message's content in `text`, found by rendering again with marks around the contents.
fn content_spans(
    template: &ChatTemplate,
    messages: &[Message],
    tools: Option<&Value>,
    text: &str,
) -> Result<Vec<Range<usize>>, Error> {
    let [open, close] = unused_characters(messages);
    let marked: Vec<Message> = messages.iter().map(|message| mark(message, open, close)).collect();
    let marked = template.render(&as_json(&marked), tools, false)?;
    let mut plain = String::with_capacity(text.len());
    let mut spans = Vec::with_capacity(messages.len());
    for (index, piece) in marked.split(open).enumerate() {
        let Some((inside, after)) = piece.split_once(close).filter(|_| index > 0) else {
            plain.push_str(piece);
            continue;
        };
        let start = plain.len();
        plain.push_str(inside);
        spans.push(start..plain.len());
        plain.push_str(after);
    }
    let unknown = |message: usize, reason: &str| Err(Error::Spans { message, reason: reason.to_owned() });
    if spans.len() != messages.len() {
        return unknown(
            spans.len().min(messages.len() - 1),
            "the template omits a message or prints one twice",
        );
    }
    for (index, (span, message)) in spans.iter().zip(messages).enumerate() {
        if plain.get(span.clone()) != Some(message.content.trim()) {
            return unknown(index, "the template changes or reorders contents");
        }
    }
    if plain != text {
        return unknown(0, "the template's layout depends on a message's content");
    }
    Ok(spans.into_iter().zip(messages).map(|(span, message)| with_margins(span, message, text)).collect())
}

/// Puts the marks around the trimmed content, so that a template that trims sees the same white space.
fn mark(message: &Message, open: &str, close: &str) -> Message {
    let content = &message.content;
    let start = content.len() - content.trim_start().len();
    let core = content.trim();
    let (before, after) = (&content[..start], &content[start + core.len()..]);
    Message { content: format!("{before}{open}{core}{close}{after}"), ..message.clone() }
}

/// Extends a trimmed span over the white space that the template kept.
fn with_margins(span: Range<usize>, message: &Message, text: &str) -> Range<usize> {
    let content = &message.content;
    let core = content.trim();
    let leading = &content[..content.len() - content.trim_start().len()];
    let trailing = &content[leading.len() + core.len()..];
    let start = if text[..span.start].ends_with(leading) { span.start - leading.len() } else { span.start };
    let end = if text[span.end..].starts_with(trailing) { span.end + trailing.len() } else { span.end };
    start..end
}

/// Two private-use characters that no message contains.
fn unused_characters(messages: &[Message]) -> [&'static str; 2] {
    const PAIRS: [[&str; 2]; 4] = [
        ["\u{e0f0}", "\u{e0f1}"],
        ["\u{f8e2}", "\u{f8e3}"],
        ["\u{fffa0}", "\u{fffa1}"],
        ["\u{10fff0}", "\u{10fff1}"],
    ];
    let unused =
        |pair: &&[&str; 2]| !messages.iter().any(|m| pair.iter().any(|mark| m.content.contains(mark)));
    *PAIRS.iter().find(unused).unwrap_or(&PAIRS[0])
}

/// Extends content spans to message spans: the content includes its stop token, the message its header.
fn message_spans(
    messages: &[Message],
    contents: &[Range<usize>],
    special: &[(u32, Range<usize>)],
    length: usize,
) -> Result<Vec<Span>, Error> {
    let mut spans: Vec<Span> = Vec::with_capacity(messages.len());
    for (index, (message, content)) in messages.iter().zip(contents).enumerate() {
        let limit = contents.get(index + 1).map_or(length, |next| next.start);
        let stop = special.iter().find(|(_, range)| range.start >= content.end && range.end <= limit);
        if message.role == "assistant" && stop.is_none() {
            return Err(Error::Spans {
                message: index,
                reason: "no special token of this tokenizer ends the assistant's message, so the model could not learn to stop".to_owned(),
            });
        }
        let end = stop.map_or(content.end, |(_, range)| range.end);
        spans.push(Span { whole: content.start..end, content: content.start..end });
    }
    let stops: Vec<u32> = spans
        .iter()
        .filter_map(|span| special.iter().find(|(_, range)| range.end == span.content.end).map(|(id, _)| *id))
        .collect();
    add_headers(&mut spans, special, &stops, length);
    Ok(spans)
}

/// A message starts right after the stop token before its content. What is before the first message's header (a beginning
/// of sequence, a default system message) belongs to no message.
fn add_headers(spans: &mut [Span], special: &[(u32, Range<usize>)], stops: &[u32], length: usize) {
    let mut previous_end = 0;
    for index in 0..spans.len() {
        let content_start = spans[index].content.start;
        let after_stop = special
            .iter()
            .filter(|(id, range)| stops.contains(id) && range.end <= content_start)
            .map(|(_, range)| range.end)
            .next_back()
            .unwrap_or(0);
        let next_special = |from: usize| {
            special
                .iter()
                .map(|(_, range)| range.start)
                .find(|start| *start >= from && *start < content_start)
        };
        let from = after_stop.max(previous_end);
        let start = next_special(from).unwrap_or(from);
        spans[index].whole.start = start;
        if index > 0 {
            spans[index - 1].whole.end = start;
        }
        previous_end = spans[index].content.end;
    }
    if let Some(last) = spans.last_mut() {
        last.whole.end = length;
    }
}

/// A token belongs to the message in which it starts; it is content if it ends in the content. One that starts in the
/// header counts as content, as in transformers' assistant masks: after `[/INST]` the first word of Llama 2 is one token
/// with the space before it, and the model must learn it.
fn role_of(range: &Range<usize>, spans: &[Span]) -> TokenRole {
    let Some(index) = spans.iter().position(|span| span.whole.contains(&range.start)) else {
        return TokenRole::default();
    };
    let content = &spans[index].content;
    TokenRole {
        message: Some(index as u32),
        content: range.end > content.start && range.end <= content.end && range.start < range.end,
    }
}
