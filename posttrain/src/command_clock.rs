//! When the command was started, for what its user waits for: the first step.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static START: Mutex<Option<Instant>> = Mutex::new(None);

/// Starts the clock; `main` begins with it.
pub fn start() {
    *START.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Returns the time since the start, the first time that it is called.
pub(crate) fn take() -> Option<Duration> {
    START.lock().unwrap_or_else(PoisonError::into_inner).take().map(|start| start.elapsed())
}
