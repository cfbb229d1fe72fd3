//! Messages in the formats of OpenAI, ShareGPT and others, and the text columns of a row.

use crate::row::Message;
use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

/// Takes a string out.
pub(super) fn text(object: &mut Object, name: &str) -> Result<String, String> {
    match object.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{name} is {}; expected a string", short(&other))),
        None => Err(format!("has no {name}, which earlier rows of this file have")),
    }
}

/// Takes a string out that may be missing, null or empty.
pub(super) fn optional_text(object: &mut Object, name: &str) -> Result<Option<String>, String> {
    match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(other) => Err(format!("{name} is {}; expected a string", short(&other))),
    }
}

/// Takes the system message out, if there is one.
pub(super) fn system(object: &mut Object) -> Result<Vec<Message>, String> {
    Ok(optional_text(object, "system")?.map(|text| Message::new("system", text)).into_iter().collect())
}

/// A list of messages. `name` is the column, for errors.
pub(super) fn messages(value: &Value, name: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::Array(turns) => turns.iter().map(|turn| message(turn, name)).collect(),
        other => Err(format!("{name} is {}; expected a list of messages", short(other))),
    }
}

/// A string is one message of `role`; a list is messages.
pub(super) fn turns(value: &Value, role: &str, name: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::String(text) => Ok(vec![Message::new(role, text.as_str())]),
        Value::Object(_) => Ok(vec![message(value, name)?]),
        list => messages(list, name),
    }
}

/// A message in OpenAI's or ShareGPT's format; further fields are kept.
pub(super) fn message(value: &Value, name: &str) -> Result<Message, String> {
    let mut fields = value.as_object().cloned().unwrap_or_default();
    let role = fields.remove("role").or_else(|| fields.remove("from"));
    let Some(role) = role.as_ref().and_then(Value::as_str) else {
        return Err(format!("a message of {name} is {}; expected a role (or from)", short(value)));
    };
    let content = fields.remove("content").or_else(|| fields.remove("value")).unwrap_or_default();
    let mut calls = fields.remove("tool_calls").filter(|calls| !calls.is_null());
    fields.retain(|_, value| !value.is_null());
    let content = match content {
        Value::String(text) => match parse_calls(&text).filter(|_| role == "function_call") {
            Some(parsed) => {
                calls = Some(parsed);
                String::new()
            }
            None => text,
        },
        Value::Array(parts) => from_parts(&parts, &mut calls, &mut fields, name)?,
        Value::Null if calls.is_some() => String::new(),
        other => {
            return Err(format!("a message of {name} has the content {}; expected a string", short(&other)));
        }
    };
    let role = match role {
        "human" | "prompter" => "user",
        "gpt" | "function_call" | "model" => "assistant",
        "observation" | "function" => "tool",
        other => other,
    };
    Ok(Message { role: role.to_owned(), content, tool_calls: calls, extra: fields })
}

/// The text of content in parts. Reasoning and tool calls are put where chat templates look for them.
fn from_parts(
    parts: &[Value],
    calls: &mut Option<Value>,
    fields: &mut Object,
    name: &str,
) -> Result<String, String> {
    let (mut content, mut reasoning, mut parsed) = (String::new(), String::new(), Vec::new());
    for part in parts {
        let text = part["text"].as_str().or_else(|| part["value"].as_str());
        let unexpected = || format!("a content part of {name} is {}; expected text", short(part));
        let text = text.ok_or_else(unexpected)?;
        match part["type"].as_str().unwrap_or("text") {
            "text" => content.push_str(text),
            "reasoning" => reasoning.push_str(text),
            "tool_call" => match parse_calls(text) {
                Some(Value::Array(list)) => parsed.extend(list),
                _ => return Err(unexpected()),
            },
            _ => return Err(unexpected()),
        }
    }
    if !reasoning.is_empty() {
        fields.insert("reasoning_content".to_owned(), reasoning.into());
    }
    if !parsed.is_empty() {
        *calls = Some(Value::Array(parsed));
    }
    Ok(content)
}

/// The calls in a text of one or several `{"name", "arguments"}`, in OpenAI's format.
fn parse_calls(text: &str) -> Option<Value> {
    let list = match serde_json::from_str(text).ok()? {
        Value::Array(list) => list,
        one => vec![one],
    };
    let call = |call: &Value| {
        call["name"].is_string().then(|| serde_json::json!({"type": "function", "function": call}))
    };
    list.iter().map(call).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// JSON for an error, cut at 60 characters.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
