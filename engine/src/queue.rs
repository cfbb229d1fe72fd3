//! The number of requests that wait to run, counted by the threads that submit them and the one that runs them.

use crate::request::RequestError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seconds after which a refused caller may try again. A place is free as soon as one answer has ended.
const RETRY_AFTER: u64 = 1;

/// The length of a bounded queue.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: AtomicUsize,
}

impl Queue {
    /// Adds one request, then submits it. The request counts before it is prepared, so a full queue refuses it before
    /// the work of preparing it.
    ///
    /// # Errors
    /// If `most` requests wait already, or if `submit` fails; the request does not count then.
    pub fn enter(
        &self,
        most: usize,
        submit: impl FnOnce() -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let add = |waiting: usize| (waiting < most).then(|| waiting + 1);
        let entered = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        entered.map_err(|waiting| RequestError::Full { waiting, retry_after: RETRY_AFTER })?;
        submit().inspect_err(|_| self.leave(1))
    }

    /// Adds a paused request, which waits again, even to a full queue.
    pub(crate) fn reenter(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes `count` requests.
    pub fn leave(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    /// Returns how many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_prepares_nothing_and_a_failure_frees_its_place() {
        let queue = Queue::default();
        let full = queue.enter(0, || panic!("a full queue prepared a request"));
        assert_eq!(full, Err(RequestError::Full { waiting: 0, retry_after: RETRY_AFTER }));
        assert_eq!(queue.enter(1, || Err(RequestError::Stopped)), Err(RequestError::Stopped));
        assert_eq!(queue.enter(1, || Ok(())), Ok(()));
        assert_eq!(queue.waiting(), 1);
    }
}
