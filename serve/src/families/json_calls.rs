//! One call, or one list of calls, at the beginning of a text.

use super::cursor::{Call, Cursor, Stop, Tools, typed};
use super::gemma;
use crate::traits::CallFormat;
use serde_json::{Map, Value};

pub(super) const DEEPSEEK_CALLS: &str = "<｜tool▁calls▁begin｜>";
pub(super) const DEEPSEEK_CALL: &str = "<｜tool▁call▁begin｜>";
const DEEPSEEK_SEPARATOR: &str = "<｜tool▁sep｜>";
const DEEPSEEK_CALL_END: &str = "<｜tool▁call▁end｜>";
const DEEPSEEK_CALLS_END: &str = "<｜tool▁calls▁end｜>";

/// What a text begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parsed {
    /// More text is needed.
    Incomplete,
    /// No call: so many bytes are text.
    Text(usize),
    /// Calls, as names and arguments, in so many bytes.
    Calls { calls: Vec<(String, String)>, length: usize },
}

/// Reads what a held text begins with. At the end of an answer, a closing tag may be missing.
pub(super) fn parse(format: CallFormat, text: &str, tools: &Tools, has_ended: bool) -> Parsed {
    let mut cursor = Cursor { text, position: 0, has_ended };
    let calls = match format {
        _ if text.starts_with("<tool_call>") => tagged(&mut cursor, tools),
        CallFormat::DeepSeek => deepseek(&mut cursor, tools),
        CallFormat::Mistral => mistral(&mut cursor, tools),
        CallFormat::Gemma => gemma::call(&mut cursor, tools),
        CallFormat::Hermes | CallFormat::Llama | CallFormat::QwenCoder => {
            cursor.skip("<|python_tag|>");
            if cursor.rest().starts_with("<function=") {
                function(&mut cursor, tools).map(|call| vec![call])
            } else {
                json_calls(&mut cursor, tools)
            }
        }
    };
    match calls {
        Ok(calls) => Parsed::Calls { calls, length: cursor.position },
        Err(Stop::Incomplete) if !has_ended => Parsed::Incomplete,
        // The marker is text; what follows may still have a call.
        Err(_) => Parsed::Text(text.chars().next().map_or(0, char::len_utf8)),
    }
}

/// `<tool_call>` with JSON or with a function in it.
fn tagged(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.expect("<tool_call>")?;
    cursor.skip_space();
    let calls = if cursor.rest().starts_with(['{', '[']) {
        json_calls(cursor, tools)?
    } else {
        vec![function(cursor, tools)?]
    };
    cursor.close("</tool_call>")?;
    Ok(calls)
}

/// `<function=name>` with parameters in tags of their own, or with JSON.
fn function(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Call, Stop> {
    cursor.expect("<function=")?;
    let name = cursor.until(">")?.trim().to_owned();
    let schema = tools.get(&name).ok_or(Stop::NoCall)?;
    cursor.skip_space();
    if cursor.rest().starts_with('{') {
        let arguments = cursor.json()?;
        cursor.close("</function>")?;
        return Ok((name, arguments.to_string()));
    }
    let mut arguments = Map::new();
    loop {
        cursor.skip_space();
        if !cursor.skip_whole("<parameter=")? {
            cursor.close("</function>")?;
            return Ok((name, Value::Object(arguments).to_string()));
        }
        let key = cursor.until(">")?.trim().to_owned();
        let value = cursor.until("</parameter>")?;
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let kind = schema.as_ref().and_then(|schema| schema.get("properties")).map(|all| &all[&key]["type"]);
        arguments.insert(key, typed(value, kind));
    }
}

/// An object or a list of objects with a name and arguments.
fn json_calls(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    let call = |value: &Value| {
        let function = value.get("function").filter(|function| function.is_object()).unwrap_or(value);
        let name = function.get("name").and_then(Value::as_str).filter(|name| tools.contains_key(*name))?;
        let arguments = match function.get("arguments").or(function.get("parameters")) {
            Some(Value::Object(arguments)) => Value::Object(arguments.clone()).to_string(),
            // Some models write the arguments as a string of JSON.
            Some(Value::String(text)) => {
                serde_json::from_str::<Map<String, Value>>(text).ok().map(|_| text.clone())?
            }
            Some(Value::Null) | None => "{}".to_owned(),
            Some(_) => return None,
        };
        Some((name.to_owned(), arguments))
    };
    let calls = match cursor.json()? {
        Value::Array(items) if !items.is_empty() => items.iter().map(call).collect(),
        value @ Value::Object(_) => call(&value).map(|call| vec![call]),
        _ => None,
    };
    calls.ok_or(Stop::NoCall)
}

/// A list, or names each with its arguments; the marks around them are special tokens that may have no text.
fn mistral(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.skip("[TOOL_CALLS]");
    cursor.skip_space();
    if cursor.rest().is_empty() {
        return Err(Stop::Incomplete);
    }
    if cursor.rest().starts_with(['{', '[']) {
        return json_calls(cursor, tools);
    }
    let end = cursor.rest().find(['{', '[']).ok_or(Stop::Incomplete)?;
    let name = cursor.rest()[..end].trim().to_owned();
    if !tools.contains_key(&name) {
        return Err(Stop::NoCall);
    }
    cursor.position += end;
    if cursor.skip_whole("[CALL_ID]")? {
        let length = cursor.rest().find(['{', '[']).ok_or(Stop::Incomplete)?;
        cursor.position += length;
    }
    if cursor.rest().starts_with('[') {
        cursor.expect("[ARGS]")?;
    }
    match cursor.json()? {
        arguments @ Value::Object(_) => Ok(vec![(name, arguments.to_string())]),
        _ => Err(Stop::NoCall),
    }
}

/// Calls between tags; the arguments are JSON, in a block of code in the older versions.
fn deepseek(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.skip(DEEPSEEK_CALLS);
    let mut calls = Vec::new();
    loop {
        cursor.skip_space();
        if !calls.is_empty() {
            if cursor.rest().is_empty() && cursor.has_ended {
                return Ok(calls);
            }
            if cursor.skip(DEEPSEEK_CALLS_END) {
                return Ok(calls);
            }
            if !cursor.rest().starts_with(DEEPSEEK_CALL) {
                let is_beginning =
                    [DEEPSEEK_CALL, DEEPSEEK_CALLS_END].iter().any(|tag| tag.starts_with(cursor.rest()));
                return if is_beginning { Err(Stop::Incomplete) } else { Ok(calls) };
            }
        }
        cursor.expect(DEEPSEEK_CALL)?;
        let first = cursor.until(DEEPSEEK_SEPARATOR)?.trim();
        let name = if first == "function" { cursor.until("\n")?.trim() } else { first };
        if !tools.contains_key(name) {
            return Err(Stop::NoCall);
        }
        cursor.skip_space();
        let is_block = cursor.skip_whole("```json")?;
        cursor.skip_space();
        let arguments = cursor.json()?;
        if is_block {
            cursor.close("```")?;
        }
        cursor.close(DEEPSEEK_CALL_END)?;
        calls.push((name.to_owned(), arguments.to_string()));
    }
}
