//! Where the messages of a conversation and their contents are in the rendered text.
//!
//! They are found by rendering the messages again with marks around their contents.

use super::marks::{MARKS, unused_characters};
use super::message::Message;
use crate::ChatTemplate;
use crate::error::Error;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::ops::Range;

/// The role of a token in its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenRole {
    /// Index of its message; `None` for what the template adds before the first one.
    pub message: Option<u32>,
    /// Whether it is part of the message's content or its stop token, and not of the template around it.
    pub content: bool,
}

/// The bytes of a message in the text: all of it, and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) whole: Range<usize>,
    pub(super) content: Range<usize>,
}

/// The byte range in `text` of the content of each message from `first` on. They are found by rendering the messages again
/// with marks around the contents.
pub(super) fn content_spans(
    template: &ChatTemplate,
    messages: &[Message],
    tools: Option<&Value>,
    variables: &Map<String, Value>,
    first: usize,
    text: &str,
) -> Result<Vec<Range<usize>>, Error> {
    let [open, close] = unused_characters(messages, &MARKS);
    let marked: Vec<Message> = messages
        .iter()
        .enumerate()
        .map(|(index, message)| if index < first { message.clone() } else { mark(message, open, close) })
        .collect();
    let marked = template.render_with(&marked, tools, false, variables)?;
    let messages = &messages[first..];
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
    let unknown = |message: usize, reason: &str| {
        Err(Error::Spans { message: first + message, reason: reason.to_owned() })
    };
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

/// Extends content spans to message spans: the content includes its stop token, the message its header.
pub(super) fn message_spans(
    messages: &[Message],
    contents: &[Range<usize>],
    special: &[(u32, Range<usize>)],
    length: usize,
) -> Result<Vec<Span>, Error> {
    let mut spans: Vec<Span> = Vec::with_capacity(messages.len());
    for (index, (message, content)) in messages.iter().zip(contents).enumerate() {
        let limit = contents.get(index + 1).map_or(length, |next| next.start);
        let from = special.partition_point(|(_, range)| range.start < content.end);
        let stop = special[from..].first().filter(|(_, range)| range.end <= limit);
        if message.role == "assistant" && stop.is_none() {
            return Err(Error::Spans {
                message: index,
                reason: "no special token of this tokenizer ends the assistant's message, so the model could not learn to stop".to_owned(),
            });
        }
        let end = stop.map_or(content.end, |(_, range)| range.end);
        spans.push(Span { whole: content.start..end, content: content.start..end });
    }
    let ends_with = |span: &Span| {
        let from = special.partition_point(|(_, range)| range.end < span.content.end);
        special.get(from).filter(|(_, range)| range.end == span.content.end).map(|(id, _)| *id)
    };
    let stops: BTreeSet<u32> = spans.iter().filter_map(ends_with).collect();
    add_headers(&mut spans, special, &stops, length);
    Ok(spans)
}

/// A message starts right after the stop token before its content. What is before the first message's header (a beginning
/// of sequence, a default system message) belongs to no message.
fn add_headers(spans: &mut [Span], special: &[(u32, Range<usize>)], stops: &BTreeSet<u32>, length: usize) {
    // Contents follow one another, and so do the special tokens: each is looked at once.
    let (mut previous_end, mut after_stop, mut passed) = (0, 0, 0);
    for index in 0..spans.len() {
        let content_start = spans[index].content.start;
        while let Some((id, range)) = special.get(passed).filter(|(_, range)| range.end <= content_start) {
            after_stop = if stops.contains(id) { range.end } else { after_stop };
            passed += 1;
        }
        let next_special = |from: usize| {
            let next = special.partition_point(|(_, range)| range.start < from);
            special.get(next).map(|(_, range)| range.start).filter(|start| *start < content_start)
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
pub(super) fn role_of(range: &Range<usize>, spans: &[Span], first: usize) -> TokenRole {
    let next = spans.partition_point(|span| span.whole.start <= range.start);
    let Some(index) = next.checked_sub(1).filter(|index| spans[*index].whole.contains(&range.start)) else {
        return TokenRole::default();
    };
    let content = &spans[index].content;
    TokenRole {
        message: Some((first + index) as u32),
        content: range.end > content.start && range.end <= content.end && range.start < range.end,
    }
}
