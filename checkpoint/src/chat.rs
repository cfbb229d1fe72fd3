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
use std::collections::BTreeSet;
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
    /// All other fields of the message. A template may read them.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
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
    let mark = unused_characters(messages, &MARKS)[0];
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
    let text = template.render_with(&as_json(messages), options.tools, false, variables)?;
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

/// The token ids of a text and the byte range of each. With a mark, the text is split at each mark and the parts are
/// tokenized one by one.
fn encode(
    tokenizer: &Tokenizer,
    text: &str,
    mark: Option<&str>,
) -> Result<(Vec<u32>, Vec<Range<usize>>), Error> {
    let Some(mark) = mark else {
        let encoded = tokenizer.encode(text)?;
        return Ok((encoded.ids, encoded.ranges));
    };
    let (mut ids, mut ranges, mut start) = (Vec::new(), Vec::new(), 0);
    for piece in text.split(mark) {
        let encoded = tokenizer.encode(piece)?;
        ids.extend(encoded.ids);
        ranges.extend(encoded.ranges.into_iter().map(|range| range.start + start..range.end + start));
        start += piece.len() + mark.len();
    }
    Ok((ids, ranges))
}

/// Inserts a mark after the first character of every special token's spelling in the messages, so that [`encode`] splits
/// it.
fn split_special_tokens(tokenizer: &Tokenizer, messages: &[Message], mark: &str) -> Vec<Message> {
    let names: Vec<String> = tokenizer.special_ids().iter().filter_map(|id| tokenizer.token(*id)).collect();
    let split = |content: String, name: &String| match name.char_indices().nth(1) {
        Some((second, _)) => content.replace(name, &format!("{}{mark}{}", &name[..second], &name[second..])),
        None => content,
    };
    let of = |text: &String| names.iter().fold(text.clone(), split);
    let message = |message: &Message| Message {
        content: of(&message.content),
        reasoning_content: message.reasoning_content.as_ref().map(of),
        ..message.clone()
    };
    messages.iter().map(message).collect()
}

/// The text that the template prints before an assistant's reply; empty if the template does not show it.
fn opening(template: &ChatTemplate, variables: &Map<String, Value>) -> String {
    let messages = as_json(&[Message::new("user", "Hi")]);
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

/// The bytes of a message in the text: all of it, and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    whole: Range<usize>,
    content: Range<usize>,
}

fn as_json(messages: &[Message]) -> Value {
    serde_json::to_value(messages).expect("messages are plain JSON")
}

/// The byte range in `text` of the content of each message from `first` on. They are found by rendering the messages again
/// with marks around the contents.
fn content_spans(
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
    let marked = template.render_with(&as_json(&marked), tools, false, variables)?;
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

/// Pairs of Unicode private-use characters: the first marks the start of a content, the second its end. The first pair that
/// no message contains is used.
const MARKS: [[&str; 2]; 4] = [
    ["\u{e0f0}", "\u{e0f1}"],
    ["\u{f8e2}", "\u{f8e3}"],
    ["\u{fffa0}", "\u{fffa1}"],
    ["\u{10fff0}", "\u{10fff1}"],
];
/// Other ones, which split special tokens.
const SPLIT_MARKS: [[&str; 2]; 4] = [
    ["\u{e0f2}", "\u{e0f3}"],
    ["\u{f8e4}", "\u{f8e5}"],
    ["\u{fffa2}", "\u{fffa3}"],
    ["\u{10fff2}", "\u{10fff3}"],
];

/// The first of the pairs that no message contains.
fn unused_characters(messages: &[Message], pairs: &'static [[&'static str; 2]; 4]) -> [&'static str; 2] {
    // In no field: templates print more than contents.
    let all = as_json(messages).to_string();
    let unused = |pair: &&[&str; 2]| !pair.iter().any(|mark| all.contains(mark));
    *pairs.iter().find(unused).unwrap_or(&pairs[0])
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
fn role_of(range: &Range<usize>, spans: &[Span], first: usize) -> TokenRole {
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
