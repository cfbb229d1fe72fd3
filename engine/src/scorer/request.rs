//! What a scorer is asked.

/// Continuations of one context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScoringRequest {
    /// Ids of the context, at least one.
    pub context: Vec<u32>,
    /// Ids of each continuation, at least one.
    pub continuations: Vec<Vec<u32>>,
}
