//! What all rows of a run share: the store, the budget, the calls in flight, and whether to stop.

use crate::budget::{Budget, Cost, Limit, Price, Prices, Reservation};
use crate::in_flight::{InFlightLog, InFlightSlot};
use crate::room::Room;
use crate::store::{CallKey, Journal, LedgerEntry, REPAIRED_FILE, Store};
use anyhow::Result;
use files::output_folder::{FolderKind, OutputFolder};
use shards::Claim;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// The file of the store, below the run's folder.
pub(crate) const STORE_FILE: &str = "store.sqlite";
/// The file of the calls in flight, below the run's folder.
pub(crate) const IN_FLIGHT_FILE: &str = "calls-in-flight";
/// The folder of a run and its dataset.
pub(crate) const FOLDER: FolderKind = FolderKind {
    program: "smoltalk gen",
    description: "run.json",
    files: &["README.md", "dropped.jsonl", "report.html"],
    working: &[
        STORE_FILE,
        "store.sqlite-wal",
        "store.sqlite-shm",
        "store.sqlite-journal",
        REPAIRED_FILE,
        IN_FLIGHT_FILE,
    ],
};

/// An open run.
pub(crate) struct Run {
    pub(crate) store: Store,
    pub(crate) prices: Prices,
    pub(crate) budget: Budget,
    in_flight: InFlightLog,
    room: Room,
    stopping: AtomicBool,
    failure: OnceLock<String>,
    /// Notified when the run is asked to stop.
    stopped: Notify,
    pub(crate) folder: OutputFolder,
}

/// A call that may be sent: it is recorded as in flight, and its worst case is reserved.
pub(crate) struct InFlightCall<'a> {
    slot: InFlightSlot<'a>,
    /// `None` between an attempt that was charged and the next one.
    reservation: Option<Reservation<'a>>,
}

impl Run {
    /// Locks the folder `out`, which is created if it does not exist, opens the store in it, and counts the calls
    /// that a kill interrupted.
    pub(crate) fn open(out: &Path, prices: Prices, limit: Option<Limit>) -> Result<Self> {
        Self::open_unlocked(out, prices, limit, false)
    }

    /// The same without a lock if `no_lock` is set.
    pub(crate) fn open_unlocked(
        out: &Path,
        prices: Prices,
        limit: Option<Limit>,
        no_lock: bool,
    ) -> Result<Self> {
        let folder = OutputFolder::open(out, &FOLDER, no_lock)?;
        let store = Store::open(&out.join(STORE_FILE))?;
        let path = out.join(IN_FLIGHT_FILE);
        count_interrupted(&store, &path)?;
        Self::new(folder, store, &path, out, (prices, limit))
    }

    /// A run that makes the rows of a shard: its store is in `scratch`, on this machine. The journal and the calls in flight
    /// are in the shared folder, and what earlier claims of the shard left there is taken in.
    pub(crate) fn of_shard(scratch: &Path, claim: &Claim, prices: Prices) -> Result<Self> {
        let folder = OutputFolder::open(scratch, &FOLDER, true)?;
        let (journal, calls) = (claim.part("journal"), claim.part("calls"));
        let store = Store::open_with(&scratch.join(STORE_FILE), Some(Journal::create(&journal)?))?;
        for (journal, calls) in claim.earlier_parts("journal").zip(claim.earlier_parts("calls")) {
            store.take_in(&journal)?;
            count_interrupted(&store, &calls)?;
        }
        Self::new(folder, store, &calls, journal.parent().unwrap_or(scratch), (prices, None))
    }

    /// The run of a merged store, which is in `scratch`; its dataset is written to `out`.
    pub(crate) fn merged(out: &Path, scratch: &Path, prices: Prices, no_lock: bool) -> Result<Self> {
        let folder = OutputFolder::open(out, &FOLDER, no_lock)?;
        let store = Store::open(&scratch.join(STORE_FILE))?;
        Self::new(folder, store, &scratch.join(IN_FLIGHT_FILE), out, (prices, None))
    }

    fn new(
        folder: OutputFolder,
        store: Store,
        in_flight: &Path,
        room: &Path,
        (prices, limit): (Prices, Option<Limit>),
    ) -> Result<Self> {
        let budget = Budget::new(limit, spent(&store)?);
        Ok(Self {
            store,
            prices,
            budget,
            in_flight: InFlightLog::create(in_flight)?,
            room: Room::of(room),
            stopping: AtomicBool::new(false),
            failure: OnceLock::new(),
            stopped: Notify::new(),
            folder,
        })
    }

