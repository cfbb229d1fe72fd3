//! OLMo 3: calls as Python writes them, one a line, between `<function_calls>` and `</function_calls>`.

use super::cursor::{Call, Cursor, Stop, Tools};
use super::family::Family;
use super::python_calls::call;

const OPEN: &str = "<function_calls>";
const CLOSE: &str = "</function_calls>";

pub(super) static FAMILY: Family =
    Family { markers: &[OPEN], tags: &[OPEN, CLOSE], ..Family::new("olmo", &[OPEN], read) };

fn read(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.expect(OPEN)?;
    let mut calls = Vec::new();
    loop {
        cursor.skip_space();
        if !calls.is_empty() && (cursor.skip_whole(CLOSE)? || cursor.is_at_end()) {
            return Ok(calls);
        }
        calls.push(call(cursor, tools)?);
    }
}
