//! Qwen3-Coder and those that took its format over: `<function=name><parameter=key>value</parameter></function>`, mostly
//! between `<tool_call>` and `</tool_call>`.

use super::family::Family;
use super::functions::function;

pub(super) static FAMILY: Family = Family {
    markers: &["<function="],
    tags: &["<tool_call>", "</tool_call>"],
    ..Family::new("qwen-coder", &["<function="], |cursor, tools| {
        function(cursor, tools).map(|call| vec![call])
    })
};
