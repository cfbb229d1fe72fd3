//! How many requests wait for their turn, counted by whoever hands them in and whoever takes them.

use crate::request::Refused;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seconds after which a refused caller may try again: a place is free as soon as one answer has ended.
const RETRY_AFTER: u64 = 1;

/// A bounded queue's length.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicUsize,
}

impl Queue {
    /// One more waits.
    ///
    /// # Errors
    /// When `most` wait already; then it does not.
    pub fn enter(&self, most: usize) -> Result<(), Refused> {
        let add = |waiting: usize| (waiting < most).then(|| waiting + 1);
        let entered = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        entered.map(|_| ()).map_err(|waiting| Refused::Full { waiting, retry_after: RETRY_AFTER })
    }

    /// One that had its turn waits again, however many do.
    pub(crate) fn enter_again(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// So many wait no more.
    pub fn leave(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
