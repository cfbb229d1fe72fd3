//! Hermes, Qwen, SmolLM and this project's own instruction: JSON between `<tool_call>` and `</tool_call>`.
//!
//! The tags are read in the answers of every family; here there is nothing else.

use super::cursor::Stop;
use super::family::Family;

/// The tag before the calls.
pub(crate) const TAG: &str = "<tool_call>";

pub(super) static FAMILY: Family =
    Family { tags: &[TAG, "</tool_call>"], ..Family::new("hermes", &[], |_, _| Err(Stop::NoCall)) };
