//! What is known of a family.

use super::cursor::{Call, Cursor, Stop, Tools};

/// Reads one call or several that follow one another.
pub(super) type Reader = fn(&mut Cursor<'_>, &Tools) -> Result<Vec<Call>, Stop>;

/// How a family of models writes tool calls.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// What its chat templates contain, at least one of these.
    pub(super) template_has: &'static [&'static str],
    /// What may begin a call anywhere in a text, beside `<tool_call>`.
    pub(crate) markers: &'static [&'static str],
    /// What may begin a call at the beginning of a text alone.
    pub(crate) at_start: &'static [&'static str],
    /// What after a tool's name makes it the beginning of a call, at the beginning of a text.
    pub(crate) after_name: &'static [&'static str],
    /// The tags of its calls that tokenizers have as special tokens. The text of an answer has no special tokens; these are
    /// put into what calls are read from.
    pub(crate) tags: &'static [&'static str],
    pub(super) read: Reader,
}

impl Family {
    /// A family without what most do not have.
    pub(super) const fn new(name: &'static str, template_has: &'static [&'static str], read: Reader) -> Self {
        Self { name, template_has, markers: &[], at_start: &[], after_name: &[], tags: &[], read }
    }

    /// Whether its calls are JSON between the tags that are read for every family, and nothing else.
    pub(crate) fn is_json_in_tags(&self) -> bool {
        self.template_has.is_empty()
    }
}

impl std::fmt::Debug for Family {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}
