//! The split of the world into what is trained on and what is held out.

use crate::draw::hash;

/// A part of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Nine tenths of all names and of all combinations of facts.
    Train,
    /// The others, which are held out.
    Test,
}

impl Split {
    /// Whether the words, a name or the facts of a text, belong to the split.
    pub(crate) fn contains(self, words: &str) -> bool {
        hash(words).is_multiple_of(10) == (self == Self::Test)
    }
}
