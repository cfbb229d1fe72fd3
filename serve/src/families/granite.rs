//! Granite 3: `<|tool_call|>[{"name": .., "arguments": {..}}]` up to the end of the turn.

use super::family::Family;
use super::json_calls::json_calls;

const OPEN: &str = "<|tool_call|>";

pub(super) static FAMILY: Family = Family {
    markers: &[OPEN],
    tags: &[OPEN],
    ..Family::new("granite", &[OPEN], |cursor, tools| {
        cursor.expect(OPEN)?;
        cursor.skip_space();
        json_calls(cursor, tools)
    })
};