    /// Reserves the worst case of a call; `None` if the run is stopping or the budget does not suffice.
    pub(crate) async fn reserve(&self, worst: Cost) -> Option<Reservation<'_>> {
        if let Some(reason) = self.room.shortage() {
            self.stop_for(reason);
        }
        let reservation = self.budget.reserve(worst).await?;
        // The run may have been stopped during the wait.
        (!self.is_stopping()).then_some(reservation)
    }

    /// Records that a call is about to be sent.
    pub(crate) fn begin<'a>(
        &'a self,
        key: &CallKey,
        reserved: Reservation<'a>,
        worst_cost: Cost,
    ) -> Result<InFlightCall<'a>> {
        Ok(InFlightCall { slot: self.in_flight.record(key, worst_cost)?, reservation: Some(reserved) })
    }

    /// Charges the worst case of calls without an answer that may have been billed: to the budget at once, and in the
    /// ledger, so that a later session counts it, too.
    pub(crate) fn charge(&self, unanswered: LedgerEntry) -> impl Future<Output = Result<()>> {
        self.budget.spend(unanswered.cost());
        self.store.add_to_ledger(unanswered)
    }

    /// Asks the run to stop, and keeps the first reason.
    fn stop_for(&self, reason: String) {
        let _ = self.failure.set(reason);
        self.stop();
    }

    /// Why the run stopped by itself before it was done.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Asks the run to stop: no call is sent from here on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.stopped.notify_waiters();
    }

    /// Waits until the run is asked to stop.
    pub(crate) async fn until_stopping(&self) {
        let mut stopped = std::pin::pin!(self.stopped.notified());
        stopped.as_mut().enable(); // a stop from here on wakes this task
        if !self.is_stopping() {
            stopped.await;
        }
    }

    /// Whether no further row should start.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_stopping() || self.budget.is_exhausted()
    }

    /// Whether the run was asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Returns the cost of a call; no money if the price of the model is unknown.
    pub(crate) fn cost(&self, model: &str, prompt_tokens: u64, completion_tokens: u64, batch: bool) -> Cost {
        let price = self.prices.of(model);
        let money = |price: Price| price.of(prompt_tokens, completion_tokens, batch);
        Cost { tokens: prompt_tokens + completion_tokens, microdollars: price.map_or(0, money) }
    }
}

impl<'a> InFlightCall<'a> {
    /// Charges an attempt that returned no answer and may have been billed.
    pub(crate) async fn charge(&mut self, run: &Run, unanswered: LedgerEntry) -> Result<()> {
        let charged = run.charge(unanswered);
        self.reservation = None; // the budget counts the charge by now
        charged.await
    }

    /// Reserves the worst case of a further attempt, if it is not reserved; returns whether it is.
    pub(crate) async fn reserve_again(&mut self, run: &'a Run, worst: Cost) -> bool {
        if self.reservation.is_none() {
            self.reservation = run.reserve(worst).await;
        }
        self.reservation.is_some()
    }

    /// Ends the call: its answer is recorded and has this cost, or there is no answer and no cost.
    pub(crate) fn end(self, cost: Cost) -> Result<()> {
        if let Some(reservation) = self.reservation {
            reservation.settle(cost);
        }
        self.slot.free()
    }
}

/// Counts the calls that were in flight when the process that wrote the file was killed.
fn count_interrupted(store: &Store, path: &Path) -> Result<()> {
    let (mut lost, mut worst) = (0, Cost::default());
    for call in &InFlightLog::interrupted(path)? {
        // An answer that was recorded just before the kill is not lost.
        if !store.is_answered(&call.key)? {
            lost += 1;
            worst.tokens += call.worst_cost.tokens;
            worst.microdollars += call.worst_cost.microdollars;
        }
    }
    if lost > 0 {
        store.count_lost(lost, worst)?;
        terminal::message!(
            "warning: {lost} calls were in flight when the last session was killed; they are sent again and may have been billed"
        );
    }
    Ok(())
}

/// The cost of all sessions of a run; calls that may have been billed count with their worst case.
pub(crate) fn spent(store: &Store) -> Result<Cost> {
    Ok(store.ledger()?.iter().map(LedgerEntry::cost).fold(Cost::default(), |sum, cost| Cost {
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
    fn interrupted_calls_are_counted_when_the_run_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(IN_FLIGHT_FILE), [7; 32]).unwrap();
        for _ in 0..2 {
            let run = Run::open(folder.path(), Prices::default(), None).unwrap();
            assert_eq!(LedgerEntry::sum(&run.store.ledger().unwrap(), Outcome::Lost).calls, 2);
        }
    }
}
