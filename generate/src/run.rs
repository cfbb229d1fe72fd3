//! What all rows of a run share: the store, the account, the calls on their way, and whether to stop.

use crate::budget::{Budget, Cost, Held, Limit, Price, Prices};
use crate::flight::{FlightLog, InFlight};
use crate::store::{Entry, Key, Store};
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

pub(crate) struct Run {
    pub(crate) store: Store,
    pub(crate) prices: Prices,
    pub(crate) budget: Budget,
    flight: FlightLog,
    stopping: AtomicBool,
    stopped: Notify,
}

/// A call that may go out: it is noted as on its way, and its worst case is put aside.
pub(crate) struct Begun<'a> {
    flight: InFlight<'a>,
    /// Nothing between a try that was booked and the next one.
    held: Option<Held<'a>>,
}

impl Run {
    /// Opens the store in `out`, a new folder if need be, and counts the calls that a kill interrupted.
    pub(crate) fn open(out: &Path, prices: Prices, limit: Option<Limit>) -> Result<Self> {
        std::fs::create_dir_all(out).with_context(|| format!("cannot create --out {}", out.display()))?;
        let store = Store::open(&out.join("store.sqlite"))?;
        let calls = out.join("calls-in-flight");
        let mut lost = 0;
        for key in &FlightLog::left(&calls)? {
            // An answer that was recorded an instant before the kill is not lost.
            lost += u64::from(store.answer(key)?.is_none());
        }
        if lost > 0 {
            store.note_lost(lost)?;
            eprintln!(
                "{lost} calls were on their way when the last run ended; they are asked again, and may have been paid for"
            );
        }
        let flight = FlightLog::begin_anew(&calls)?;
        let budget = Budget::new(limit, spent(&store)?);
        Ok(Self { store, prices, budget, flight, stopping: AtomicBool::new(false), stopped: Notify::new() })
    }

    /// Puts a call's worst case aside, unless the run is stopping or the budget is spent.
    pub(crate) async fn hold(&self, worst: Cost) -> Option<Held<'_>> {
        let held = self.budget.hold(worst).await?;
        (!self.is_stopping()).then_some(held) // perhaps since it began to wait
    }

    /// Notes that a call goes out.
    pub(crate) fn begin<'a>(&'a self, key: &Key, held: Held<'a>) -> Result<Begun<'a>> {
        Ok(Begun { flight: self.flight.begin(key)?, held: Some(held) })
    }

    /// Books what calls may have cost that brought no answer: in the account at once, and in the ledger, so that a
    /// later session counts it too.
    pub(crate) fn book(&self, lost: Entry) -> impl Future<Output = Result<()>> {
        self.budget.spend(lost.cost());
        self.store.book(lost)
    }

    /// No new call goes out from here on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stopped.notify_waiters();
    }

    /// Returns once the run is told to stop.
    pub(crate) async fn until_stopping(&self) {
        let mut stopped = std::pin::pin!(self.stopped.notified());
        stopped.as_mut().enable(); // a stop from here on wakes us
        if !self.is_stopping() {
            stopped.await;
        }
    }

    /// Whether no new row should begin.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_stopping() || self.budget.is_spent_up()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// What a call of a model costs; a model without a price costs nothing that is known.
    pub(crate) fn cost(&self, model: &str, prompt_tokens: u64, completion_tokens: u64, batch: bool) -> Cost {
        let price = self.prices.of(model);
        let money = |price: Price| price.of(prompt_tokens, completion_tokens, batch);
        Cost { tokens: prompt_tokens + completion_tokens, microdollars: price.map_or(0, money) }
    }
}

impl<'a> Begun<'a> {
    /// Books a try that brought no answer and may have been paid for.
    pub(crate) async fn book(&mut self, run: &Run, lost: Entry) -> Result<()> {
        let booked = run.book(lost);
        self.held = None; // what it was held for is in the account by now
        booked.await
    }

    /// Puts a further try's worst case aside, unless it is; whether there is room for it.
    pub(crate) async fn hold_again(&mut self, run: &'a Run, worst: Cost) -> bool {
        if self.held.is_none() {
            self.held = run.hold(worst).await;
        }
        self.held.is_some()
    }

    /// The answer is recorded, and cost this much; nothing if there was none.
    pub(crate) fn end(self, cost: Cost) -> Result<()> {
        if let Some(held) = self.held {
            held.settle(cost);
        }
        self.flight.landed()
    }
}

/// What the run has spent in its life; what may have been paid for counts at its most.
pub(crate) fn spent(store: &Store) -> Result<Cost> {
    Ok(store.ledger()?.iter().map(Entry::cost).fold(Cost::default(), |sum, cost| Cost {
        tokens: sum.tokens + cost.tokens,
        microdollars: sum.microdollars + cost.microdollars,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use super::*;
    use crate::store::Outcome;

    /// A second kill right after the start must not forget what the first one interrupted.
    #[test]
    fn interrupted_calls_are_counted_by_the_time_the_run_is_open() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("calls-in-flight"), [7; 32]).unwrap();
        for _ in 0..2 {
            let run = Run::open(folder.path(), Prices::default(), None).unwrap();
            assert_eq!(Entry::sum(&run.store.ledger().unwrap(), Outcome::Lost).calls, 2);
        }
    }
}
