//! Decides whether a fault concerns the call or the teacher: a teacher that is set up wrongly (a parameter it does not
//! know, a model that cannot chat, a portal in front of it) fails every call of a step, and each failure looks like the
//! fault of its row. Steps are judged one by one: judges fail where writers work.

use super::call::{CallContext, CallError};
use crate::store::CallKey;
use anyhow::{Result, anyhow};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The run stops after this number of faults of one kind in one step, if nothing of the step came between them.
const MAX_ALIKE: usize = 20;
/// Characters of a message that its kind is known by.
const KIND: usize = 80;

/// What is known about the faults of a model, by step.
#[derive(Default)]
pub(crate) struct RejectionPolicy {
    steps: Mutex<HashMap<String, StepFaults>>,
}

#[derive(Default)]
struct StepFaults {
    /// Whether the step has an answer, also of an earlier session; `None` before anybody looked.
    has_answer: Option<bool>,
    /// The faults since the last answer, all of one kind.
    refusals: Alike<CallKey>,
    unreadable: Alike<usize>,
    useless: Alike<usize>,
}

/// Faults of one kind in a row.
#[derive(Default)]
struct Alike<Id> {
    kind: String,
    ids: HashSet<Id>,
}

impl<Id: Eq + std::hash::Hash> Alike<Id> {
    /// Counts a fault; returns how many of its kind there have been in a row.
    fn count(&mut self, message: &str, id: impl FnOnce(usize) -> Id) -> usize {
        let kind = kind(message);
        if kind != self.kind {
            *self = Self { kind, ids: HashSet::new() };
        }
        self.ids.insert(id(self.ids.len()));
        self.ids.len()
    }
}

/// What messages of one kind share: numbers and quoted answers differ.
fn kind(message: &str) -> String {
    let message = message.split("; it begins with").next().unwrap_or(message);
    message.chars().filter(|letter| !letter.is_ascii_digit()).take(KIND).collect()
}

/// The name of a step without its number: all turns of the assistant are one step.
pub(super) fn step_name(step: &str) -> String {
    step.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '_').to_owned()
}

impl RejectionPolicy {
    fn steps(&self) -> MutexGuard<'_, HashMap<String, StepFaults>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model has answered a call of a step, readably.
    pub(super) fn answered(&self, step: &str) {
        let mut steps = self.steps();
        let faults = steps.entry(step_name(step)).or_default();
        faults.has_answer = Some(true);
        faults.refusals = Alike::default();
        faults.unreadable = Alike::default();
    }

    /// The answer to a step could be used.
    pub(super) fn useful(&self, step: &str) {
        self.steps().entry(step_name(step)).or_default().useless = Alike::default();
    }

    /// Returns what a refusal means for its call.
    ///
    /// # Errors
    /// When the last calls of the step were all refused alike.
    pub(super) fn refused(
        &self,
        context: CallContext<'_>,
        model: &str,
        status: u16,
        message: String,
    ) -> Result<CallError> {
        let name = step_name(context.step);
        let mut steps = self.steps();
        let faults = steps.entry(name.clone()).or_default();
        let has_answer = match faults.has_answer {
            Some(known) => known,
            None => *faults.has_answer.insert(context.run.store.has_answer(model, &name)?),
        };
        if faults.refusals.count(&message, |_| *context.key) < MAX_ALIKE {
            return Ok(match has_answer {
                true => CallError::Rejected(Some(status), message),
                false => CallError::RejectedEarly(message),
            });
        }
        Err(anyhow!(
            "teacher {model} refused {MAX_ALIKE} calls of the step `{name}` in a row, all with {message}; check the model and \
             the parameters that it accepts (`--request`, `--extra-body`), then run the same command again, with `--retry \
             refused` for rows that were dropped because of it"
        ))
    }

    /// An attempt of a step had a response that cannot be read.
    ///
    /// # Errors
    /// When so many in a row could not be read for one reason.
    pub(super) fn unreadable(&self, step: &str, model: &str, reason: &str) -> Result<()> {
        let name = step_name(step);
        let mut steps = self.steps();
        let alike = steps.entry(name.clone()).or_default().unreadable.count(reason, |number| number);
        if alike < MAX_ALIKE {
            return Ok(());
        }
        Err(anyhow!(
            "teacher {model} sent {MAX_ALIKE} responses in a row to the step `{name}` that cannot be used: {reason}; check what \
             is at its address, then run the same command again"
        ))
    }

    /// The answer to a step was readable and of no use, for this reason, which `remedy` may help.
    ///
    /// # Errors
    /// When so many in a row were of no use for one reason.
    pub(super) fn useless(&self, step: &str, model: &str, reason: &str, remedy: &str) -> Result<()> {
        let name = step_name(step);
        let mut steps = self.steps();
        if steps.entry(name.clone()).or_default().useless.count(reason, |number| number) < MAX_ALIKE {
            return Ok(());
        }
        Err(anyhow!(
            "teacher {model} gave {MAX_ALIKE} answers in a row to the step `{name}` that are of no use: {reason}; {remedy}"
        ))
    }
}
