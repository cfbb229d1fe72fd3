//! The calls that were made for one row, recorded for people: `smoltalk preview` prints them, the report shows them.

use std::sync::{Mutex, PoisonError};

/// The calls of a row in the order of their answers.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    steps: Mutex<Vec<TracedStep>>,
    /// Whether a call without a recorded answer may be sent.
    pub(crate) may_call: bool,
}

/// One call that was made for a row.
#[derive(Debug, Clone)]
pub(crate) struct TracedStep {
    /// The name of the step.
    pub(crate) name: String,
    /// The identity of the teacher.
    pub(crate) teacher: String,
    /// The prompt, printed for people.
    pub(crate) prompt: String,
    /// The reply.
    pub(crate) reply: String,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: u64,
    /// Tokens of the reply.
    pub(crate) completion_tokens: u64,
}

impl Trace {
    /// An empty trace.
    pub(crate) fn new(may_call: bool) -> Self {
        Self { steps: Mutex::default(), may_call }
    }

    pub(crate) fn push(&self, step: TracedStep) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    pub(crate) fn into_steps(self) -> Vec<TracedStep> {
        self.steps.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
