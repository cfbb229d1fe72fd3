//! Gemma's calls: `call:name{key:<|"|>text<|"|>,count:2}`, between tags that may have no text.
//!
//! Where the quotes are special tokens without text, too, a value ends at the next known parameter or at the bracket.

use super::cursor::{Call, Cursor, Stop, Tools, typed};
use super::family::Family;
use serde_json::{Map, Value};

/// The tags before a call and after it, of Gemma 4 and of FunctionGemma.
const OPENINGS: [&str; 2] = ["<|tool_call>", "<start_function_call>"];
const CLOSINGS: [&str; 2] = ["<tool_call|>", "<end_function_call>"];
const QUOTES: [&str; 2] = ["<|\"|>", "<escape>"];
/// What a call begins with.
const CALL: &str = "call:";

/// How deep values are read.
const MAX_DEPTH: usize = 64;

pub(super) static FAMILY: Family = Family {
    markers: &OPENINGS,
    at_start: &[CALL],
    tags: &[OPENINGS[0], OPENINGS[1], CLOSINGS[0], CLOSINGS[1], QUOTES[0], QUOTES[1]],
    ..Family::new("gemma", &["<|tool_call>call:", "<start_function_call>"], call)
};

/// Reads one call.
fn call(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    let _ = OPENINGS.iter().any(|tag| cursor.skip(tag));
    cursor.skip_space();
    cursor.expect(CALL)?;
    let name = cursor.until("{")?.trim().to_owned();
    let schema = tools.get(&name).ok_or(Stop::NoCall)?;
    let properties = schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
    let arguments = object(cursor, properties, 0)?;
    for tag in CLOSINGS {
        if cursor.skip_whole(tag)? {
            break;
        }
    }
    Ok(vec![(name, Value::Object(arguments).to_string())])
}

/// The entries of an object whose bracket was read.
fn object(
    cursor: &mut Cursor<'_>,
    properties: Option<&Map<String, Value>>,
    depth: usize,
) -> Result<Map<String, Value>, Stop> {
    let mut entries = Map::new();
    loop {
        cursor.skip_space();
        if cursor.skip("}") {
            return Ok(entries);
        }
        cursor.skip(",");
        cursor.skip_space();
        let key = match quoted(cursor)? {
            Some(key) => {
                cursor.expect(":")?;
                key.to_owned()
            }
            None => cursor.until(":")?.trim().to_owned(),
        };
        let schema = properties.and_then(|properties| properties.get(&key));
        let value = value(cursor, schema, properties, depth + 1)?;
        entries.insert(key, value);
    }
}

fn value(
    cursor: &mut Cursor<'_>,
    schema: Option<&Value>,
    siblings: Option<&Map<String, Value>>,
    depth: usize,
) -> Result<Value, Stop> {
    if depth > MAX_DEPTH {
        return Err(Stop::NoCall);
    }
    cursor.skip_space();
    if let Some(text) = quoted(cursor)? {
        return Ok(text.into());
    }
    if cursor.skip("{") {
        let properties = schema.and_then(|schema| schema.get("properties")?.as_object());
        return object(cursor, properties, depth).map(Value::Object);
    }
    if cursor.skip("[") {
        return list(cursor, schema.and_then(|schema| schema.get("items")), depth).map(Value::Array);
    }
    let text = bare(cursor, siblings)?;
    Ok(match (text, schema.map(|schema| &schema["type"])) {
        (text, Some(kind)) => typed(text, Some(kind)),
        (text, None) => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    })
}

fn list(cursor: &mut Cursor<'_>, items: Option<&Value>, depth: usize) -> Result<Vec<Value>, Stop> {
    let mut values = Vec::new();
    loop {
        cursor.skip_space();
        if cursor.skip("]") {
            return Ok(values);
        }
        // A value that ends at another bracket is empty from there on, and would be read for ever.
        if !values.is_empty() {
            cursor.expect(",")?;
        }
        values.push(value(cursor, items, None, depth + 1)?);
    }
}

/// A text between quotes, if one is next.
fn quoted<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a str>, Stop> {
    for quote in QUOTES {
        if cursor.skip_whole(quote)? {
            return cursor.until(quote).map(Some);
        }
    }
    Ok(None)
}

/// A value without quotes: up to the bracket that ends what it is in, or to the comma before the next entry. In an object
/// whose parameters are known, other commas are part of the text.
fn bare<'a>(cursor: &mut Cursor<'a>, siblings: Option<&Map<String, Value>>) -> Result<&'a str, Stop> {
    let rest = cursor.rest();
    let is_next = |after: &str| match siblings {
        Some(known) => known.keys().any(|key| after.trim_start().starts_with(&format!("{key}:"))),
        None => true,
    };
    let ends = |(index, character): &(usize, char)| match character {
        '}' | ']' => true,
        ',' => is_next(&rest[index + 1..]),
        _ => false,
    };
    let (end, _) = rest.char_indices().find(ends).ok_or(Stop::Incomplete)?;
    cursor.position += end;
    Ok(rest[..end].trim())
}
