//! What a text becomes.

use std::ops::Range;

/// The tokens of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids (T).
    pub ids: Vec<u32>,
    /// The bytes of the text that each token covers (T). Tokens that share one character share its range.
    pub ranges: Vec<Range<usize>>,
}
