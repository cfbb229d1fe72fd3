//! The one stream of a GPU that everything runs on, and events in it.

use super::driver_api::{Driver, Handle, call};
use super::failure::Failure;
use std::sync::Arc;

/// An open stream. Its GPU must be current for the calling thread.
pub(super) struct Queue {
    pub(super) driver: Arc<Driver>,
    pub(super) stream: Handle,
}

impl Queue {
    /// Returns an event at this point of the queued work.
    pub(super) fn event(&self) -> Result<Handle, Failure> {
        let mut event = Handle::NULL;
        // SAFETY: the pointer is to a handle that lives through the call; the event is kept as long as the process.
        unsafe { call!(self.driver, create_event(&raw mut event, 0)) }?;
        self.record(event)?;
        Ok(event)
    }

    /// Records an event again, at this point of the queued work.
    pub(super) fn record(&self, event: Handle) -> Result<(), Failure> {
        // SAFETY: `event` made it.
        unsafe { call!(self.driver, record_event(event, self.stream)) }
    }
}
