//! Messages in OpenAI's shape -> the messages that a template renders.

use crate::error::ApiError;
use crate::fields::{Fields, wrong};
use checkpoint::Message;
use serde_json::{Value, json};

/// Takes a conversation of at least one message.
pub(super) fn messages(fields: &mut Fields, lenient: bool) -> Result<Vec<Message>, ApiError> {
    let name = fields.name("messages");
    let items = match fields.need("messages")? {
        Value::Array(items) if !items.is_empty() => items,
        Value::Array(_) => {
            let message = format!("`{name}` is empty; expected at least one message");
            return Err(ApiError::invalid(&name, message));
        }
        other => return Err(wrong(&name, &other, "an array of messages")),
    };
    let read = |(index, item)| message(Fields::nested(format!("{name}[{index}]"), item)?, lenient);
    items.into_iter().enumerate().map(read).collect()
}

fn message(mut fields: Fields, lenient: bool) -> Result<Message, ApiError> {
    let role = match fields.need_text("role")?.as_str() {
        // OpenAI's newer name of the role; no template knows it.
        "developer" => "system".to_owned(),
        role @ ("system" | "user" | "assistant" | "tool") => role.to_owned(),
        other => {
            let expected = "`system`, `developer`, `user`, `assistant` or `tool`";
            return Err(wrong(&fields.name("role"), &Value::from(other), expected));
        }
    };
    let tool_calls = if role == "assistant" { calls(&mut fields, lenient)? } else { None };
    let content = match (fields.get("content"), &tool_calls) {
        (None, Some(_)) => String::new(),
        _ => {
            let content = fields.need("content")?;
            text_of(&fields.name("content"), content, lenient)?
        }
    };
    let tool_call_id = if role == "tool" { Some(fields.need_text("tool_call_id")?) } else { None };
    let name = fields.text("name")?;
    let reasoning_content = if role == "assistant" { reasoning(&mut fields)? } else { None };
    for (field, accepted) in [("refusal", vec![]), ("audio", vec![]), ("annotations", vec![json!([])])] {
        fields.neutral(field, &accepted, "no template shows it to the model")?;
    }
    fields.neutral("function_call", &[], "use `tool_calls`")?;
    fields.finish(lenient)?;
    Ok(Message { role, content, tool_calls, tool_call_id, name, reasoning_content, ..Message::default() })
}

/// Takes what an assistant thought, in llama.cpp's and in vLLM's spelling.
fn reasoning(fields: &mut Fields) -> Result<Option<String>, ApiError> {
    let older = fields.text("reasoning")?;
    Ok(fields.text("reasoning_content")?.or(older))
}

/// Reads a text, or joins text parts.
pub(super) fn text_of(name: &str, content: Value, lenient: bool) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => return Err(wrong(name, &other, "a string or an array of text parts")),
    };
    let part = |(index, part)| {
        let mut part = Fields::nested(format!("{name}[{index}]"), part)?;
        match part.need_text("type")?.as_str() {
            "text" | "input_text" | "output_text" => {
                let text = part.need_text("text")?;
                // Notes on an earlier answer; the model does not see them.
                part.list("annotations")?;
                part.list("logprobs")?;
                // Prefixes are kept without being asked to.
                part.object("cache_control")?;
                part.finish(lenient)?;
                Ok(text)
            }
            other => {
                let message = format!("these models cannot read a part of type `{other}`; expected `text`");
                Err(ApiError::invalid(part.name("type"), message).with_code("unsupported_content"))
            }
        }
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// Takes the calls that an assistant made earlier; `None` where there are none.
fn calls(fields: &mut Fields, lenient: bool) -> Result<Option<Value>, ApiError> {
    let name = fields.name("tool_calls");
    let items = fields.list("tool_calls")?.unwrap_or_default();
    if items.is_empty() {
        return Ok(None);
    }
    let call = |(index, item)| {
        let mut call = Fields::nested(format!("{name}[{index}]"), item)?;
        let id = call.need_text("id")?;
        call.neutral("type", &[json!("function")], "tools are functions")?;
        // Its position in the stream it was collected from.
        call.integer("index", 0..=usize::MAX)?;
        let inner = call.name("function");
        let mut function = Fields::nested(inner, call.need("function")?)?;
        let (function_name, arguments) = (function.need_text("name")?, function.need_text("arguments")?);
        function.finish(lenient)?;
        call.finish(lenient)?;
        Ok(json!({"id": id, "type": "function", "function": {"name": function_name, "arguments": arguments}}))
    };
    let calls = items.into_iter().enumerate().map(call).collect::<Result<Vec<Value>, ApiError>>();
    calls.map(|calls| Some(calls.into()))
}
