//! Mistral: `[TOOL_CALLS][{"name": .., "arguments": {..}}]`, or `[TOOL_CALLS]name[ARGS]{..}`, with or without `[CALL_ID]`.

use super::cursor::{Call, Cursor, Stop, Tools};
use super::family::Family;
use super::json_calls::json_calls;
use serde_json::Value;

const TAG: &str = "[TOOL_CALLS]";

pub(super) static FAMILY: Family = Family {
    markers: &[TAG],
    at_start: &["[{", "{"],
    // Engines that leave out special tokens return the name without the marks around it.
    after_name: &["{", "["],
    tags: &[TAG, "[CALL_ID]", "[ARGS]"],
    ..Family::new("mistral", &[TAG], read)
};

/// A list, or names each with its arguments; the marks around them are special tokens that may have no text.
fn read(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.skip(TAG);
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
