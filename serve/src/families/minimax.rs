//! MiniMax M2: `<minimax:tool_call><invoke name="f"><parameter name="key">value</parameter></invoke></minimax:tool_call>`.

use super::family::Family;
use super::invocations::{Tags, calls};

const OPEN: &str = "<minimax:tool_call>";
const CLOSE: &str = "</minimax:tool_call>";
const TAGS: Tags = Tags {
    around: &[(OPEN, CLOSE)],
    call: ("<invoke", "</invoke>"),
    parameter: ("<parameter", "</parameter>"),
};

pub(super) static FAMILY: Family = Family {
    markers: &[OPEN],
    tags: &[OPEN, CLOSE],
    ..Family::new("minimax", &[OPEN], |cursor, tools| calls(cursor, tools, &TAGS))
};
