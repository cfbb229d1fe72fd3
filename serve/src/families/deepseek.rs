//! DeepSeek up to 3.1: calls between `<｜tool▁call▁begin｜>` and `<｜tool▁call▁end｜>`.

use super::cursor::{Call, Cursor, Stop, Tools};
use super::family::Family;

const CALLS: &str = "<｜tool▁calls▁begin｜>";
const CALLS_END: &str = "<｜tool▁calls▁end｜>";
const CALL: &str = "<｜tool▁call▁begin｜>";
const CALL_END: &str = "<｜tool▁call▁end｜>";
const SEPARATOR: &str = "<｜tool▁sep｜>";

pub(super) static FAMILY: Family = Family {
    markers: &[CALLS, CALL],
    tags: &[CALLS, CALLS_END, CALL, CALL_END, SEPARATOR],
    ..Family::new("deepseek", &["tool▁call▁begin"], read)
};

/// Calls between tags; the arguments are JSON, in a block of code in the older versions.
fn read(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.skip(CALLS);
    cursor.several(CALL, CALLS_END, |cursor| {
        cursor.expect(CALL)?;
        let first = cursor.until(SEPARATOR)?.trim();
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
        cursor.close(CALL_END)?;
        Ok((name.to_owned(), arguments.to_string()))
    })
}
