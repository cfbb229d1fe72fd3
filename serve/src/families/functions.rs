//! `<tool_call>` with JSON or with a function in it, and functions in tags.

use super::cursor::{Call, Cursor, Stop, Tools, typed};
use super::hermes::TAG;
use super::json_calls::json_calls;
use serde_json::{Map, Value};

/// `<tool_call>` with JSON or with a function in it.
pub(super) fn tagged(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.expect(TAG)?;
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
pub(super) fn function(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Call, Stop> {
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
        let value = without_line_ends(cursor.until("</parameter>")?);
        let kind = kind_of(schema.as_ref(), &key);
        arguments.insert(key, typed(value, kind));
    }
}

/// A value without the line ends that templates put around it.
pub(super) fn without_line_ends(value: &str) -> &str {
    let value = value.strip_prefix('\n').unwrap_or(value);
    value.strip_suffix('\n').unwrap_or(value)
}

/// The type that the schema of a tool's parameters has for one of them.
pub(super) fn kind_of<'a>(schema: Option<&'a Map<String, Value>>, key: &str) -> Option<&'a Value> {
    schema.and_then(|schema| schema.get("properties")).map(|all| &all[key]["type"])
}
