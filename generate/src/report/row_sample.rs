//! A row that is offered to the sample.

use crate::trace::TracedStep;
use serde_json::{Map, Value};

/// A row with its outcome and its calls.
pub(crate) struct RowSample {
    /// Its id, which determines whether it is shown.
    pub(crate) id: String,
    /// Its task.
    pub(crate) task: String,
    /// Why it was dropped; `None` if it was kept.
    pub(crate) dropped: Option<SampledDrop>,
    /// Its `messages` and all other columns; may be empty for a dropped row.
    pub(crate) row: Map<String, Value>,
    /// Its calls in order.
    pub(crate) steps: Vec<TracedStep>,
}

/// Why a row was dropped.
#[derive(Debug, Clone)]
pub(crate) struct SampledDrop {
    pub(crate) reason: String,
    pub(crate) step: String,
    pub(crate) detail: String,
}
