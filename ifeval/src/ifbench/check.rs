//! What an instruction with its arguments becomes: a function of the text.

use std::fmt;

/// An instruction with its arguments.
pub(crate) struct Check(Box<dyn Fn(&str) -> bool + Send + Sync>);

impl Check {
    pub(super) fn of(is_met: impl Fn(&str) -> bool + Send + Sync + 'static) -> Check {
        Check(Box::new(is_met))
    }

    /// Whether the text follows the instruction.
    pub(crate) fn is_met_by(&self, text: &str) -> bool {
        (self.0)(text)
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Check")
    }
}
