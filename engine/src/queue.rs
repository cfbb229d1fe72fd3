//! The number of requests that wait to run, counted by the threads that submit them and the one that runs them.
//!
//! The queue is shared by clients: when it is full, whoever fills more than an equal share of it is refused, and others are
//! still let in.

use crate::request::RequestError;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seconds after which a refused caller may try again. A place is free as soon as one answer has ended.
const RETRY_AFTER: u64 = 1;
/// How many times as many requests as its length the queue holds at the very most, of clients that fill less than their share.
const OVERFLOW: usize = 2;

/// The length of a bounded queue.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    /// Of each client with at least one.
    clients: HashMap<u64, usize>,
}

impl Waiting {
    /// Whether one more request of a client has a place where `most` may wait.
    fn has_place(&self, client: u64, most: usize) -> bool {
        let own = self.clients.get(&client).copied().unwrap_or(0);
        let clients = self.clients.len() + usize::from(own == 0);
        self.all < most || (self.all < most.saturating_mul(OVERFLOW) && own < (most / clients).max(1))
    }

    fn add(&mut self, client: u64) {
        self.all += 1;
        *self.clients.entry(client).or_default() += 1;
    }
}

impl Queue {
    /// Adds one request of a client, then submits it. The request counts before it is prepared, so a full queue refuses it
    /// before the work of preparing it.
    ///
    /// # Errors
    /// If `most` requests wait already, and the client has its share of them, or if `submit` fails; the request does not
    /// count then.
    pub fn enter(
        &self,
        client: u64,
        most: usize,
        submit: impl FnOnce() -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let mut waiting = self.lock();
        if !waiting.has_place(client, most) {
            return Err(RequestError::Full { waiting: waiting.all, retry_after: RETRY_AFTER });
        }
        waiting.add(client);
        drop(waiting);
        submit().inspect_err(|_| self.leave(client))
    }

    /// Adds a paused request, which waits again, even to a full queue.
    pub(crate) fn reenter(&self, client: u64) {
        self.lock().add(client);
    }

    /// Removes a request of a client.
    pub fn leave(&self, client: u64) {
        let mut waiting = self.lock();
        waiting.all = waiting.all.saturating_sub(1);
        if let Some(own) = waiting.clients.get_mut(&client) {
            *own -= 1;
            if *own == 0 {
                waiting.clients.remove(&client);
            }
        }
    }

    /// Returns how many requests wait.
    pub fn waiting(&self) -> usize {
        self.lock().all
    }

    /// Returns how many clients have requests that wait.
    pub(crate) fn clients(&self) -> usize {
        self.lock().clients.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_prepares_nothing_and_a_failure_frees_its_place() {
        let queue = Queue::default();
        let full = queue.enter(0, 0, || panic!("a full queue prepared a request"));
        assert_eq!(full, Err(RequestError::Full { waiting: 0, retry_after: RETRY_AFTER }));
        assert_eq!(queue.enter(0, 1, || Err(RequestError::Stopped)), Err(RequestError::Stopped));
        assert_eq!(queue.enter(0, 1, || Ok(())), Ok(()));
        assert_eq!(queue.waiting(), 1);
        queue.leave(0);
        assert_eq!((queue.waiting(), queue.clients()), (0, 0));
    }

    #[test]
    fn only_the_client_that_fills_its_share_is_refused() {
        let queue = Queue::default();
        let enter = |client| queue.enter(client, 8, || Ok(())).is_ok();
        assert_eq!((0..10).filter(|_| enter(1)).count(), 8, "one client may fill the queue");
        assert_eq!((0..10).filter(|_| enter(2)).count(), 4, "another one has half of it");
        assert!(!enter(1));
        assert_eq!((0..10).filter(|_| enter(3)).count(), 2);
        assert_eq!((4..40).filter(|client| enter(*client)).count(), 2, "it does not grow without end");
        (0..8).for_each(|_| queue.leave(1));
        assert!(!enter(2) && enter(50));
    }
}
