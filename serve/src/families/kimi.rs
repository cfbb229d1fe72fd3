//! Kimi K2: `<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{..}<|tool_call_end|>`, in a section.

use super::cursor::{Call, Cursor, Stop, Tools};
use super::family::Family;
use serde_json::Value;

const SECTION: &str = "<|tool_calls_section_begin|>";
const SECTION_END: &str = "<|tool_calls_section_end|>";
const CALL: &str = "<|tool_call_begin|>";
const CALL_END: &str = "<|tool_call_end|>";
const ARGUMENTS: &str = "<|tool_call_argument_begin|>";

pub(super) static FAMILY: Family = Family {
    markers: &[SECTION, CALL],
    tags: &[SECTION, SECTION_END, CALL, CALL_END, ARGUMENTS],
    ..Family::new("kimi", &[CALL], read)
};

fn read(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.skip(SECTION);
    cursor.several(CALL, SECTION_END, |cursor| {
        cursor.expect(CALL)?;
        let id = cursor.until(ARGUMENTS)?.trim();
        // The id has the name between the word `functions` and the number of the call.
        let name = id.strip_prefix("functions.").unwrap_or(id);
        let name = if tools.contains_key(name) {
            name
        } else {
            name.rsplit_once(':').map_or(name, |(name, _)| name)
        };
        if !tools.contains_key(name) {
            return Err(Stop::NoCall);
        }
        cursor.skip_space();
        let arguments = match cursor.json()? {
            arguments @ Value::Object(_) => arguments.to_string(),
            _ => return Err(Stop::NoCall),
        };
        cursor.close(CALL_END)?;
        Ok((name.to_owned(), arguments))
    })
}
