//! The ledger: how many calls ended in which way, their tokens and their cost, by model and endpoint.

use crate::budget::Cost;
use report::numbers::separated;
use serde::{Deserialize, Serialize};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The answer is recorded; its entry has the tokens and the cost.
    Answered,
    /// 429 or 503: the endpoint wants fewer calls.
    Busy,
    /// A broken connection, a 5xx, or an answer that cannot be read. Its entry has the worst-case cost of the
    /// attempts that may have been billed.
    Failed,
    /// Any other refusal.
    Refused,
    /// In flight when the program was killed; it may have been billed.
    Lost,
}

impl Outcome {
    /// Its name in the store and in `run.json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

/// A line of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerEntry {
    pub(crate) model: String,
    pub(crate) endpoint: String,
    pub(crate) outcome: String,
    pub(crate) calls: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) microdollars: u64,
}

impl LedgerEntry {
    /// The cost of its calls together.
    pub(crate) fn cost(&self) -> Cost {
        Cost { tokens: self.prompt_tokens + self.completion_tokens, microdollars: self.microdollars }
    }

    /// The sum of a ledger's entries of one outcome, without a model and an endpoint.
    pub(crate) fn sum(ledger: &[Self], outcome: Outcome) -> Self {
        let mut sum = Self { outcome: outcome.name().to_owned(), ..Self::default() };
        for entry in ledger.iter().filter(|entry| entry.outcome == outcome.name()) {
            sum.add(entry);
        }
        sum
    }

    /// Adds the calls of another entry.
    pub(crate) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.microdollars += other.microdollars;
    }
}

/// Which model and endpoint gave an answer, in which step, and its cost; recorded with the answer.
#[derive(Debug, Clone)]
pub(crate) struct AnswerSource<'a> {
    pub(crate) model: &'a str,
    pub(crate) endpoint: &'a str,
    pub(crate) step: &'a str,
    pub(crate) microdollars: u64,
}

/// The calls of a run in two sentences, with their cost where prices are known.
pub(crate) fn calls_in_words(ledger: &[LedgerEntry]) -> String {
    let answered = LedgerEntry::sum(ledger, Outcome::Answered);
    let dollars = answered.microdollars as f64 / 1e6;
    let cost = if dollars > 0.0 { format!(", ${dollars:.2}") } else { String::new() };
    let counted = |outcome| {
        let worst = LedgerEntry::sum(ledger, outcome).cost();
        match (worst.tokens, worst.microdollars) {
            (0, _) => String::new(),
            (tokens, 0) => format!(" (counted as up to {} tokens)", separated(tokens)),
            (tokens, money) => {
                format!(" (counted as up to {} tokens, ${:.2})", separated(tokens), money as f64 / 1e6)
            }
        }
    };
    let without = |outcome| separated(LedgerEntry::sum(ledger, outcome).calls);
    format!(
        "{} answers: {} prompt tokens, {} generated tokens{cost}.\n\
         Calls without an answer: {} rejected with 429 or 503, {} failed{}, {} refused with another status, \
         {} lost when the program was killed{}.\n",
        separated(answered.calls),
        separated(answered.prompt_tokens),
        separated(answered.completion_tokens),
        without(Outcome::Busy),
        without(Outcome::Failed),
        counted(Outcome::Failed),
        without(Outcome::Refused),
        without(Outcome::Lost),
        counted(Outcome::Lost),
    )
}
