//! MiniCPM 5: `<function name="f"><param name="key">value</param></function>`, values with markup in them as CDATA.

use super::family::Family;
use super::invocations::{Tags, calls};

const OPEN: &str = "<function name=";
const TAGS: Tags =
    Tags { around: &[], call: ("<function", "</function>"), parameter: ("<param", "</param>") };

pub(super) static FAMILY: Family = Family {
    markers: &[OPEN],
    tags: &["<function", "</function>", "<param", "</param>"],
    ..Family::new("minicpm", &[OPEN], |cursor, tools| calls(cursor, tools, &TAGS))
};
