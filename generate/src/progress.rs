//! The progress of a task: rows, outcomes, speed and cost.

use crate::run::Run;
use crate::store::{LedgerEntry, Outcome, Verdict};
use crate::task::Task;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use terminal::Progress;

/// Between two reads of the ledger, which is in the store.
const LEDGER_INTERVAL: Duration = Duration::from_secs(2);

/// The progress of one task of a run.
pub(crate) struct TaskProgress<'a> {
    progress: Progress,
    task: &'static Task,
    rows: usize,
    run: &'a Run,
    kept: AtomicUsize,
    dropped: AtomicUsize,
    /// Tokens that earlier tasks of this session generated.
    earlier_tokens: u64,
    cost: Mutex<CostText>,
}

/// The cost as it was read last.
#[derive(Default)]
struct CostText {
    read: Option<Instant>,
    text: String,
}

impl<'a> TaskProgress<'a> {
    /// The progress of a task of which earlier sessions kept and dropped rows.
    pub(crate) fn new(
        task: &'static Task,
        rows: usize,
        (kept, dropped): (usize, usize),
        run: &'a Run,
    ) -> Self {
        let decided = kept + dropped;
        if decided > 0 {
            terminal::message!("{}: resuming, {decided} of {rows} rows are decided", task.name);
        }
        Self {
            progress: Progress::new(task.name, "rows", Some(rows as u64)).resumed_at(decided as u64),
            task,
            rows,
            run,
            kept: AtomicUsize::new(kept),
            dropped: AtomicUsize::new(dropped),
            earlier_tokens: run.store.generated_tokens(),
            cost: Mutex::default(),
        }
    }

    /// Counts a decided row.
    pub(crate) fn count(&self, verdict: &Verdict) {
        let counter = if matches!(verdict, Verdict::Kept(_)) { &self.kept } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
        self.progress.advance_with(1, || self.message());
    }

    /// Prints the last line, which stays.
    pub(crate) fn finish(&self) {
        self.cost.lock().unwrap_or_else(PoisonError::into_inner).read = None;
        let (name, decided) = (self.task.name, self.progress.position());
        self.progress.finish_with(&format!("{name}: {decided}/{} rows, {}", self.rows, self.message()));
    }

    fn message(&self) -> String {
        let (kept, dropped) = (self.kept.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed));
        let tokens = self.run.store.generated_tokens() - self.earlier_tokens;
        let rate = tokens as f64 / self.progress.elapsed().as_secs_f64().max(1e-3);
        format!("{kept} kept, {dropped} dropped, {rate:.0} tokens/s{}", self.cost())
    }

    fn cost(&self) -> String {
        let mut cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        if cost.read.is_none_or(|read| read.elapsed() >= LEDGER_INTERVAL) {
            cost.read = Some(Instant::now());
            cost.text = self.run.store.ledger().map(|ledger| cost_in_words(&ledger)).unwrap_or_default();
        }
        cost.text.clone()
    }
}

/// The cost of a run so far, and the part of it that is a worst case; empty if there is none.
fn cost_in_words(ledger: &[LedgerEntry]) -> String {
    let spent: u64 = ledger.iter().map(|entry| entry.microdollars).sum();
    let unanswered = LedgerEntry::sum(ledger, Outcome::Failed).cost();
    let dollars = |microdollars: u64| format!("${:.2}", microdollars as f64 / 1e6);
    let uncertain = match unanswered.microdollars {
        0 => String::new(),
        some => format!(" (up to {} of it for calls without an answer)", dollars(some)),
    };
    match (spent, unanswered.tokens) {
        (0, 0) => String::new(),
        (0, tokens) => format!(", up to {tokens} tokens billed for calls without an answer"),
        _ => format!(", {} spent{uncertain}", dollars(spent)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_may_have_been_billed_are_reported() {
        let entry = |outcome: Outcome, completion_tokens, microdollars| LedgerEntry {
            outcome: outcome.name().to_owned(),
            completion_tokens,
            microdollars,
            ..LedgerEntry::default()
        };
        let (free, priced) = (entry(Outcome::Answered, 9, 0), entry(Outcome::Answered, 9, 2_000_000));
        assert_eq!(cost_in_words(std::slice::from_ref(&free)), "");
        assert_eq!(cost_in_words(std::slice::from_ref(&priced)), ", $2.00 spent");
        let text = cost_in_words(&[free, entry(Outcome::Failed, 70, 0)]);
        assert_eq!(text, ", up to 70 tokens billed for calls without an answer");
        let text = cost_in_words(&[priced, entry(Outcome::Failed, 70, 500_000)]);
        assert_eq!(text, ", $2.50 spent (up to $0.50 of it for calls without an answer)");
    }
}
