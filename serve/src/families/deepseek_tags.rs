//! DeepSeek from 3.2 on: `<｜DSML｜invoke name="f"><｜DSML｜parameter name="key" string="true">value</｜DSML｜parameter>`.

use super::family::Family;
use super::invocations::{Tags, calls};

const AROUND: [(&str, &str); 2] = [
    ("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
    // From version 4 on.
    ("<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>"),
];
const TAGS: Tags = Tags {
    around: &AROUND,
    call: ("<｜DSML｜invoke", "</｜DSML｜invoke>"),
    parameter: ("<｜DSML｜parameter", "</｜DSML｜parameter>"),
};

pub(super) static FAMILY: Family = Family {
    markers: &[AROUND[0].0, AROUND[1].0],
    // The token that the tags have in common.
    tags: &["｜DSML｜"],
    ..Family::new("deepseek-3.2", &["DSML"], |cursor, tools| calls(cursor, tools, &TAGS))
};
