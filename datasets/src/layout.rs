//! The layouts people keep rows in, found from a file's first row and turned into ours.

use crate::row::{ChatRow, Message, PreferenceRow, Row, TextRow};
use serde_json::{Map, Value};

/// How a file lays its rows out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `messages` (or `conversations`) of role and content.
    Messages,
    /// `conversations` of from and value.
    ShareGpt,
    /// `instruction`, `input`, `output`.
    Alpaca,
    /// `instruction` with `instances` of input and output (self-instruct seeds).
    Instances,
    /// `prompt` and `completion`, strings or messages.
    PromptCompletion,
    /// `chosen` and `rejected`, with a `prompt` or sharing their beginning.
    Preference,
    /// `conversations` and two last turns, `chosen` and `rejected` (from and value).
    ShareGptPreference,
    /// `chosen_messages` and `rejected_messages`.
    MessagesPreference,
    /// Open-Assistant trees: `prompt` with `replies`.
    Tree,
    /// `instruction` alone: a prompt without a reply.
    Instruction,
    /// `text` (or `content`).
    Text,
}

type Object = Map<String, Value>;

impl Layout {
    /// The layout of an object.
    pub(crate) fn of(object: &Object) -> Result<Self, String> {
        let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
        let from_value = |name: &str| object.get(name).is_some_and(|turns| turns[0].get("from").is_some());
        let layout = if has("chosen_messages") && has("rejected_messages") {
            Self::MessagesPreference
        } else if has("chosen") && has("rejected") {
            if from_value("conversations") { Self::ShareGptPreference } else { Self::Preference }
        } else if has("messages") || (has("conversations") && !from_value("conversations")) {
            Self::Messages
        } else if has("conversations") {
            Self::ShareGpt
        } else if has("prompt") && object["prompt"].get("replies").is_some() {
            Self::Tree
        } else if has("prompt") && (has("completion") || has("response")) {
            Self::PromptCompletion
        } else if has("instruction") && has("instances") {
            Self::Instances
        } else if has("instruction") && object.contains_key("output") {
            Self::Alpaca
        } else if has("text") || has("content") {
            Self::Text
        } else if has("instruction") {
            Self::Instruction
        } else {
            let names: Vec<&str> = object.keys().map(String::as_str).collect();
            return Err(format!(
                "no layout has the fields {names:?}; expected messages, conversations, prompt and completion, instruction and output, chosen and rejected, or text"
            ));
        };
        Ok(layout)
    }

    /// One row; the error says what was expected.
    pub(crate) fn row(self, mut object: Object) -> Result<Row, String> {
        match self {
            Self::Messages => {
                let value = object.remove("messages").or_else(|| object.remove("conversations"));
                chat(messages(&value.unwrap_or_default(), "messages")?, object)
            }
            Self::ShareGpt => {
                let turns = object.remove("conversations").unwrap_or_default();
                let mut list = system(&mut object);
                list.extend(messages(&turns, "conversations")?);
                chat(list, object)
            }
            Self::Alpaca => alpaca(object),
            Self::Instances => instances(object),
            Self::PromptCompletion => prompt_completion(object),
            Self::Preference => preference(object),
            Self::ShareGptPreference => {
                let prompt = messages(&object.remove("conversations").unwrap_or_default(), "conversations")?;
                let mut reply =
                    |name: &str| Ok(vec![message(&object.remove(name).unwrap_or_default(), name)?]);
                let (chosen, rejected): (_, Result<_, String>) = (reply("chosen")?, reply("rejected"));
                Ok(Row::Preference(PreferenceRow { prompt, chosen, rejected: rejected?, metadata: object }))
            }
            Self::MessagesPreference => {
                let mut whole = |name: &str| messages(&object.remove(name).unwrap_or_default(), name);
                let (chosen, rejected) = (whole("chosen_messages")?, whole("rejected_messages")?);
                split_preference(chosen, rejected, object)
            }
            Self::Tree => tree(object),
            Self::Instruction => {
                let instruction = text(&mut object, "instruction")?;
                chat(vec![Message::new("user", instruction)], object)
            }
            Self::Text => {
                let content = object.contains_key("content") && !object.contains_key("text");
                let name = if content { "content" } else { "text" };
                let text = text(&mut object, name)?;
                Ok(Row::Text(TextRow { text, metadata: object }))
            }
        }
    }
}

fn chat(messages: Vec<Message>, metadata: Object) -> Result<Row, String> {
    if messages.is_empty() {
        return Err("the conversation has no message".to_owned());
    }
    Ok(Row::Chat(ChatRow { messages, metadata }))
}

fn text(object: &mut Object, name: &str) -> Result<String, String> {
    match object.remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{name} is {other}; expected a string")),
        None => Err(format!("has no {name}, which earlier rows of this file have")),
    }
}

fn optional_text(object: &mut Object, name: &str) -> Option<String> {
    match object.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn system(object: &mut Object) -> Vec<Message> {
    optional_text(object, "system").map(|text| Message::new("system", text)).into_iter().collect()
}

fn messages(value: &Value, name: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::Array(turns) => turns.iter().map(|turn| message(turn, name)).collect(),
        other => Err(format!("{name} is {}; expected a list of messages", short(other))),
    }
}

