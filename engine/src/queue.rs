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
    /// One more waits, from before it is prepared and handed in: what takes time to prepare is not begun where
    /// there is no room.
    ///
    /// # Errors
    /// When `most` wait already, or as `hand_in` says; then it does not wait.
    pub fn entering(
        &self,
        most: usize,
        hand_in: impl FnOnce() -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let add = |waiting: usize| (waiting < most).then(|| waiting + 1);
        let entered = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        entered.map_err(|waiting| Refused::Full { waiting, retry_after: RETRY_AFTER })?;
        hand_in().inspect_err(|_| self.leave(1))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_lets_nothing_be_prepared_and_a_fault_frees_its_place() {
        let queue = Queue::default();
        let full = queue.entering(0, || panic!("it was prepared"));
        assert_eq!(full, Err(Refused::Full { waiting: 0, retry_after: RETRY_AFTER }));
        assert_eq!(queue.entering(1, || Err(Refused::Stopped)), Err(Refused::Stopped));
        assert_eq!(queue.entering(1, || Ok(())), Ok(()));
        assert_eq!(queue.waiting(), 1);
    }
}
