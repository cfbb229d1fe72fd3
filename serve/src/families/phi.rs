//! Phi-4-mini: `<|tool_call|>[{"name": .., "arguments": {..}}]<|/tool_call|>`, of which its template shows the tools alone.

use super::family::Family;
use super::json_calls::between;

const OPEN: &str = "<|tool_call|>";
const CLOSE: &str = "<|/tool_call|>";

pub(super) static FAMILY: Family = Family {
    markers: &[OPEN],
    tags: &[OPEN, CLOSE],
    ..Family::new("phi", &["<|tool|>", "<|/tool_call|>"], |cursor, tools| between(cursor, tools, OPEN, CLOSE))
};