/// A message in OpenAI's or ShareGPT's words; content may come in parts.
fn message(value: &Value, name: &str) -> Result<Message, String> {
    let role = value["role"].as_str().or_else(|| value["from"].as_str());
    let Some(role) = role else {
        return Err(format!("a message of {name} is {}; expected a role (or from)", short(value)));
    };
    let content = match value.get("content").or_else(|| value.get("value")) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .map(|part| {
                let text = part["text"].as_str().or_else(|| part["value"].as_str());
                text.ok_or_else(|| format!("a content part of {name} is {}; expected text", short(part)))
            })
            .collect::<Result<String, _>>()?,
        None | Some(Value::Null) if value.get("tool_calls").is_some() => String::new(),
        other => {
            return Err(format!(
                "a message of {name} has the content {}; expected a string",
                short(other.unwrap_or(&Value::Null))
            ));
        }
    };
    let role = match role {
        "human" | "prompter" => "user",
        "gpt" | "function_call" | "model" => "assistant",
        "observation" | "function" => "tool",
        other => other,
    };
    let tool_calls = value.get("tool_calls").filter(|calls| !calls.is_null()).cloned();
    Ok(Message { role: role.to_owned(), content, tool_calls })
}

fn alpaca(mut object: Object) -> Result<Row, String> {
    let mut list = system(&mut object);
    if let Some(Value::Array(turns)) = object.remove("history") {
        for turn in turns {
            let side = |index: usize| {
                turn[index].as_str().map(str::to_owned).ok_or("history is not pairs of strings")
            };
            list.push(Message::new("user", side(0)?));
            list.push(Message::new("assistant", side(1)?));
        }
    }
    let instruction = text(&mut object, "instruction")?;
    let user = match optional_text(&mut object, "input") {
        Some(input) => format!("{instruction}\n\n{input}"),
        None => instruction,
    };
    list.push(Message::new("user", user));
    list.push(Message::new("assistant", text(&mut object, "output")?));
    chat(list, object)
}

fn instances(mut object: Object) -> Result<Row, String> {
    let instruction = text(&mut object, "instruction")?;
    let first = object.remove("instances").unwrap_or_default()[0].clone();
    let side = |name: &str| first[name].as_str().ok_or_else(|| format!("the first instance has no {name}"));
    let user = match side("input")? {
        "" => instruction,
        input => format!("{instruction}\n\n{input}"),
    };
    chat(vec![Message::new("user", user), Message::new("assistant", side("output")?)], object)
}

/// A string is one turn of `role`; a list is messages.
fn turns(value: &Value, role: &str, name: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::String(text) => Ok(vec![Message::new(role, text.as_str())]),
        Value::Object(_) => Ok(vec![message(value, name)?]),
        list => messages(list, name),
    }
}

fn prompt_completion(mut object: Object) -> Result<Row, String> {
    let mut list = system(&mut object);
    list.extend(turns(&object.remove("prompt").unwrap_or_default(), "user", "prompt")?);
    let completion = object.remove("completion").or_else(|| object.remove("response")).unwrap_or_default();
    list.extend(turns(&completion, "assistant", "completion")?);
    chat(list, object)
}

fn preference(mut object: Object) -> Result<Row, String> {
    let (chosen, rejected) =
        (object.remove("chosen").unwrap_or_default(), object.remove("rejected").unwrap_or_default());
    let transcript = |value: &Value| value.as_str().and_then(transcript);
    let prompt =
        object.remove("prompt").or_else(|| object.remove("question")).filter(|value| !value.is_null());
    if prompt.is_none()
        && let (Some(chosen), Some(rejected)) = (transcript(&chosen), transcript(&rejected))
    {
        return split_preference(chosen, rejected, object);
    }
    let chosen = turns(&chosen, "assistant", "chosen")?;
    let rejected = turns(&rejected, "assistant", "rejected")?;
    if chosen.len() > 1 && rejected.len() > 1 {
        return split_preference(chosen, rejected, object);
    }
    let mut list = system(&mut object);
    list.extend(turns(
        &prompt.ok_or("has no prompt, and chosen and rejected are not conversations")?,
        "user",
        "prompt",
    )?);
    Ok(Row::Preference(PreferenceRow { prompt: list, chosen, rejected, metadata: object }))
}

/// Two whole conversations: the prompt is what they share.
fn split_preference(
    mut chosen: Vec<Message>,
    mut rejected: Vec<Message>,
    metadata: Object,
) -> Result<Row, String> {
    let shared = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
    // Equal conversations still end in a reply each.
    let shared = shared.min(chosen.len().saturating_sub(1)).min(rejected.len().saturating_sub(1));
    if shared == 0 {
        return Err("chosen and rejected do not begin alike".to_owned());
    }
    let chosen_reply = chosen.split_off(shared);
    Ok(Row::Preference(PreferenceRow {
        prompt: chosen,
        chosen: chosen_reply,
        rejected: rejected.split_off(shared),
        metadata,
    }))
}

/// Anthropic's transcripts: turns that begin with a blank line and "Human:" or "Assistant:".
fn transcript(text: &str) -> Option<Vec<Message>> {
    let mut list = Vec::new();
    let mut rest = text.strip_prefix("\n\nHuman:")?;
    let mut role = "user";
    loop {
        let next = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")]
            .into_iter()
            .filter_map(|(mark, next_role)| rest.find(mark).map(|start| (start, mark, next_role)))
            .min();
        let Some((start, mark, next_role)) = next else {
            list.push(Message::new(role, rest.trim()));
            return Some(list);
        };
        list.push(Message::new(role, rest[..start].trim()));
        rest = &rest[start + mark.len()..];
        role = next_role;
    }
}

/// The first reply of each turn, which Open-Assistant's exports put best-ranked first.
fn tree(mut object: Object) -> Result<Row, String> {
    let root = object.remove("prompt").unwrap_or_default();
    let mut list = Vec::new();
    let mut node = &root;
    loop {
        let role = if node["role"] == "assistant" { "assistant" } else { "user" };
        let text = node["text"].as_str().ok_or("a message of the tree has no text")?;
        list.push(Message::new(role, text));
        match node["replies"].get(0) {
            Some(reply) => node = reply,
            None => return chat(list, object),
        }
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
