//! LFM2: calls as Python writes them, `<|tool_call_start|>[name(key="value", count=2)]<|tool_call_end|>`.

use super::cursor::{Call, Cursor, Stop, Tools};
use super::family::Family;
use super::json_calls::json_calls;
use super::python_calls::list_of_calls;

const OPEN: &str = "<|tool_call_start|>";
const CLOSE: &str = "<|tool_call_end|>";

pub(super) static FAMILY: Family =
    Family { markers: &[OPEN], tags: &[OPEN, CLOSE], ..Family::new("lfm", &[OPEN], read) };

fn read(cursor: &mut Cursor<'_>, tools: &Tools) -> Result<Vec<Call>, Stop> {
    cursor.expect(OPEN)?;
    cursor.skip_space();
    // It writes JSON where the system message asks for it.
    let mut as_json = cursor.clone();
    let calls = match json_calls(&mut as_json, tools) {
        Ok(calls) => {
            *cursor = as_json;
            calls
        }
        Err(stop) if cursor.rest().starts_with(['{']) || cursor.rest().starts_with("[{") => return Err(stop),
        Err(_) => list_of_calls(cursor, tools)?,
    };
    cursor.close(CLOSE)?;
    Ok(calls)
}
