//! Jamba and Hunyuan: a list of JSON between `<tool_calls>` and `</tool_calls>`.

use super::family::Family;
use super::json_calls::between;

const OPEN: &str = "<tool_calls>";
const CLOSE: &str = "</tool_calls>";

pub(super) static FAMILY: Family = Family {
    markers: &[OPEN],
    tags: &[OPEN, CLOSE],
    ..Family::new("tool-calls", &[OPEN], |cursor, tools| between(cursor, tools, OPEN, CLOSE))
};
