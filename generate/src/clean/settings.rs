//! The settings of `smoltalk clean` that decide rows, converted from its command line.

use super::compare::Compare;
use datasets::export::FileFormat;
use datasets::near_duplicate::Parameters;
use std::path::PathBuf;

/// What decides rows, and where they are written.
#[derive(Debug, Clone)]
pub(super) struct CleanSettings {
    pub(super) out: PathBuf,
    pub(super) no_lock: bool,
    pub(super) format: FileFormat,
    /// `None` to keep near-duplicates.
    pub(super) near_duplicates: Option<MinHashSettings>,
    pub(super) compare: Compare,
    /// Cosine distance up to which embeddings are similar.
    pub(super) distance: f64,
}

/// When texts are near-duplicates.
#[derive(Debug, Clone, Copy)]
pub(super) struct MinHashSettings {
    pub(super) parameters: Parameters,
    /// Estimated Jaccard similarity; 0: a shared band suffices.
    pub(super) similarity: f64,
}
