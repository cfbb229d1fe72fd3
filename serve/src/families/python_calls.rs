//! Calls as Python writes them: `name(key="value", count=2, exact=True, places=["a"])`.

use super::cursor::{Call, Cursor, Stop, Tools};
use serde_json::{Map, Value};

/// How deep values are read.
const MAX_DEPTH: usize = 64;

/// Calls between brackets, separated by commas.
pub(super) fn list_of_calls(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.expect("[")?;
    let mut calls = Vec::new();
    loop {
        cursor.skip_space();
        if !calls.is_empty() {
            if cursor.skip("]") {
                return Ok(calls);
            }
            cursor.expect(",")?;
            cursor.skip_space();
        }
        calls.push(call(cursor, tools)?);
    }
}

/// One call of a known tool.
pub(super) fn call(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Call, Stop> {
    let name = cursor.until("(")?.trim().to_owned();
    if !tools.contains_key(&name) {
        return Err(Stop::NoCall);
    }
    let mut arguments = Map::new();
    loop {
        cursor.skip_space();
        if cursor.skip(")") {
            return Ok((name, Value::Object(arguments).to_string()));
        }
        if !arguments.is_empty() {
            cursor.expect(",")?;
            cursor.skip_space();
            if cursor.skip(")") {
                return Ok((name, Value::Object(arguments).to_string()));
            }
        }
        let key = cursor.until("=")?.trim().to_owned();
        let is_name =
            !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if !is_name {
            return Err(Stop::NoCall);
        }
        let value = literal(cursor, 0)?;
        arguments.insert(key, value);
    }
}

/// A value: text, number, list, dictionary, `True`, `False` or `None`.
fn literal(cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, Stop> {
    if depth > MAX_DEPTH {
        return Err(Stop::NoCall);
    }
    cursor.skip_space();
    for quote in ['"', '\''] {
        if cursor.skip(quote.encode_utf8(&mut [0; 4])) {
            return text(cursor, quote).map(Value::String);
        }
    }
    if cursor.skip("[") {
        return items(cursor, "]", |cursor| literal(cursor, depth + 1)).map(Value::Array);
    }
    if cursor.skip("{") {
        let entries = items(cursor, "}", |cursor| {
            let key = literal(cursor, depth + 1)?;
            cursor.skip_space();
            cursor.expect(":")?;
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            Ok((key, literal(cursor, depth + 1)?))
        })?;
        return Ok(Value::Object(entries.into_iter().collect()));
    }
    let rest = cursor.rest();
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | ')' | ']' | '}' | ':'));
    let word = &rest[..end.ok_or(Stop::Incomplete)?];
    cursor.position += word.len();
    match word {
        "True" | "true" => Ok(true.into()),
        "False" | "false" => Ok(false.into()),
        "None" | "null" => Ok(Value::Null),
        number => serde_json::from_str(number).ok().filter(Value::is_number).ok_or(Stop::NoCall),
    }
}

/// Items up to a closing bracket, separated by commas.
fn items<'a, T>(
    cursor: &mut Cursor<'a>,
    close: &str,
    mut item: impl FnMut(&mut Cursor<'a>) -> Result<T, Stop>,
) -> Result<Vec<T>, Stop> {
    let mut items = Vec::new();
    loop {
        cursor.skip_space();
        if cursor.skip(close) {
            return Ok(items);
        }
        if !items.is_empty() {
            cursor.expect(",")?;
            cursor.skip_space();
            if cursor.skip(close) {
                return Ok(items);
            }
        }
        items.push(item(cursor)?);
    }
}

/// A text whose opening quote was read.
fn text(cursor: &mut Cursor<'_>, quote: char) -> Result<String, Stop> {
    let mut text = String::new();
    let mut characters = cursor.rest().char_indices();
    while let Some((index, character)) = characters.next() {
        if character == quote {
            cursor.position += index + 1;
            return Ok(text);
        }
        if character != '\\' {
            text.push(character);
            continue;
        }
        let (_, escaped) = characters.next().ok_or(Stop::Incomplete)?;
        match escaped {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            '\n' => {}
            'x' | 'u' | 'U' => {
                let digits = match escaped {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let code: String = characters.by_ref().take(digits).map(|(_, digit)| digit).collect();
                if code.len() < digits {
                    return Err(Stop::Incomplete);
                }
                let code = u32::from_str_radix(&code, 16).map_err(|_| Stop::NoCall)?;
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            '\\' | '\'' | '"' => text.push(escaped),
            other => text.extend(['\\', other]),
        }
    }
    Err(Stop::Incomplete)
}
