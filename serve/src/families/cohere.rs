//! Cohere Command R7B and A: `<|START_ACTION|>[{"tool_name": .., "parameters": {..}}]<|END_ACTION|>`.

use super::family::Family;
use super::json_calls::between;

const OPEN: &str = "<|START_ACTION|>";
const CLOSE: &str = "<|END_ACTION|>";

pub(super) static FAMILY: Family = Family {
    markers: &[OPEN],
    tags: &[OPEN, CLOSE],
    ..Family::new("cohere", &[OPEN], |cursor, tools| between(cursor, tools, OPEN, CLOSE))
};
