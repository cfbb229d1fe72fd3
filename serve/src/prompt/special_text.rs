//! Special tokens in what a client sends, kept from becoming special (`--special-tokens-as-text`).
//!
//! A mark within each of them splits the rendered text there, so that no piece has the whole token. That holds for everything
//! the template may print: contents, names, thoughts, calls and tools.

use crate::error::ApiError;
use crate::valid::Conversation;
use checkpoint::{Message, Tokenizer};
use serde_json::{Map, Value};

/// The conversation with a mark in each special token, and the mark.
pub(super) fn marked(
    tokenizer: &Tokenizer,
    conversation: &Conversation,
) -> Result<(Conversation, char), ApiError> {
    let names: Vec<String> = tokenizer.special_ids().iter().filter_map(|id| tokenizer.token(*id)).collect();
    let mut marked = conversation.clone();
    marked.messages.iter_mut().filter_map(|message| message.tool_calls.as_mut()).for_each(parse_arguments);
    let mark = unused_mark(&marked)?;
    let split = |text: &str| names.iter().fold(text.to_owned(), |text, name| split(&text, name, mark));
    for message in &mut marked.messages {
        split_message(message, &split);
    }
    if let Some(tools) = &mut marked.tools {
        tools.map_texts(&|value| split_value(value, &split));
    }
    marked.variables = split_map(&marked.variables, &split);
    Ok((marked, mark))
}

fn split_message(message: &mut Message, split: &dyn Fn(&str) -> String) {
    message.content = split(&message.content);
    for text in [&mut message.name, &mut message.reasoning_content, &mut message.tool_call_id] {
        *text = text.as_deref().map(split);
    }
    message.tool_calls = message.tool_calls.as_ref().map(|calls| split_value(calls, split));
    message.extra = split_map(&message.extra, split);
}

fn split_value(value: &Value, split: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => split(text).into(),
        Value::Array(items) => items.iter().map(|item| split_value(item, split)).collect(),
        Value::Object(fields) => split_map(fields, split).into(),
        other => other.clone(),
    }
}

fn split_map(fields: &Map<String, Value>, split: &dyn Fn(&str) -> String) -> Map<String, Value> {
    fields.iter().map(|(name, value)| (split(name), split_value(value, split))).collect()
}

/// Makes the object of arguments that are JSON text, where a special token may be escaped; templates get the object anyway.
fn parse_arguments(calls: &mut Value) {
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        let parsed =
            arguments.as_str().and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
        if let Some(parsed) = parsed {
            *arguments = parsed.into();
        }
    }
}

/// Puts a mark after the first character of every occurrence of `name`.
fn split(content: &str, name: &str, mark: char) -> String {
    match name.char_indices().nth(1) {
        Some((second, _)) => content.replace(name, &format!("{}{mark}{}", &name[..second], &name[second..])),
        None => content.to_owned(),
    }
}

/// A private-use character that nothing in the conversation has.
fn unused_mark(conversation: &Conversation) -> Result<char, ApiError> {
    let texts = serde_json::to_string(&conversation.messages).unwrap_or_default();
    let tools = conversation.tools.as_ref().map(|plan| plan.tools().to_string()).unwrap_or_default();
    let variables = Value::from(conversation.variables.clone()).to_string();
    let is_unused = |mark: &char| ![&texts, &tools, &variables].iter().any(|text| text.contains(*mark));
    ('\u{f0000}'..='\u{f00ff}').find(is_unused).ok_or_else(|| {
        ApiError::invalid(
            "messages",
            "the messages use too many private characters for `--special-tokens-as-text`",
        )
    })
}
