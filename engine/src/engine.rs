//! The interface that every engine implements.

use crate::event::Events;
use crate::request::{Limits, Request, RequestError};

/// A model that continues token ids.
pub trait Engine: Send + Sync {
    /// Returns the limits of requests.
    fn limits(&self) -> Limits;

    /// Starts a request. Its events arrive on the stream; dropping the stream cancels the request.
    ///
    /// # Errors
    /// Names the value of the request that the engine does not support.
    fn submit(&self, request: Request) -> Result<Events, RequestError>;

    /// Returns the current state, for health checks and metrics.
    fn status(&self) -> Status;
}

/// The state of an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Requests in the queue.
    pub waiting: usize,
    /// Requests in the batch.
    pub running: usize,
    /// Bytes of keys and values of running requests.
    pub cache_bytes: usize,
    /// Bytes of keys and values that are kept for later requests.
    pub reusable_bytes: usize,
    /// Requests since the start whose caller dropped the stream before the end.
    pub cancelled: u64,
    /// Tokens that were guessed for answers that have ended, and how many of them were right.
    pub guessed: [u64; 2],
    /// Milliseconds since the start of the current step; `None` while the engine is idle.
    pub step_milliseconds: Option<u64>,
    /// Whether the engine has stopped for good and no longer answers.
    pub stopped: bool,
}
