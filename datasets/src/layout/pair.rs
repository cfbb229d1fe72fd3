//! A prompt with its reply in columns of their own, under the many names that these have.

use super::message::{Object, chat, messages, optional_text, short, system, text, turns};
use super::transcript;
use crate::row::{Message, Row};
use serde_json::{Value, json};

/// The columns of prompts.
pub(super) const PROMPTS: [&str; 6] = ["prompt", "instruction", "question", "query", "problem", "input"];
/// The columns of replies.
const REPLIES: [&str; 7] = ["completion", "response", "output", "answer", "generation", "solution", "reply"];
/// Pairs that come before others: where a row has `instruction` and `prompt`, the prompt is often all of it as one text.
const FIRST: [(&str, &str); 4] =
    [("prompt", "completion"), ("prompt", "response"), ("query", "response"), ("question", "answer")];
/// The order in which other columns of prompts are looked for.
const OTHERS: [&str; 6] = ["instruction", "question", "query", "problem", "prompt", "input"];

/// The columns of a prompt and its reply; a reply may be null where the column is there.
pub(super) fn columns(object: &Object) -> Option<(&'static str, &'static str)> {
    let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
    let all = || OTHERS.into_iter().flat_map(|prompt| REPLIES.into_iter().map(move |reply| (prompt, reply)));
    let filled = FIRST.into_iter().chain(all()).find(|(prompt, reply)| has(prompt) && has(reply));
    filled.or_else(|| {
        FIRST.into_iter().chain(all()).find(|(prompt, reply)| has(prompt) && object.contains_key(*reply))
    })
}

/// A conversation of one prompt and its reply, after a system message and earlier turns if the row has them.
pub(super) fn row(mut object: Object) -> Result<Row, String> {
    let (prompt, reply) =
        columns(&object).ok_or("has no prompt with a reply, which earlier rows of this file have")?;
    let answer = object.remove(reply).unwrap_or_default();
    let mut list = prompt_of(&mut object, prompt)?;
    match answer {
        Value::Null => return Err(format!("{reply} is null; expected a string")),
        answer => list.extend(turns(&answer, "assistant", reply)?),
    }
    chat(list, object)
}

/// The messages up to the user's last: system message, earlier turns, the prompt with its context.
pub(super) fn prompt_of(object: &mut Object, name: &str) -> Result<Vec<Message>, String> {
    let mut list = system(object)?;
    if let Some(Value::Array(pairs)) = object.remove("history") {
        for pair in pairs {
            let side = |index: usize| {
                pair[index].as_str().map(str::to_owned).ok_or("history is not pairs of strings")
            };
            list.push(Message::new("user", side(0)?));
            list.push(Message::new("assistant", side(1)?));
        }
    }
    let value = object.remove(name).unwrap_or_default();
    let context = context(object, name)?;
    let prompt = match (&value, context) {
        (Value::String(text), None) => match transcript::anthropic(text) {
            Some(mut turns) => {
                // The reply follows.
                turns.pop_if(|last| last.role == "assistant" && last.content.is_empty());
                turns
            }
            None => vec![Message::new("user", text.as_str())],
        },
        (Value::String(text), Some(context)) if text.is_empty() => vec![Message::new("user", context)],
        (Value::String(text), Some(context)) => vec![Message::new("user", format!("{text}\n\n{context}"))],
        (_, Some(_)) => {
            return Err(format!("{name} is {} beside a context; expected a string", short(&value)));
        }
        (_, None) => turns(&value, "user", name)?,
    };
    list.extend(prompt);
    Ok(list)
}

/// What a prompt refers to: a text, or several.
fn context(object: &mut Object, prompt: &str) -> Result<Option<String>, String> {
    for name in ["input", "context"].into_iter().filter(|name| *name != prompt) {
        if let Some(Value::Array(texts)) = object.get(name)
            && name == "context"
            && texts.iter().all(Value::is_string)
        {
            let joined = texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n\n");
            object.remove(name);
            return Ok(Some(joined).filter(|text| !text.is_empty()));
        }
        if let Some(text) = optional_text(object, name)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Self-instruct's seeds: an instruction with several pairs of input and output, of which the first is taken.
pub(super) fn instances(mut object: Object) -> Result<Row, String> {
    let instruction = text(&mut object, "instruction")?;
    let first = object.remove("instances").unwrap_or_default()[0].clone();
    let side = |name: &str| first[name].as_str().ok_or_else(|| format!("the first instance has no {name}"));
    let user = match side("input")? {
        "" => instruction,
        input => format!("{instruction}\n\n{input}"),
    };
    chat(vec![Message::new("user", user), Message::new("assistant", side("output")?)], object)
}

/// Salesforce's xLAM: a query, and the calls that answer it.
pub(super) fn xlam(mut object: Object) -> Result<Row, String> {
    let query = text(&mut object, "query")?;
    let answers = match object.remove("answers").unwrap_or_default() {
        Value::String(text) => {
            serde_json::from_str(&text).map_err(|error| format!("answers is not JSON ({error})"))?
        }
        list => list,
    };
    let calls = answers.as_array().filter(|calls| calls.iter().all(|call| call["name"].is_string()));
    let Some(calls) = calls else {
        return Err(format!("answers is {}; expected a list of calls with a name", short(&answers)));
    };
    let calls = calls.iter().map(|call| json!({"type": "function", "function": call})).collect();
    let reply = Message { tool_calls: Some(calls), ..Message::new("assistant", "") };
    chat(vec![Message::new("user", query), reply], object)
}

/// Gemini's rows: `contents`, and a `systemInstruction`.
pub(super) fn gemini(mut object: Object) -> Result<Row, String> {
    let mut list = Vec::new();
    for name in ["systemInstruction", "system_instruction"] {
        if let Some(Value::Object(mut instruction)) = object.remove(name) {
            instruction.insert("role".to_owned(), "system".into());
            list.extend(messages(&json!([instruction]), name)?);
        }
    }
    list.extend(messages(&object.remove("contents").unwrap_or_default(), "contents")?);
    chat(list, object)
}
