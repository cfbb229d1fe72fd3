//! Whether a model answers anybody: a teacher that is set up wrongly (a parameter it does not know, a model that cannot
//! chat) refuses every call, and each refusal looks like a verdict on its row.

use super::{Asking, Refusal};
use crate::store::{Key, Outcome};
use anyhow::{Result, anyhow};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls that a model refuses, one like the other and before it answers any, until the run stops.
const REFUSED: usize = 20;

#[derive(Default)]
pub(super) struct Trust {
    /// It has answered, or refused for different reasons: a refusal is the row's.
    is_earned: AtomicBool,
    refused: Mutex<Refused>,
}

/// The calls that were refused while nothing was answered, and the status that all of them got.
#[derive(Default)]
struct Refused {
    status: Option<u16>,
    calls: HashSet<Key>,
}

impl Trust {
    /// The model answers.
    pub(super) fn earn(&self) {
        self.is_earned.store(true, Ordering::Relaxed);
    }

    /// What it means that the model refuses a call.
    pub(super) fn weigh(
        &self,
        asking: Asking<'_>,
        model: &str,
        status: u16,
        words: String,
    ) -> Result<Refusal> {
        if !self.is_earned.load(Ordering::Relaxed) && has_answered(asking, model)? {
            self.earn();
        }
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *refused.status.get_or_insert(status) != status {
            self.earn();
        }
        if self.is_earned.load(Ordering::Relaxed) {
            return Ok(Refusal::Rejected(Some(status), words));
        }
        refused.calls.insert(*asking.key);
        if refused.calls.len() < REFUSED {
            return Ok(Refusal::Doubted(words));
        }
        Err(anyhow!(
            "teacher {model} refused the first {REFUSED} calls, all with {words}; no verdict on their rows is recorded: \
             check the model and what it takes, then run the same command again"
        ))
    }
}

/// Whether the run has an answer of the model, of an earlier session too.
fn has_answered(asking: Asking<'_>, model: &str) -> Result<bool> {
    let answered = Outcome::Answered.name();
    let ledger = asking.run.store.ledger()?;
    Ok(ledger.iter().any(|entry| entry.model == model && entry.outcome == answered))
}
