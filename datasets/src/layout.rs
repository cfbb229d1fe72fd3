//! The common layouts of rows, recognized from a file's first row and converted to [`Row`].

use crate::row::{ChatRow, Message, PreferenceRow, Row, TextRow};
use message::{Object, message, messages, optional_text, system, text, turns};
use serde_json::Value;

mod message;

/// The layout of a file's rows.
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
    /// `prompt` and `completion` (also `prompt`/`response`, `query`/`response`, `question`/`answer`), strings or
    /// messages.
    PromptCompletion,
    /// `chosen` and `rejected`, with a `prompt` or with the same start.
    Preference,
    /// `conversations` and two last messages, `chosen` and `rejected` (from and value).
    ShareGptPreference,
    /// `chosen_messages` and `rejected_messages`.
    MessagesPreference,
    /// Open-Assistant trees: `prompt` with `replies`.
    Tree,
    /// `instruction` alone: a prompt without a reply.
    Instruction,
    /// `text` (or `content`, or `code`).
    Text,
}

/// The column names of a prompt and its completion.
const PAIRS: [(&str, &str); 4] =
    [("prompt", "completion"), ("prompt", "response"), ("query", "response"), ("question", "answer")];

impl Layout {
    /// The layout of an object; the error names its fields.
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
        } else if PAIRS.iter().any(|(prompt, completion)| has(prompt) && has(completion)) {
            Self::PromptCompletion
        } else if has("instruction") && has("instances") {
            Self::Instances
        } else if has("instruction") && object.contains_key("output") {
            Self::Alpaca
        } else if has("text") || has("content") || has("code") {
            Self::Text
        } else if has("instruction") {
            Self::Instruction
        } else {
            let names: Vec<&str> = object.keys().map(String::as_str).take(8).collect();
            let more = if object.len() > names.len() { ", among others" } else { "" };
            return Err(format!(
                "no layout has the fields {names:?}{more}; expected `messages`, `conversations`, `prompt` and `completion`, `instruction` and `output`, `chosen` and `rejected`, or `text`"
            ));
        };
        Ok(layout)
    }

    /// One row; the error states what was expected.
    pub(crate) fn row(self, mut object: Object) -> Result<Row, String> {
        match self {
            Self::Messages => {
                let value = object.remove("messages").or_else(|| object.remove("conversations"));
                chat(messages(&value.unwrap_or_default(), "messages")?, object)
            }
            Self::ShareGpt => {
                let turns = object.remove("conversations").unwrap_or_default();
                let mut list = system(&mut object)?;
                list.extend(messages(&turns, "conversations")?);
                chat(list, object)
            }
            Self::Alpaca => alpaca(object),
            Self::Instances => instances(object),
            Self::PromptCompletion => prompt_completion(object),
            Self::Preference => preference(object),
            Self::ShareGptPreference => {
                let mut prompt = system(&mut object)?;
                let turns = object.remove("conversations").unwrap_or_default();
                prompt.extend(messages(&turns, "conversations")?);
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
                let names = ["text", "content", "code"];
                let name = names.into_iter().find(|name| object.contains_key(*name)).unwrap_or("text");
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

fn alpaca(mut object: Object) -> Result<Row, String> {
    let mut list = system(&mut object)?;
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
    let user = match optional_text(&mut object, "input")? {
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

fn prompt_completion(mut object: Object) -> Result<Row, String> {
    let pair = PAIRS.iter().find(|(one, two)| object.contains_key(*one) && object.contains_key(*two));
    let (prompt, completion) = pair.ok_or("has no prompt and completion, which earlier rows have")?;
    let mut list = system(&mut object)?;
    list.extend(turns(&object.remove(*prompt).unwrap_or_default(), "user", prompt)?);
    list.extend(turns(&object.remove(*completion).unwrap_or_default(), "assistant", completion)?);
    chat(list, object)
}

/// A pair with a prompt, or two conversations with the same start.
fn preference(mut object: Object) -> Result<Row, String> {
    let (chosen, rejected) =
        (object.remove("chosen").unwrap_or_default(), object.remove("rejected").unwrap_or_default());
    let prompt = object.remove("prompt").filter(|value| !value.is_null());
    let prompt = prompt.or_else(|| object.remove("question").filter(|value| !value.is_null()));
    let transcript = |value: &Value| value.as_str().and_then(transcript);
    if prompt.is_none()
        && let (Some(chosen), Some(rejected)) = (transcript(&chosen), transcript(&rejected))
    {
        return split_preference(chosen, rejected, object);
    }
    let chosen = turns(&chosen, "assistant", "chosen")?;
    let rejected = turns(&rejected, "assistant", "rejected")?;
    // A reply starts with the assistant; any other list repeats the conversation.
    let is_whole = |list: &[Message]| list.first().is_some_and(|first| first.role != "assistant");
    match prompt {
        _ if is_whole(&chosen) && is_whole(&rejected) => split_preference(chosen, rejected, object),
        None => Err("has no `prompt`, and `chosen` and `rejected` are not conversations".to_owned()),
        Some(prompt) => {
            let mut list = system(&mut object)?;
            list.extend(turns(&prompt, "user", "prompt")?);
            Ok(Row::Preference(PreferenceRow { prompt: list, chosen, rejected, metadata: object }))
        }
    }
}

/// Two whole conversations: the prompt is their common start.
fn split_preference(
    mut chosen: Vec<Message>,
    mut rejected: Vec<Message>,
    metadata: Object,
) -> Result<Row, String> {
    let shared = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b).count();
    // Each of two equal conversations still ends in a reply.
    let shared = shared.min(chosen.len().saturating_sub(1)).min(rejected.len().saturating_sub(1));
    if shared == 0 {
        return Err("`chosen` and `rejected` do not start with the same message".to_owned());
    }
    let chosen_reply = chosen.split_off(shared);
    Ok(Row::Preference(PreferenceRow {
        prompt: chosen,
        chosen: chosen_reply,
        rejected: rejected.split_off(shared),
        metadata,
    }))
}

/// Anthropic's transcripts: messages that start with a blank line and "Human:" or "Assistant:".
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

/// The conversation along the first reply to each message; Open-Assistant's exports order replies by rank.
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
