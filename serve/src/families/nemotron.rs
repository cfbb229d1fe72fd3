//! Llama-Nemotron and Nemotron Nano 2: `<TOOLCALL>[{"name": .., "arguments": {..}}]</TOOLCALL>`.

use super::family::Family;
use super::json_calls::between;

const OPEN: &str = "<TOOLCALL>";
const CLOSE: &str = "</TOOLCALL>";

pub(super) static FAMILY: Family = Family {
    markers: &[OPEN],
    tags: &[OPEN, CLOSE],
    ..Family::new("nemotron", &[OPEN], |cursor, tools| between(cursor, tools, OPEN, CLOSE))
};
