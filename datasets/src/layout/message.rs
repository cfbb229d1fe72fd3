//! Messages in the formats of OpenAI, ShareGPT, Gemini and others, and the text columns of a row.

use super::role::Role;
use crate::row::{ChatRow, Message, Row};
use crate::weight::weight;
use serde_json::{Map, Value, json};

pub(super) type Object = Map<String, Value>;

/// The fields that hold the text of a message.
const CONTENTS: [&str; 5] = ["content", "value", "parts", "text", "message"];
/// The fields that name its author.
const AUTHORS: [&str; 2] = ["role", "from"];

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
    let text = match optional_text(object, "system")? {
        None => optional_text(object, "system_prompt")?,
        text => text,
    };
    Ok(text.map(|text| Message::new("system", text)).into_iter().collect())
}

/// A conversation: a list of messages, of texts by turns or of pairs with `input` and `output`; a struct of lists, one
/// for each field; or any of these as JSON in a string. `name` is the column, for errors.
pub(super) fn messages(value: &Value, name: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::Array(turns) if !turns.is_empty() && turns.iter().all(Value::is_string) => {
            if let Some(parsed) = turns.iter().map(message_as_text).collect::<Option<Vec<_>>>() {
                return messages(&Value::Array(parsed), name);
            }
            let roles = ["user", "assistant"].into_iter().cycle();
            Ok(turns
                .iter()
                .zip(roles)
                .map(|(text, role)| Message::new(role, text.as_str().unwrap_or("")))
                .collect())
        }
        Value::Array(turns) => {
            let lists: Result<Vec<_>, _> = turns.iter().map(|turn| turn_messages(turn, name)).collect();
            Ok(lists?.into_iter().flatten().collect())
        }
        Value::Object(lists) => messages(&transposed(lists, name)?, name),
        Value::String(text) => messages(&parsed(text, name)?, name),
        other => Err(format!("{name} is {}; expected a list of messages", short(other))),
    }
}

/// A message that stands as JSON in a string: `datasets` stores messages of different fields so.
fn message_as_text(text: &Value) -> Option<Value> {
    let text = text.as_str().filter(|text| text.starts_with('{'))?;
    let value: Value = serde_json::from_str(text).ok()?;
    AUTHORS.iter().any(|author| value.get(author).is_some()).then_some(value)
}

/// A list of messages that stands as JSON in a string.
fn parsed(text: &str, name: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Array(_) | Value::Object(_))) => Ok(value),
        _ if text.trim_start().starts_with("[{'") => Err(format!(
            "{name} is a list as Python prints it, not JSON; write it with `json.dumps`, or keep it as a list"
        )),
        _ => Err(format!("{name} is {}; expected a list of messages", short(&text.into()))),
    }
}

/// A list of objects from an object of lists, as Python's datasets stores a sequence of dictionaries.
fn transposed(lists: &Object, name: &str) -> Result<Value, String> {
    let length = lists.values().find_map(Value::as_array).map(Vec::len);
    let is_struct_of_lists = !lists.is_empty()
        && lists.values().all(|list| list.is_null() || list.as_array().map(Vec::len) == length);
    let Some(length) = length.filter(|_| is_struct_of_lists) else {
        return Err(format!(
            "{name} is {}; expected a list of messages",
            short(&Value::Object(lists.clone()))
        ));
    };
    let at = |index: usize| -> Object {
        lists.iter().map(|(field, list)| (field.clone(), list[index].clone())).collect()
    };
    Ok((0..length).map(at).map(Value::Object).collect())
}

/// The messages of one entry of a conversation: itself, or a question with its answer.
fn turn_messages(turn: &Value, name: &str) -> Result<Vec<Message>, String> {
    let is_message = AUTHORS.iter().any(|author| turn.get(author).is_some());
    if is_message || turn.get("input").is_none() || turn.get("output").is_none() {
        return Ok(vec![message(turn, name)?]);
    }
    let mut fields = turn.as_object().cloned().unwrap_or_default();
    let mut list = system(&mut fields)?;
    // A conversation may begin with the assistant.
    list.extend(optional_text(&mut fields, "input")?.map(|input| Message::new("user", input)));
    list.push(Message::new("assistant", text(&mut fields, "output")?));
    Ok(list)
}

