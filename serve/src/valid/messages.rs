//! Messages in OpenAI's shape -> the messages a template sees.

use super::fields::{Fields, wrong};
use crate::error::ApiError;
use serde_json::{Value, json};
use smollm::Message;

/// Reads a conversation of at least one message.
pub(crate) fn messages(fields: &mut Fields, lenient: bool) -> Result<Vec<Message>, ApiError> {
    let name = fields.name("messages");
    let items = match fields.need("messages")? {
        Value::Array(items) if !items.is_empty() => items,
        Value::Array(_) => {
            return Err(ApiError::invalid(
                &name,
                format!("`{name}` is empty; expected at least one message"),
            ));
        }
        other => return Err(wrong(&name, &other, "an array of messages")),
    };
    let read = |(index, item)| message(Fields::inside(format!("{name}[{index}]"), item)?, lenient);
    items.into_iter().enumerate().map(read).collect()
}

fn message(mut fields: Fields, lenient: bool) -> Result<Message, ApiError> {
    let role = match fields.need_text("role")?.as_str() {
        // OpenAI's newer word for the same voice; no template knows it.
        "developer" => "system".to_owned(),
        role @ ("system" | "user" | "assistant" | "tool") => role.to_owned(),
        other => {
            let expected = "system, developer, user, assistant or tool";
            return Err(wrong(&fields.name("role"), &Value::from(other), expected));
        }
    };
    let tool_calls = if role == "assistant" { calls(&mut fields, lenient)? } else { None };
    let content = match fields.take("content") {
        Some(content) => text_of(&fields.name("content"), content, lenient)?,
        None if tool_calls.is_some() => String::new(),
        None => return Err(fields.need("content").err().unwrap_or_else(|| ApiError::body("no content"))),
    };
    let tool_call_id = if role == "tool" { Some(fields.need_text("tool_call_id")?) } else { None };
    let name = fields.text("name")?;
    for (field, harmless) in [("refusal", vec![]), ("audio", vec![]), ("annotations", vec![json!([])])] {
        fields.only(field, &harmless, "no template shows it to the model")?;
    }
    fields.only("function_call", &[], "it was replaced by tool_calls")?;
    fields.finish(lenient)?;
    Ok(Message { role, content, tool_calls, tool_call_id, name })
}

/// A text, or text parts put one after another.
pub(crate) fn text_of(name: &str, content: Value, lenient: bool) -> Result<String, ApiError> {
    let parts = match content {
        Value::String(text) => return Ok(text),
        Value::Array(parts) => parts,
        other => return Err(wrong(name, &other, "a string or an array of text parts")),
    };
    let part = |(index, part)| {
        let mut part = Fields::inside(format!("{name}[{index}]"), part)?;
        match part.need_text("type")?.as_str() {
            "text" | "input_text" | "output_text" => {
                let text = part.need_text("text")?;
                // Notes on an earlier answer, which says them no second time.
                part.list("annotations")?;
                part.list("logprobs")?;
                part.finish(lenient)?;
                Ok(text)
            }
            other => {
                let message =
                    format!("a part of type `{other}` cannot be read by these models; expected text");
                Err(ApiError::invalid(part.name("type"), message).with_code("unsupported_content"))
            }
        }
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// The calls an assistant made earlier, as OpenAI spells them; `None` where there are none.
fn calls(fields: &mut Fields, lenient: bool) -> Result<Option<Value>, ApiError> {
    let name = fields.name("tool_calls");
    let items = fields.list("tool_calls")?.unwrap_or_default();
    if items.is_empty() {
        return Ok(None);
    }
    let call = |(index, item)| {
        let mut call = Fields::inside(format!("{name}[{index}]"), item)?;
        let id = call.need_text("id")?;
        call.only("type", &[json!("function")], "tools are functions")?;
        // Its place in the stream it was collected from.
        call.integer("index", 0..=usize::MAX)?;
        let inner = call.name("function");
        let mut function = Fields::inside(inner, call.need("function")?)?;
        let (function_name, arguments) = (function.need_text("name")?, function.need_text("arguments")?);
        function.finish(lenient)?;
        call.finish(lenient)?;
        Ok(json!({"id": id, "type": "function", "function": {"name": function_name, "arguments": arguments}}))
    };
    items
        .into_iter()
        .enumerate()
        .map(call)
        .collect::<Result<Vec<Value>, ApiError>>()
        .map(|all| Some(all.into()))
}
