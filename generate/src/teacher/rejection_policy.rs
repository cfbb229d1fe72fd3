//! Decides whether a rejection concerns the call or the teacher: a teacher that is set up wrongly (a parameter it does not
//! know, a model that cannot chat) rejects every call, and each rejection looks like the fault of its row.

use super::call::{CallContext, CallError};
use crate::store::{CallKey, Outcome};
use anyhow::{Result, anyhow};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The run stops after this number of rejections with one status, if the model has answered nothing before.
const MAX_EARLY_REJECTIONS: usize = 20;

/// What is known about a model's rejections.
#[derive(Default)]
pub(super) struct RejectionPolicy {
    /// The model has answered, or has rejected calls with different statuses: a rejection concerns its call.
    is_trusted: AtomicBool,
    early: Mutex<EarlyRejections>,
}

/// The calls that were rejected before the first answer, and the status of all of them.
#[derive(Default)]
struct EarlyRejections {
    status: Option<u16>,
    calls: HashSet<CallKey>,
}

impl RejectionPolicy {
    /// The model has answered a call.
    pub(super) fn answered(&self) {
        self.is_trusted.store(true, Ordering::Relaxed);
    }

    /// Returns what a rejection means for its call.
    ///
    /// # Errors
    /// When the first calls of the model were all rejected alike.
    pub(super) fn judge(
        &self,
        context: CallContext<'_>,
        model: &str,
        status: u16,
        message: String,
    ) -> Result<CallError> {
        if !self.is_trusted.load(Ordering::Relaxed) && has_answered(context, model)? {
            self.answered();
        }
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if *early.status.get_or_insert(status) != status {
            self.answered();
        }
        if self.is_trusted.load(Ordering::Relaxed) {
            return Ok(CallError::Rejected(Some(status), message));
        }
        early.calls.insert(*context.key);
        if early.calls.len() < MAX_EARLY_REJECTIONS {
            return Ok(CallError::RejectedEarly(message));
        }
        Err(anyhow!(
            "teacher {model} rejected the first {MAX_EARLY_REJECTIONS} calls, all with {message}; no row was dropped for \
             it: check the model and the parameters that it accepts, then run the same command again"
        ))
    }
}

/// Whether the run has an answer of the model, earlier sessions included.
fn has_answered(context: CallContext<'_>, model: &str) -> Result<bool> {
    let answered = Outcome::Answered.name();
    let ledger = context.run.store.ledger()?;
    Ok(ledger.iter().any(|entry| entry.model == model && entry.outcome == answered))
}