/// A string is one message of `role`; a list is messages.
pub(super) fn turns(value: &Value, role: &str, name: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::String(text) => Ok(vec![Message::new(role, text.as_str())]),
        Value::Object(fields) if AUTHORS.iter().any(|author| fields.contains_key(*author)) => {
            match messages(value, name) {
                Ok(list) => Ok(list),
                Err(_) => Ok(vec![message(value, name)?]),
            }
        }
        Value::Array(list) if list.iter().any(Value::is_string) => {
            Err(format!("{name} is {}; expected one text or a list of messages", short(value)))
        }
        list => messages(list, name),
    }
}

/// A message in OpenAI's or ShareGPT's format; further fields are kept.
pub(super) fn message(value: &Value, name: &str) -> Result<Message, String> {
    let mut fields = value.as_object().cloned().unwrap_or_default();
    let role = AUTHORS.iter().find_map(|author| fields.remove(*author));
    let Some(role) = role.as_ref().and_then(Value::as_str) else {
        return Err(format!("a message of {name} is {}; expected a role (or from)", short(value)));
    };
    let role = Role::of(role)?;
    let content = CONTENTS.iter().find_map(|content| fields.remove(*content)).unwrap_or_default();
    let mut calls = fields.remove("tool_calls").filter(|calls| !calls.is_null());
    fields.retain(|_, value| !value.is_null());
    // OpenAI's field before `tool_calls`.
    if let (None, Some(call)) = (&calls, fields.remove("function_call")) {
        calls = Some(json!([{"type": "function", "function": call}]));
    }
    weight(&fields).map_err(|reason| format!("a message of {name}: {reason}"))?;
    let content = match content {
        Value::String(text) => match parse_calls(&text).filter(|_| role == Role::Call) {
            Some(parsed) => {
                calls = Some(parsed);
                String::new()
            }
            None => text,
        },
        Value::Array(parts) => from_parts(&parts, &mut calls, &mut fields, name)?,
        Value::Null if calls.is_some() => String::new(),
        // The result of a tool may be an object.
        Value::Object(result) if role == Role::Tool => Value::Object(result).to_string(),
        other => {
            return Err(format!("a message of {name} has the content {}; expected a string", short(&other)));
        }
    };
    Ok(Message { role: role.name().to_owned(), content, tool_calls: calls, extra: fields })
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
        let kind = part["type"].as_str().unwrap_or("text");
        let unexpected = || match kind {
            "text" | "reasoning" | "tool_call" => {
                format!("a content part of {name} is {}; expected text", short(part))
            }
            kind => format!(
                "a content part of {name} is of type `{kind}`, which no model here reads; `--skip-invalid` leaves such rows out"
            ),
        };
        let text = ["text", "value"].iter().find_map(|field| part[*field].as_str());
        let text = text.or_else(|| part.as_str()).ok_or_else(unexpected)?;
        match kind {
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
pub(super) fn parse_calls(text: &str) -> Option<Value> {
    let list = match serde_json::from_str(text).ok()? {
        Value::Array(list) => list,
        one => vec![one],
    };
    let call = |call: &Value| call["name"].is_string().then(|| json!({"type": "function", "function": call}));
    list.iter().map(call).collect::<Option<Vec<_>>>().map(Value::Array)
}

/// JSON for an error, cut at 60 characters.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A row of a conversation.
pub(super) fn chat(messages: Vec<Message>, metadata: Object) -> Result<Row, String> {
    if messages.is_empty() {
        return Err("the conversation has no message".to_owned());
    }
    Ok(Row::Chat(ChatRow { messages, metadata }))
}
