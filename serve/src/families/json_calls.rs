//! Calls as JSON: an object or a list of objects, each with a name and arguments.

use super::cursor::{Call, Cursor, Stop, Tools};
use serde_json::{Map, Value};

/// An object or a list of objects with a name and arguments.
pub(super) fn json_calls(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    let calls = match cursor.json()? {
        Value::Array(items) if !items.is_empty() => items.iter().map(|item| call(item, tools)).collect(),
        value @ Value::Object(_) => call(&value, tools).map(|call| vec![call]),
        _ => None,
    };
    calls.ok_or(Stop::NoCall)
}

/// The same between two tags, of which the second may be missing at an answer's end.
pub(super) fn between(
    cursor: &mut Cursor<'_>,
    tools: &Tools,
    open: &str,
    close: &str,
) -> Result<Vec<Call>, Stop> {
    cursor.expect(open)?;
    cursor.skip_space();
    let mut calls = json_calls(cursor, tools)?;
    loop {
        cursor.skip_space();
        // MiniMax M1 writes one object a line instead of a list.
        if !cursor.rest().starts_with('{') {
            break;
        }
        calls.extend(json_calls(cursor, tools)?);
    }
    cursor.close(close)?;
    Ok(calls)
}

/// One call, in the spelling of any family that writes JSON.
fn call(value: &Value, tools: &Tools) -> Option<Call> {
    let function = value.get("function").filter(|function| function.is_object()).unwrap_or(value);
    let name = function.get("name").or(function.get("tool_name")).and_then(Value::as_str);
    let name = name.filter(|name| tools.contains_key(*name))?;
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
}
